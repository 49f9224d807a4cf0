package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"

	"minibot/hint"
)

// Resident is a container as who is to take over from it sees it: whose it is, what it publishes, where its data lie. Of its
// environment it has the names, and the values of those few variables that say where data lie.
type Resident struct {
	ID, Name, Image             string
	Project, Service, Directory string // of compose; "" for none
	Made                        bool   // by [Engine.Create], or the keeper of a minibot project
	Running                     bool
	Fleeting                    bool      // the engine removes it, with its anonymous volumes, as soon as it ends: docker run --rm
	StartedAt                   time.Time // zero for one that never was
	Restart                     string    // its restart policy: "no", "always", …
	User                        string    // whom it runs as; "" is root
	Ports                       []string  // of the machine, sorted; also while it does not run
	Mounts                      []Mount   // sorted by target; Memory is told of tmpfs mounts only, not of volumes
	Variables                   []string  // names of its environment, sorted
	Settings                    map[string]string
	// Unseen is why it could not be inspected, nil for one that was. Of such a one ID, Name, Image, Project, Service, Directory, Made, Running and, while it
	// runs, Ports are known.
	Unseen error
}

// ErrFleeting says that the engine removes a container, and what data it has in anonymous volumes, as soon as it ends.
var ErrFleeting = errors.New("it was run with --rm: the engine removes it and its data when it ends")

// settings are the variables whose values are no secrets and say where and whose data are.
var settings = []string{"PGDATA", "PG_MAJOR", "POSTGRES_USER", "POSTGRES_DB"}

