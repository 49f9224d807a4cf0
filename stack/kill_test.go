package stack

import (
	"slices"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"github.com/docker/compose/v5/pkg/api"

	"minibot/secrets"
)

const killServices = `
services:
  deaf: { image: IMAGE, entrypoint: [/bin/sh, -c, "trap '' TERM; while :; do sleep 3600 & wait $$!; done"], stop_grace_period: 1m, secrets: [K] }
  paused: { image: IMAGE, entrypoint: SLEEP }
  fresh: { image: IMAGE, entrypoint: SLEEP }
secrets:
  K: { environment: K }
`

func TestKillProject(t *testing.T) {
	r := newRig(t, killServices)
	r.create()
	value, err := secrets.NewValue([]byte("canary-kill"))
	r.must(err)
	if _, err := r.engine.Feed(t.Context(), r.project, map[secrets.Name]secrets.Value{"K": value}); err != nil {
		t.Fatal(err)
	}
	r.start("deaf", "paused")
	r.must(r.engine.docker.ContainerPause(t.Context(), r.container("paused").ID))
	names, err := r.engine.ProjectsOf(t.Context(), r.project.File)
	if err != nil || !slices.Equal(names, []string{r.name}) {
		t.Errorf("the projects of %s are %q, %v", r.project.File, names, err)
	}
	for range 2 { // the second time there is nothing to do
		r.must(r.engine.KillProject(t.Context(), r.name))
		mine := filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+r.name))
		list, err := r.engine.docker.ContainerList(t.Context(), container.ListOptions{All: true, Filters: mine})
		r.must(err)
		for _, c := range list {
			if c.State == container.StateRunning || c.State == container.StatePaused || c.Labels[api.ServiceLabel] == KeeperService {
				t.Errorf("%s is %s", plainName(c.Names), c.State)
			}
		}
		if len(list) != 3 {
			t.Errorf("%d containers are left, want the services' 3", len(list))
		}
		volumes, err := r.engine.docker.VolumeList(t.Context(), volume.ListOptions{Filters: mine})
		r.must(err)
		for _, v := range volumes.Volumes {
			if v.Name == r.name+"_"+recordVolume {
				t.Errorf("volume %s is left", v.Name)
			}
		}
	}
	if seen, err := r.engine.Containers(t.Context(), r.project); err != nil || r.engine.Fed(seen) {
		t.Errorf("it counts as fed: %v", err)
	}
	if err := r.engine.KillProject(t.Context(), r.name+"-none"); err != nil {
		t.Errorf("a project that is not there: %v", err)
	}
}
