package stack

import (
	"testing"

	"github.com/docker/docker/api/types/container"
)

// Each making of a data volume can be told from the one before, and what keeps its data elsewhere is none.
func TestDataVolumes(t *testing.T) {
	r := newRig(t, `
services:
  a:
    image: IMAGE
    entrypoint: SLEEP
    volumes: ["kept:/kept", "scratch:/scratch", "/nameless"]
  b: { image: IMAGE, entrypoint: SLEEP, volumes: ["kept:/kept", "kept:/again"] }
secrets: { K: { environment: K } }
volumes:
  kept:
  unused:
  scratch: { driver_opts: { type: tmpfs, device: tmpfs } }
`)
	list := func() []DataVolume {
		t.Helper()
		list, err := r.engine.DataVolumes(t.Context(), r.project)
		r.must(err)
		return list
	}
	r.equal("before anything is made", len(list()), 0)
	r.create()
	first := list()
	r.equal("data volumes", len(first), 1)
	r.equal("its services", first[0].Services, []string{"a", "b"})
	r.equal("its name", first[0].Name, r.name+"_kept")
	r.equal("it tells its birth", first[0].Born != "", true)
	r.create()
	r.equal("after another create", list(), first)
	for _, service := range []string{"a", "b"} {
		r.must(r.engine.docker.ContainerRemove(t.Context(), r.container(service).ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	}
	r.must(r.engine.docker.VolumeRemove(t.Context(), first[0].Name, false))
	r.create()
	r.equal("made anew: its birth is the same", list()[0].Born == first[0].Born, false)
}

func TestWhatIsNoDataVolume(t *testing.T) {
	p := load(t, `
name: volumes
services:
  a:
    image: x
    secrets: [K]
    volumes: ["out:/out", "there:/there", "nfs:/nfs", "/srv:/srv", { type: tmpfs, target: /t }]
secrets: { K: { environment: K } }
volumes:
  out: { external: true }
  there: { driver: elsewhere }
  nfs: { driver_opts: { type: nfs, device: ":/x" } }
`)
	if users := p.dataVolumes(); len(users) != 0 {
		t.Errorf("%v", users)
	}
}