// Residents inspects every container on the engine, running or not, sorted by name. What vanished meanwhile is skipped, and one that cannot
// be inspected, as engines have them after a crash, is Unseen. It fails when the engine does not list them or is gone. It changes nothing.
func (e *Engine) Residents(ctx context.Context) ([]Resident, error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	list, err := e.docker.ContainerList(brief, container.ListOptions{All: true})
	if err != nil {
		return nil, wrap(err, "list the containers")
	}
	var all []Resident
	for _, c := range list {
		r, err := e.Resident(ctx, c.ID)
		if errors.Is(err, ErrNoContainer) {
			continue
		}
		if err != nil && (ctx.Err() != nil || lost(err)) {
			return nil, err
		}
		if err != nil {
			r = unseen(c, err)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Resident) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Resident inspects one container by id or name, or returns ErrNoContainer.
func (e *Engine) Resident(ctx context.Context, id string) (Resident, error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	info, err := e.docker.ContainerInspect(brief, id)
	if err != nil {
		return Resident{}, wrapContainer(err, "inspect container %s", shortID(id))
	}
	if info.ContainerJSONBase == nil || info.State == nil || info.HostConfig == nil {
		return Resident{}, fmt.Errorf("inspect container %s: the engine says nothing of its state", shortID(id))
	}
	return residentOf(info), nil
}

// unseen is what a list alone says of a container.
func unseen(c container.Summary, why error) Resident {
	r := Resident{ID: c.ID, Name: shortID(c.ID), Image: c.Image, Project: c.Labels[api.ProjectLabel], Service: c.Labels[api.ServiceLabel],
		Directory: c.Labels[api.WorkingDirLabel], Made: c.Labels[madeLabel] != "", Running: c.State == container.StateRunning, Unseen: why}
	if len(c.Names) > 0 {
		r.Name = strings.TrimPrefix(c.Names[0], "/")
	}
	for _, port := range c.Ports {
		if port.PublicPort != 0 {
			r.Ports = append(r.Ports, strconv.Itoa(int(port.PublicPort)))
		}
	}
	slices.Sort(r.Ports)
	r.Ports = slices.Compact(r.Ports)
	return r
}

func residentOf(info container.InspectResponse) Resident {
	p := postureOf(info, nil)
	r := Resident{ID: p.ID, Name: p.Container, Project: p.Project, Service: p.Service, Running: p.Running, Restart: p.Restart, Mounts: p.Mounts, Fleeting: info.HostConfig.AutoRemove,
		StartedAt: engineTime(info.State.StartedAt), Settings: map[string]string{}}
	for _, bindings := range info.HostConfig.PortBindings {
		for _, b := range bindings {
			if b.HostPort != "" {
				r.Ports = append(r.Ports, b.HostPort)
			}
		}
	}
	slices.Sort(r.Ports)
	r.Ports = slices.Compact(r.Ports)
	if info.Config == nil {
		return r
	}
	r.Image, r.User, r.Directory = info.Config.Image, info.Config.User, info.Config.Labels[api.WorkingDirLabel]
	r.Made = p.Keeper || info.Config.Labels[madeLabel] != ""
	r.Variables, r.Settings = splitEnv(info.Config.Env)
	return r
}

// splitEnv is the names of all variables, sorted, and the values of the harmless ones.
func splitEnv(env []string) (names []string, known map[string]string) {
	known = map[string]string{}
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		names = append(names, name)
		if slices.Contains(settings, name) {
			known[name] = value
		}
	}
	slices.Sort(names)
	return names, known
}

// Published are the ports of the machine that a service publishes, as the compose file says, sorted.
func (p *Project) Published(service string) []string {
	var ports []string
	for _, port := range p.rewritten.Services[service].Ports {
		if port.Published != "" {
			ports = append(ports, port.Published)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// ImageSettings are the harmless variables that an image sets: PG_MAJOR, PGDATA. An image that is not on the engine is ErrImageMissing.
func (e *Engine) ImageSettings(ctx context.Context, reference string) (map[string]string, error) {
	ctx, cancel := briefly(ctx)
	defer cancel()
	info, err := e.docker.ImageInspect(ctx, reference)
	if cerrdefs.IsNotFound(err) {
		return nil, hint.Wrap(ErrImageMissing, "`docker pull %s`", reference)
	}
	if err != nil {
		return nil, wrap(err, "look for image %s", reference)
	}
	if info.Config == nil {
		return map[string]string{}, nil
	}
	_, known := splitEnv(info.Config.Env)
	return known, nil
}

// CheckImages returns ErrImageMissing unless every image of the project is on the engine.
func (e *Engine) CheckImages(ctx context.Context, p *Project) error {
	ctx, cancel := briefly(ctx)
	defer cancel()
	return e.checkImages(ctx, p)
}

// Retire keeps a container from being started by the engine again, and stops it: with signal, or its own stop signal where that
// is "". What has not ended a minute later is stopped as [Engine.Stop] does. One that does not run is no error; nothing is removed: one that the
// engine would remove is left running, with ErrFleeting.
func (e *Engine) Retire(ctx context.Context, id, signal string) error {
	r, err := e.Resident(ctx, id)
	if err != nil {
		return err
	}
	if r.Fleeting {
		return fmt.Errorf("stop container %s: %w", r.Name, ErrFleeting)
	}
	brief, cancel := briefly(ctx)
	_, err = e.docker.ContainerUpdate(brief, id, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled}})
	cancel()
	if err != nil {
		return e.wrapNamed(ctx, err, "set the restart policy of", id)
	}
	if r.Running && signal != "" {
		if err := e.Signal(ctx, id, signal); err != nil && !cerrdefs.IsConflict(err) { // it may have just ended
			return err
		}
		if err := e.awaitEnd(ctx, id); err != nil {
			return err
		}
	}
	return e.Stop(ctx, id, 0)
}

// awaitEnd returns when a container has ended, or after a minute; whether it has is for the caller to see.
func (e *Engine) awaitEnd(ctx context.Context, id string) error {
	patient, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ended, failed := e.docker.ContainerWait(patient, id, container.WaitConditionNotRunning)
	select {
	case <-ended:
		return nil
	case err := <-failed:
		if patient.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return e.wrapNamed(ctx, err, "wait for the end of", id)
	}
}

// Rename gives a container another name.
func (e *Engine) Rename(ctx context.Context, id, name string) error {
	brief, cancel := briefly(ctx)
	defer cancel()
	return e.wrapNamed(ctx, e.docker.ContainerRename(brief, id, name), "rename", id)
}
