package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"
)

// Container is what is seen of one service's container.
type Container struct {
	ID, Name, Service     string
	Running, Paused       bool
	Status                string // the engine's word: created, running, exited, …
	Health                string // starting, healthy or unhealthy; "" unless it runs and has a healthcheck
	ExitCode              int
	OOMKilled             bool
	StartedAt, FinishedAt time.Time // the engine's clock; zero when it never happened
	Checked               time.Time // when the last healthcheck that has ended began; likewise
	Error                 string    // the engine's own words when the last start failed
	Instance              string    // id and StartedAt: one run of the container
	Foreign               bool      // not made by [Engine.Create], as after `docker compose up` by hand: Create replaces it
}

const inspectAtOnce = 8

// Containers lists and inspects every container of the project, by service; the keeper under KeeperService.
func (e *Engine) Containers(ctx context.Context, p *Project) (map[string]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := e.list(ctx, p)
	if err != nil {
		return nil, wrap(err, "list the containers of project %s", p.Name)
	}
	inspected := make([]Container, len(list))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(inspectAtOnce)
	for i, c := range list {
		group.Go(func() error {
			seen, err := e.inspect(groupCtx, c.ID)
			if cerrdefs.IsNotFound(err) {
				return nil // it went between the two calls
			}
			inspected[i] = seen
			return wrap(err, "inspect container %s", c.Name)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	seen := map[string]Container{}
	for _, c := range inspected {
		if other, twice := seen[c.Service]; c.ID == "" || twice && other.Name == p.container(c.Service) {
			continue
		}
		seen[c.Service] = c
	}
	return seen, nil
}

// Container inspects the container of one service, also one that was renamed, or returns ErrNoContainer.
func (e *Engine) Container(ctx context.Context, p *Project, service string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name := p.container(service)
	if name == "" {
		return Container{}, fmt.Errorf("service %s: %w", service, ErrNoContainer)
	}
	c, err := e.inspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		c, err = e.renamed(ctx, p, service, err)
	}
	return c, wrapContainer(err, "inspect container %s", name)
}

// renamed finds the container of a service that does not have its name, as after `docker rename`: Create takes it for the
// service's too. It returns absent when there is none.
func (e *Engine) renamed(ctx context.Context, p *Project, service string, absent error) (Container, error) {
	list, err := e.list(ctx, p)
	if err != nil {
		return Container{}, err
	}
	i := slices.IndexFunc(list, func(c Container) bool { return c.Service == service })
	if i < 0 {
		return Container{}, absent
	}
	return e.inspect(ctx, list[i].ID)
}

// list names the project's containers, without states.
func (e *Engine) list(ctx context.Context, p *Project) ([]Container, error) {
	list, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", api.ProjectLabel+"="+p.Name), filters.Arg("label", api.OneoffLabel+"=False"))})
	if err != nil {
		return nil, err
	}
	var out []Container
	for _, c := range list {
		out = append(out, Container{ID: c.ID, Name: plainName(c.Names), Service: c.Labels[api.ServiceLabel]})
	}
	return out, nil
}

// plainName is the container's own name among those that links give it.
func plainName(names []string) string {
	for _, name := range names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

func (e *Engine) inspect(ctx context.Context, id string) (Container, error) {
	info, err := e.docker.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, err
	}
	s := info.State
	c := Container{ID: info.ID, Name: strings.TrimPrefix(info.Name, "/"), Service: info.Config.Labels[api.ServiceLabel],
		Foreign: info.Config.Labels[madeLabel] == "" && info.Config.Labels[api.ServiceLabel] != KeeperService,
		Running: s.Running && !s.Restarting, Paused: s.Paused, Status: s.Status, ExitCode: s.ExitCode, OOMKilled: s.OOMKilled,
		StartedAt: engineTime(s.StartedAt), FinishedAt: engineTime(s.FinishedAt), Error: s.Error, Instance: info.ID + "@" + s.StartedAt}
	if c.Running && s.Health != nil && s.Health.Status != container.NoHealthcheck { // a dead container keeps its last health
		c.Health = s.Health.Status
		if n := len(s.Health.Log); n > 0 {
			c.Checked = s.Health.Log[n-1].Start
		}
	}
	return c, nil
}

// engineTime reads the engine's time; its year 1 means never.
func engineTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
