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
)

// Container is what is seen of one service's container.
type Container struct {
	ID, Name, Service     string
	Image                 string // as it was asked for
	Running, Paused       bool
	Status                string // the engine's word: created, running, exited, …
	Health                string // starting (not known yet), healthy or unhealthy; "" unless it runs and has a healthcheck
	ExitCode              int
	OOMKilled             bool
	MemoryLimit           int64     // bytes; 0: none
	StartedAt, FinishedAt time.Time // the engine's clock; zero when it never happened
	Checked               time.Time // when the last healthcheck that has ended began; likewise
	Error                 string    // the engine's own words when the last start failed
	Instance              string    // id and StartedAt: one run of the container
	Foreign               bool      // not made by [Engine.Create], as after `docker compose up` by hand, or the service has another one, as after an interrupted replacement: Create mends it
	// Detached names the networks that it is to be in, and is not, or not under the service's name; "" from [Engine.Container].
	Detached string

	networks memberships
	composed bool // Compose knows it for its own
}

// Containers lists and inspects every container of the project, by service; the keeper under KeeperService.
func (e *Engine) Containers(ctx context.Context, p *Project) (map[string]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := e.list(ctx, p)
	if err != nil {
		return nil, wrap(err, "list the containers of project %s", p.Name)
	}
	all, err := e.inspectAll(ctx, list)
	if err != nil {
		return nil, err
	}
	return p.byService(all), nil
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
	i := slices.IndexFunc(list, func(c listed) bool { return c.Service == service })
	if i < 0 {
		return Container{}, absent
	}
	return e.inspect(ctx, list[i].ID)
}

// list names the project's containers, and says in short how they are.
func (e *Engine) list(ctx context.Context, p *Project) ([]listed, error) {
	list, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", api.ProjectLabel+"="+p.Name), filters.Arg("label", api.OneoffLabel+"=False"))})
	if err != nil {
		return nil, err
	}
	var out []listed
	for _, c := range list {
		l := summary(c.State, c.Status)
		if c.NetworkSettings != nil {
			l.networks = endpointIDs(c.NetworkSettings.Networks)
		}
		l.ID, l.Name, l.Service, l.composed = c.ID, plainName(c.Names), c.Labels[api.ServiceLabel], c.Labels[api.ConfigHashLabel] != ""
		out = append(out, l)
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
	c := Container{ID: info.ID, Name: strings.TrimPrefix(info.Name, "/"), Service: info.Config.Labels[api.ServiceLabel], Image: info.Config.Image,
		Foreign:  info.Config.Labels[madeLabel] == "" && info.Config.Labels[api.ServiceLabel] != KeeperService,
		composed: info.Config.Labels[api.ConfigHashLabel] != "", Running: s.Running && !s.Restarting, Paused: s.Paused, Status: s.Status, ExitCode: s.ExitCode, OOMKilled: s.OOMKilled,
		StartedAt: engineTime(s.StartedAt), FinishedAt: engineTime(s.FinishedAt), Error: s.Error, Instance: info.ID + "@" + s.StartedAt}
	if info.NetworkSettings != nil {
		c.networks = membershipsOf(info.NetworkSettings.Networks)
	}
	if info.HostConfig != nil {
		c.MemoryLimit = info.HostConfig.Memory
	}
	if c.Running && s.Health != nil && s.Health.Status != container.NoHealthcheck { // a dead container keeps its last health
		c.Health = s.Health.Status
		if c.Health == container.Unhealthy && s.Health.FailingStreak < retries(info.Config.Healthcheck) {
			c.Health = container.Starting // no check said so: the engine calls a paused container unhealthy, and one that was, until its next check
		}
		if n := len(s.Health.Log); n > 0 {
			c.Checked = s.Health.Log[n-1].Start
		}
	}
	return c, nil
}

// retries is how many checks have to fail, in a row, before a container is unhealthy.
func retries(check *container.HealthConfig) int {
	if check == nil || check.Retries <= 0 {
		return 3 // the engine's default
	}
	return check.Retries
}

// engineTime reads the engine's time; its year 1 means never.
func engineTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
