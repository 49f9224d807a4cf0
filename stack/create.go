package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"minibot/hint"
	"minibot/stack/keeper"
)

var createOptions = api.CreateOptions{Recreate: api.RecreateDiverged, RecreateDependencies: api.RecreateDiverged,
	Inherit: true, RemoveOrphans: true, QuietPull: true, SkipProviders: true}

// Create makes what is missing and replaces what diverged from the project: networks, volumes, containers. It starts a new keeper, and
// no service; a replaced container is stopped, within its stop_grace_period, and left created. Containers that did not
// diverge keep running; those of services that the file no longer has are removed. report, which may be nil, hears what is done; service is "" for networks and volumes. An
// image that is not on the engine is ErrImageMissing: nothing is pulled or built. Two calls never overlap.
func (e *Engine) Create(ctx context.Context, p *Project, report func(service, message string)) error {
	return e.create(ctx, p, "", report)
}

// Recreate is Create, and replaces the container of one service also where it did not diverge. As with all that Create replaces, the
// new container has the nameless volumes of the old one, and exists, under a passing name, before that is removed: whatever is cut off when, one of
// the two holds them, and the next Create ends it. Dependents with restart: true are left alone. Where there is no container, one is created.
func (e *Engine) Recreate(ctx context.Context, p *Project, service string, report func(service, message string)) error {
	return e.create(ctx, p, service, report)
}

// create is Create, and Recreate of the service, which may be "".
func (e *Engine) create(ctx context.Context, p *Project, service string, report func(service, message string)) error {
	e.creating.Lock()
	defer e.creating.Unlock()
	defer e.memory(p.Name).forget()
	grace := time.Duration(0)
	for _, s := range p.Services {
		grace += s.StopGrace
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout+grace)
	defer cancel()
	program, err := keeper.Program(e.info.Arch)
	if err != nil {
		return fmt.Errorf("create project %s: %w", p.Name, err)
	}
	if err := e.ensureKeeperImage(ctx, program); err != nil {
		return wrap(err, "make the keeper's image")
	}
	if err := e.checkImages(ctx, p); err != nil {
		return err
	}
	if err := e.mend(ctx, p); err != nil {
		return wrap(err, "mend an interrupted create of project %s", p.Name)
	}
	if err := e.renewMemory(ctx, p, program); err != nil {
		return wrap(err, "renew the memory of project %s", p.Name)
	}
	if report == nil {
		report = func(string, string) {}
	}
	var early sync.WaitGroup
	defer early.Wait()
	e.progress.begin(p, func(service, message string) {
		report(service, message)
		if service == KeeperService && message == "created" {
			early.Go(func() { // while the others are made; Feed starts it where this fails
				if _, err := e.runKeeper(ctx, p); err != nil {
					report(KeeperService, "not started yet: "+err.Error())
				}
			})
		}
	})
	defer e.progress.end()
	definition, options := e.definition(p, program), createOptions
	mark(definition, rand.Text())
	if service != "" {
		options.Services, options.Recreate = []string{service}, api.RecreateForce // of the others, what diverged
		unfollow(definition, service)
	}
	err = e.compose.Create(ctx, definition, options)
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return wrap(err, "create project %s", p.Name)
	}
	return e.placeConfigs(ctx, p)
}

// definition is the project as Compose gets it for this engine.
func (e *Engine) definition(p *Project, program []byte) *types.Project {
	c := p.forEngine(program, e.noswap)
	if e.seccomp {
		k := c.Services[KeeperService]
		k.SecurityOpt = append(slices.Clone(k.SecurityOpt), "seccomp=builtin")
		c.Services[KeeperService] = k
	}
	return c
}

// unfollow keeps Compose from stopping who follows a service's restarts: that is the supervisor's, once the service is up again. No
// container diverges by it.
func unfollow(definition *types.Project, service string) {
	for name, s := range definition.Services {
		if dependency, ok := s.DependsOn[service]; ok && dependency.Restart {
			dependency.Restart = false
			s.DependsOn = maps.Clone(s.DependsOn)
			s.DependsOn[service] = dependency
			definition.Services[name] = s
		}
	}
}

var divergedVolume = regexp.MustCompile(`^Volume "([^"]+)" exists`)

