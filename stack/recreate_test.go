package stack

import (
	"context"
	"testing"
	"time"

	"minibot/stack/keeper"
)

// forget removes volumes that no label tells of once everything else of the test is gone: who names a container's nameless volumes
// before that, as a replacement does, makes them outlive it. It is to be called before newRig.
func forget(t *testing.T) *[]string {
	t.Helper()
	var names []string
	t.Cleanup(func() {
		e, err := Dial(context.WithoutCancel(t.Context()), "")
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = e.Close() }() // of this cleanup alone
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		for _, name := range names {
			if err := e.docker.VolumeRemove(ctx, name, true); err != nil {
				t.Error(err)
			}
		}
	})
	return &names
}

// volumes are the names of those that a service's container has.
func (r *rig) volumes(service string) []string {
	r.Helper()
	info, err := r.engine.docker.ContainerInspect(r.Context(), r.container(service).ID)
	r.must(err)
	var names []string
	for _, m := range info.Mounts {
		names = append(names, m.Name)
	}
	return names
}

// A replacement hands on what is in volumes without a name: the image's /data, and /more. It touches nobody else but who lives in
// the network of the replaced one.
func TestRecreateHandsNamelessVolumesOn(t *testing.T) {
	names := forget(t)
	image := testImage()
	r := newRig(t, `
services:
  a: { entrypoint: SLEEP, image: "`+image+`", volumes: [/more] }
  follows: { image: IMAGE, entrypoint: SLEEP, depends_on: { a: { condition: service_started, restart: true } } }
  inside: { image: IMAGE, entrypoint: SLEEP, network_mode: "service:a" }
`)
	r.create()
	*names = r.volumes("a")
	r.equal("volumes", len(*names), 2)
	r.start("a", "follows", "inside")
	r.sh("a", "echo one >/data/kept; echo two >/more/kept; echo three >/tmp/kept")
	before := r.seen()
	r.must(r.engine.Recreate(t.Context(), r.project, "a", nil))
	after := r.seen()
	r.equal("the name", after["a"].Name, before["a"].Name)
	r.equal("the same container", after["a"].ID == before["a"].ID, false)
	r.equal("started", after["a"].Running, false)
	r.equal("who follows runs on", after["follows"].Instance, before["follows"].Instance)
	r.equal("who lives in its network stays", after["inside"].ID == before["inside"].ID, false)
	r.start("a", "inside")
	r.equal("what is kept", r.sh("a", "cat /data/kept /more/kept; ls /tmp/kept 2>/dev/null || echo new"), "one\ntwo\nnew")
	r.create()
	r.equal("a create after it", r.container("a").ID, after["a"].ID)
}

func TestRecreateWithoutAContainer(t *testing.T) {
	r := newRig(t, `
services:
  a: { image: IMAGE, entrypoint: SLEEP }
`)
	r.must(r.engine.Recreate(t.Context(), r.project, "a", nil))
	r.equal("created", r.container("a").Status, "created")
}

// Secrets' volumes that are made anew, as when the engine's kernel can keep them out of the swap at last, take no data along, whenever that is cut short.
func TestNewMemoryVolumesCostNoData(t *testing.T) {
	names := forget(t)
	r := newRig(t, `
services:
  a: { entrypoint: SLEEP, image: "`+testImage()+`", volumes: [/more], secrets: [ONE] }
secrets: { ONE: { environment: ONE } }
`)
	r.engine.noswap = false // it would decide on the options
	r.create()
	for _, name := range r.volumes("a") {
		if name != r.name+"_"+volumePrefix+"a" {
			*names = append(*names, name)
		}
	}
	r.equal("nameless volumes", len(*names), 2)
	r.feed("ONE", canaryOne)
	r.start("a")
	r.sh("a", "echo one >/data/kept; echo two >/more/kept")
	before := r.container("a").ID
	for _, key := range r.project.memoryVolumes() {
		r.project.rewritten.Volumes[key].DriverOpts["o"] += ",nr_inodes=1000"
	}
	program, err := keeper.Program(r.engine.info.Arch)
	r.must(err)
	r.must(r.engine.renewMemory(t.Context(), r.project, program)) // as far as a daemon that is killed then gets
	r.equal("nobody's to start", r.container("a").Foreign, true)
	r.create()
	if c := r.container("a"); c.ID == before || c.Foreign {
		t.Fatalf("a was not made anew: %+v", c)
	}
	r.feed("ONE", canaryOne)
	r.start("a")
	r.equal("what is kept", r.sh("a", "cat /data/kept /more/kept /run/secrets/ONE"), "one\ntwo\n"+canaryOne)
	last := r.container("a").ID
	r.create()
	r.equal("a create after it", r.container("a").ID, last)
}
