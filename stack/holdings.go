package stack

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// Holding is something of a project on the engine.
type Holding struct {
	Kind string // "container", "network" or "volume"
	Name string
	id   string
}

// nameless is what the engine calls a volume that nobody gave a name.
var nameless = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Holdings lists the containers, networks and volumes that have the project's label, the keeper's too, in this order and by name, and
// the nameless volumes of these containers: one that was handed on from a former container does not go with the last one by itself.
// What the compose file calls external has no label and is not the project's.
func (e *Engine) Holdings(ctx context.Context, project string) ([]Holding, error) {
	if project == "" { // as a filter it would mean something else
		return nil, errors.New("list a project: it has no name")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ours := filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+project))
	var held []Holding
	containers, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return nil, wrap(err, "list the containers of project %s", project)
	}
	for _, c := range containers {
		held = append(held, Holding{"container", plainName(c.Names), c.ID})
		for _, m := range c.Mounts {
			if m.Type == mount.TypeVolume && nameless.MatchString(m.Name) {
				held = append(held, Holding{"volume", m.Name, m.Name})
			}
		}
	}
	networks, err := e.docker.NetworkList(ctx, network.ListOptions{Filters: ours})
	if err != nil {
		return nil, wrap(err, "list the networks of project %s", project)
	}
	for _, n := range networks {
		held = append(held, Holding{"network", n.Name, n.ID})
	}
	volumes, err := e.docker.VolumeList(ctx, volume.ListOptions{Filters: ours})
	if err != nil {
		return nil, wrap(err, "list the volumes of project %s", project)
	}
	for _, v := range volumes.Volumes {
		held = append(held, Holding{"volume", v.Name, v.Name})
	}
	slices.SortFunc(held, func(a, b Holding) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return slices.Compact(held), nil // of two containers that share a nameless volume
}

// Discard removes everything that Holdings lists: the project's data are gone for good. Nobody may be at work on the project. It
// can be repeated, does not stop at an error, and reports each thing before it is removed.
func (e *Engine) Discard(ctx context.Context, project string, report func(Holding)) error {
	held, err := e.Holdings(ctx, project)
	errs := []error{err}
	for _, h := range held {
		report(h)
		errs = append(errs, e.discard(ctx, h))
	}
	e.forget(project)
	return errors.Join(errs...)
}

func (e *Engine) discard(ctx context.Context, h Holding) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	switch h.Kind {
	case "container":
		err = e.docker.ContainerRemove(ctx, h.id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	case "network":
		err = e.docker.NetworkRemove(ctx, h.id)
	default:
		err = e.docker.VolumeRemove(ctx, h.id, false)
	}
	if cerrdefs.IsNotFound(err) { // it went by itself
		return nil
	}
	return wrap(err, "remove %s %s", h.Kind, h.Name)
}