// answer is what Compose hears when it asks: data may not be lost.
func (g *progress) answer(question string, _ bool) (bool, error) {
	m := divergedVolume.FindStringSubmatch(question)
	if m == nil {
		return false, fmt.Errorf("compose asks: %s", question)
	}
	return false, hint.Wrap(fmt.Errorf("volume %s was made from another definition than the compose file has now", m[1]),
		"put the old definition back, or save its data and `docker volume rm %s`", m[1])
}

// checkImages makes sure that every image is there before anything is touched.
func (e *Engine) checkImages(ctx context.Context, p *Project) error {
	checked := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		reference := p.Services[name].Image
		if checked[reference] {
			continue
		}
		checked[reference] = true
		_, err := e.docker.ImageInspect(ctx, reference)
		if cerrdefs.IsNotFound(err) {
			return hint.Wrap(fmt.Errorf("service %s: %w: %s", name, ErrImageMissing, reference), "`docker pull %s`, or `scripts/images`", reference)
		}
		if err != nil {
			return wrap(err, "service %s: look for image %s", name, reference)
		}
	}
	return nil
}

// ensureKeeperImage imports the keeper's image unless it is there: a second import would get another id, and so
// replace the keeper.
func (e *Engine) ensureKeeperImage(ctx context.Context, program []byte) error {
	name := keeperImage(program)
	if _, err := e.docker.ImageInspect(ctx, name); err == nil || !cerrdefs.IsNotFound(err) {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "keeper", Mode: 0o555, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	body, err := e.docker.ImageImport(ctx, image.ImportSource{Source: &archive, SourceName: "-"}, name,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/keeper"]`}, Platform: "linux/" + e.info.Arch})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	return errors.Join(err, body.Close())
}

var leftover = regexp.MustCompile(`^[0-9a-f]{12}_(.+)$`)

// Unfinished reports whether a container has the passing name that a replacement gives it: Create mends it.
func (p *Project) Unfinished(c Container) bool {
	m := leftover.FindStringSubmatch(c.Name)
	return m != nil && m[1] == p.container(c.Service)
}

// mend finishes a replacement that was interrupted: the new container is named OLDID_NAME until the old one is gone.
// With the old one still there, the new one goes, and Create begins again; without it, the new one gets its name.
// It also takes away what stands in a service's place with its labels and name, but is none of Compose's, as a script may
// have made it: Compose would not see it, and trip over the name.
func (e *Engine) mend(ctx context.Context, p *Project) error {
	list, err := e.list(ctx, p)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, c := range list {
		names[c.Name] = true
		if c.composed || c.Name != p.container(c.Service) {
			continue
		}
		err := e.docker.ContainerStop(ctx, c.ID, container.StopOptions{})
		if err == nil {
			err = e.docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
		}
		if err != nil && !cerrdefs.IsNotFound(err) {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
		delete(names, c.Name)
	}
	for _, c := range list {
		if !p.Unfinished(Container{Name: c.Name, Service: c.Service}) {
			continue
		}
		m := leftover.FindStringSubmatch(c.Name)
		if names[m[1]] {
			err = e.docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
		} else {
			err = e.docker.ContainerRename(ctx, c.ID, m[1])
			names[m[1]] = true
		}
		if err != nil && !cerrdefs.IsNotFound(err) {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	return nil
}

// progress hands Compose's events to whoever called Create.
type progress struct {
	mu       sync.Mutex
	services map[string]string // by container name
	report   func(service, message string)
	last     map[string]string
}

func (g *progress) begin(p *Project, report func(service, message string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.report, g.last, g.services = report, map[string]string{}, map[string]string{p.container(KeeperService): KeeperService}
	for name, s := range p.Services {
		g.services[s.Container] = name
	}
}

func (g *progress) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.report = nil
}

// Start is part of Compose's interface.
func (g *progress) Start(context.Context, string) {}

// Done is part of Compose's interface.
func (g *progress) Done(string, bool) {}

// On is part of Compose's interface.
func (g *progress) On(events ...api.Resource) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.report == nil {
		return
	}
	for _, event := range events {
		kind, name, _ := strings.Cut(event.ID, " ")
		if event.Text == "" || event.Status == api.Error || g.last[event.ID] == event.Text {
			continue // an error is returned by Create
		}
		g.last[event.ID] = event.Text
		if service := g.services[name]; service != "" {
			g.report(service, strings.ToLower(event.Text))
		} else if kind != "Image" {
			g.report("", strings.ToLower(event.ID[:1])+event.ID[1:]+" "+strings.ToLower(event.Text))
		}
	}
}
