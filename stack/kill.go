package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"minibot/hint"
)

// killRounds is how often KillProject looks again: what someone starts meanwhile is killed, too.
const killRounds = 100

// killPause is the time between two looks: a container that is about to end, or to start, may need a moment.
const killPause = 50 * time.Millisecond

// KillProject kills every container that has the project's label, all at once: services, what the compose file no
// longer has, one-off runs, also paused ones. Then it takes the keeper and its volume away, and so every delivered
// file: the volumes of services vanish with their last holder. The other containers stay, dead, with their logs, and
// the engine does not start them again, whatever their restart policy was. It needs the project's name alone, does not
// wait for a delivery to end, and can be repeated. It does not stop at an error: all of them are joined.
func (e *Engine) KillProject(ctx context.Context, project string) error {
	if project == "" { // as a filter it would mean something else
		return errors.New("kill a project: it has no name")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer e.forget(project)
	var killed error
	for round := 0; ; round++ {
		list, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+project))})
		if err != nil {
			return errors.Join(killed, wrap(err, "list the containers of project %s", project))
		}
		alive := living(list)
		if round > 0 && len(alive) == 0 {
			break
		}
		if round == killRounds {
			killed = errors.Join(killed, fmt.Errorf("project %s: %s: %w", project, strings.Join(alive, ", "), ErrStillRunning))
			break
		}
		killed = e.killEach(ctx, list)
		if round == 0 {
			continue
		}
		select {
		case <-time.After(killPause):
		case <-ctx.Done():
			return errors.Join(killed, wrap(ctx.Err(), "kill project %s", project))
		}
	}
	name := memoryVolume(project, recordVolume).Name
	removed := wrap(e.docker.VolumeRemove(ctx, name, true), "remove volume %s", name)
	return errors.Join(killed, removed, e.checkReleased(ctx, project))
}

// living are the names of the containers that are not yet as KillProject leaves them.
func living(list []container.Summary) []string {
	var names []string
	for _, c := range list {
		if isAlive(c) || c.Labels[api.ServiceLabel] == KeeperService {
			names = append(names, plainName(c.Names))
		}
	}
	return names
}

func isAlive(c container.Summary) bool {
	return c.State == container.StateRunning || c.State == container.StatePaused || c.State == container.StateRestarting
}

func (e *Engine) killEach(ctx context.Context, list []container.Summary) error {
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		all.Go(func() {
			if c.Labels[api.ServiceLabel] == KeeperService {
				errs[i] = e.docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
			} else {
				errs[i] = e.killOne(ctx, c)
			}
			if cerrdefs.IsNotFound(errs[i]) { // it went by itself
				errs[i] = nil
			}
			errs[i] = wrap(errs[i], "kill container %s", plainName(c.Names))
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// killOne kills a container, and makes sure that it stays down when the engine is restarted.
func (e *Engine) killOne(ctx context.Context, c container.Summary) error {
	var killed error
	if isAlive(c) {
		killed = e.docker.ContainerKill(ctx, c.ID, "KILL")
	}
	info, err := e.docker.ContainerInspect(ctx, c.ID)
	if err != nil {
		return err
	}
	if !info.State.Running {
		killed = nil
	}
	var update error
	if !info.HostConfig.RestartPolicy.IsNone() {
		_, update = e.docker.ContainerUpdate(ctx, c.ID, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}})
	}
	return errors.Join(killed, update)
}

// checkReleased returns an error when a container that is not of the project still holds delivered files.
func (e *Engine) checkReleased(ctx context.Context, project string) error {
	volumes, err := e.docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+project))})
	if err != nil {
		return wrap(err, "list the volumes of project %s", project)
	}
	holders := filters.NewArgs()
	for _, v := range volumes.Volumes {
		if strings.HasPrefix(v.Name, memoryVolume(project, volumePrefix).Name) {
			holders.Add("volume", v.Name)
		}
	}
	if holders.Len() == 0 {
		return nil
	}
	list, err := e.docker.ContainerList(ctx, container.ListOptions{Filters: holders})
	if err != nil {
		return wrap(err, "look who holds the volumes of project %s", project)
	}
	var errs []error
	for _, c := range list {
		if c.Labels[api.ProjectLabel] == project {
			continue // that it lives is an error already
		}
		name := plainName(c.Names)
		errs = append(errs, hint.Wrap(fmt.Errorf("container %s: it is not of project %s, and holds delivered files: %w", name, project, ErrStillRunning),
			"`docker kill %s`", name))
	}
	return errors.Join(errs...)
}
