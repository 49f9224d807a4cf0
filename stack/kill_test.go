package stack

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"minibot/hint"
)

// stray starts a container that no compose file has, holding a service's secrets.
func (r *rig) stray(service string, labels map[string]string, host container.HostConfig) string {
	r.Helper()
	host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: r.name + "_secrets-" + service, Target: "/run/secrets"}}
	host.Tmpfs = map[string]string{"/data": ""}
	created, err := r.engine.docker.ContainerCreate(r.Context(), &container.Config{Image: testImage(), Labels: labels,
		Entrypoint: []string{"/bin/sh", "-c", "trap '' TERM; while :; do sleep 3600; done"}}, &host, nil, nil, "")
	r.must(err)
	r.must(r.engine.docker.ContainerStart(r.Context(), created.ID, container.StartOptions{}))
	return created.ID
}

const manyStates = `
services:
  a: { image: IMAGE, entrypoint: [/bin/sh, -c, "trap '' TERM; echo here; while :; do sleep 3600; done"], secrets: [ONE] }
  paused: { image: IMAGE, entrypoint: SLEEP, secrets: [ONE] }
  ended: { image: IMAGE, entrypoint: [/bin/sh, -c, exit 3] }
  new: { image: IMAGE, entrypoint: SLEEP }
secrets: { ONE: { environment: ONE } }
`

func TestKillProject(t *testing.T) {
	r := newRig(t, manyStates)
	r.create()
	r.feed("ONE", canaryOne)
	r.start("a", "paused", "ended")
	r.pause(r.container("paused").ID)
	orphan := r.stray("a", map[string]string{api.ProjectLabel: r.name, api.ServiceLabel: "gone", api.OneoffLabel: "False"},
		container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}})
	oneOff := r.stray("paused", map[string]string{api.ProjectLabel: r.name, api.ServiceLabel: "a", api.OneoffLabel: "True"}, container.HostConfig{AutoRemove: true})
	prepared := r.prepare(t.Context(), "ONE", canaryNew)

	begin := time.Now()
	r.must(dialReal(t).KillProject(t.Context(), r.name))
	t.Logf("it took %v", time.Since(begin))
	seen := r.seen()
	for _, service := range []string{"a", "paused"} {
		r.equal(service, []any{seen[service].Running, seen[service].ExitCode}, []any{false, 137})
	}
	r.equal("ended", seen["ended"].ExitCode, 3)
	r.equal("new", seen["new"].Status, "created")
	info, err := r.engine.docker.ContainerInspect(t.Context(), orphan)
	r.must(err)
	r.equal("orphan", []any{info.State.Running, info.HostConfig.RestartPolicy.IsNone()}, []any{false, true})
	r.eventually("the engine removed the one-off run", func() bool {
		_, err := r.engine.docker.ContainerInspect(t.Context(), oneOff)
		return cerrdefs.IsNotFound(err)
	})
	if _, there := seen[KeeperService]; there {
		t.Error("the keeper is there")
	}
	if _, err := r.engine.docker.VolumeInspect(t.Context(), r.name+"_secrets"); !cerrdefs.IsNotFound(err) {
		t.Errorf("its volume is there: %v", err)
	}
	if _, err := prepared.Commit(t.Context()); err == nil {
		t.Error("a prepared delivery was committed")
	}
	var log strings.Builder
	r.must(r.engine.Logs(t.Context(), seen["a"].ID, LogOptions{}, &log))
	r.equal("its log stays", log.String(), "here\n")

	r.must(r.engine.KillProject(t.Context(), r.name))
	r.must(r.engine.KillProject(t.Context(), r.name+"-unknown"))
	r.equal("fed", r.engine.Fed(r.seen()), false)
	r.start("a")
	r.equal("what was delivered is gone", r.sh("a", "ls -A /run/secrets"), "")
	r.must(r.engine.KillProject(t.Context(), r.name))
	r.create()
	r.feed("ONE", canaryOne)
	r.start("a")
	r.equal("it can come up again", r.sh("a", "cat /run/secrets/ONE"), canaryOne)
}

func TestKillProjectSeesWhoElseHoldsFiles(t *testing.T) {
	r := newRig(t, manyStates)
	r.create()
	r.feed("ONE", canaryOne)
	id := r.stray("a", nil, container.HostConfig{})
	t.Cleanup(func() {
		r.must(r.engine.docker.ContainerRemove(context.WithoutCancel(t.Context()), id, container.RemoveOptions{Force: true}))
	})
	err := r.engine.KillProject(t.Context(), r.name)
	c, inspectErr := r.engine.inspect(t.Context(), id)
	r.must(inspectErr)
	if !errors.Is(err, ErrStillRunning) || !strings.Contains(err.Error(), c.Name) || !strings.Contains(hint.Of(err), c.Name) {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	if _, there := r.seen()[KeeperService]; there {
		t.Error("the keeper is there")
	}
	if err := r.engine.KillProject(t.Context(), ""); err == nil {
		t.Error("killed a project without a name")
	}
}
