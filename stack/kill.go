package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// killRounds is how often KillProject looks again for what was started while it killed.
const killRounds = 5

// KillProject kills every container of the project at once, one-off ones too, and removes the keeper with its volume:
// what was delivered is gone with the last container that holds it. It needs no compose file, only the project's name,
// and returns once it has seen that none of its containers runs. A project of which nothing runs is no error.
func (e *Engine) KillProject(ctx context.Context, project string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	for range killRounds {
		var alive int
		if alive, err = e.killRound(ctx, project); err == nil && alive == 0 {
			e.forgetProject(project)
			volume := project + "_" + recordVolume
			if err = e.docker.VolumeRemove(ctx, volume, true); cerrdefs.IsNotFound(err) {
				err = nil
			}
			return wrap(err, "remove volume %s", volume)
		}
		if ctx.Err() != nil || IsUnreachable(err) {
			break
		}
	}
	if err == nil {
		err = ErrStillRunning
	}
	return fmt.Errorf("kill the containers of project %s: %w", project, err)
}

// killRound kills what is alive and returns how much that was.
func (e *Engine) killRound(ctx context.Context, project string) (alive int, err error) {
	list, err := e.docker.ContainerList(ctx, container.ListOptions{All: true,
		Filters: filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+project))})
	if err != nil {
		return 0, wrap(err, "list the containers")
	}
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		keeper := c.Labels[api.ServiceLabel] == KeeperService
		idle := c.State == container.StateCreated || c.State == container.StateExited || c.State == container.StateDead
		if idle && !keeper {
			continue
		}
		alive++
		all.Go(func() {
			var err error
			if keeper { // a killed one would come back with the engine
				err = e.docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
			} else {
				err = e.docker.ContainerKill(ctx, c.ID, "SIGKILL")
			}
			if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) { // it ended by itself; the next look tells
				errs[i] = wrap(err, "kill container %s", plainName(c.Names))
			}
		})
	}
	all.Wait()
	return alive, errors.Join(errs...)
}

// forgetProject forgets what was delivered to a project.
func (e *Engine) forgetProject(project string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.fed, project)
	maps.DeleteFunc(e.known, func(at place, _ record) bool { return at.project == project })
}
