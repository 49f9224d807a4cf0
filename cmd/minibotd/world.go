package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"minibot/database"
	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

const (
	dialTimeout  = 30 * time.Second // until an engine that can be watched is found; a healthy one answers in milliseconds
	adoptTimeout = time.Minute      // a service's own on_change command, or reload
)

// world is the engine and the project as the supervisor sees them: its Runtime. It resolves the engine's socket anew
// after every loss. Safe for concurrent use.
type world struct {
	host     string // "" resolves
	dial     func(ctx context.Context, host string) (engine, error)
	log      *slog.Logger
	onChange func(service, message string) // progress of a create or a delivery
	// reload has a service with on_change: openclaw read its secrets again; it wraps database.ErrRefused where only a
	// restart can do that.
	reload  func(ctx context.Context, service string) error
	feeding chan struct{} // holds a token while a delivery is under way or prepared
	refuse  func() error  // why nothing may be started, or nil; nil allows all
	// created hears of each create that succeeded.
	created func(context.Context, engine, *stack.Project)

	actions inFlight

	mu         sync.Mutex
	engine     engine // nil while none answers
	info       stack.EngineInfo
	project    *stack.Project
	values     map[secrets.Name]secrets.Value
	generation uint64 // of project and values
	fed        uint64 // the last generation whose delivery was complete
	seen       map[string]stack.Container
	shown      map[string]supervisor.Container // what was made of seen for shownOf, while nothing was stale; nobody changes it
	shownOf    *stack.Project
}

// set replaces what is wanted and reports whether that is anything new.
func (w *world) set(project *stack.Project, values map[secrets.Name]secrets.Value) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := w.project != nil && w.project.Hash() == project.Hash() &&
		maps.EqualFunc(w.values, values, secrets.Value.Equal)
	if !same {
		w.generation++
	}
	// what x-minibot says is no part of the hash: nothing is made anew for it
	changed = !same || !reflect.DeepEqual(w.project.Services, project.Services)
	w.project, w.values = project, values
	return changed
}

// connect returns the engine in use, or dials one.
func (w *world) connect(ctx context.Context) (engine, *stack.Project, error) {
	w.mu.Lock()
	engine, project := w.engine, w.project
	w.mu.Unlock()
	if engine != nil {
		return engine, project, nil
	}
	engine, err := w.dial(ctx, w.host)
	if err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engine != nil { // another caller was faster
		if err := engine.Close(); err != nil {
			w.log.Debug("close a second connection to the engine", keyError, err)
		}
		return w.engine, w.project, nil
	}
	w.engine, w.info = engine, engine.Info()
	return engine, w.project, nil
}

// lost forgets an engine that no longer answers, so that the next call resolves its socket anew.
func (w *world) lost(engine engine, err error) error {
	if err == nil || !stack.IsUnreachable(err) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engine == engine {
		w.engine = nil
		w.log.Debug("engine lost", keyError, err)
		return errors.Join(err, engine.Close())
	}
	return err
}

// forget lets go of the connection, so that the next call makes a new one: after a sleep the other end may be gone
// without a word. Calls under way end by themselves.
func (w *world) forget() {
	if err := w.close(); err != nil {
		w.log.Debug("close the connection to the engine", keyError, err)
	}
}

func (w *world) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.engine == nil {
		return nil
	}
	err := w.engine.Close()
	w.engine = nil
	return err
}

// Observe looks at the project's containers. ctx bounds it.
func (w *world) Observe(ctx context.Context) (supervisor.Seen, error) {
	engine, project, err := w.connect(ctx)
	if err != nil {
		return supervisor.Seen{}, err
	}
	// asked before the look: a delivery that ends during it may have made services stale that this look misses
	w.mu.Lock()
	delivered, generation := w.fed == w.generation, w.generation
	w.mu.Unlock()
	list, more, err := engine.Look(ctx, project)
	if err != nil {
		return supervisor.Seen{}, w.lost(engine, err)
	}
	stale, err := engine.Stale(ctx, project, list)
	if err != nil {
		return supervisor.Seen{}, w.lost(engine, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fed := delivered && w.generation == generation && engine.Fed(list)
	if w.shownOf != project || len(stale) > 0 || !maps.Equal(w.seen, list) {
		w.show(list, project, stale)
	}
	return supervisor.Seen{Containers: w.shown, Fed: fed, More: more}, nil
}

// show translates a look. The caller holds mu.
func (w *world) show(list map[string]stack.Container, project *stack.Project, stale map[string]bool) {
	w.seen, w.shown, w.shownOf = list, make(map[string]supervisor.Container, len(list)), project
	for name := range project.Services {
		if c, ok := list[name]; ok {
			c.Foreign = c.Foreign || project.Unfinished(c) // either is for a create to mend
			w.shown[name] = observed(c, stale[name])
		}
	}
	if len(stale) > 0 { // it may be taken without a change of what is listed
		w.shownOf = nil
	}
}

func observed(c stack.Container, stale bool) supervisor.Container {
	healths := map[string]supervisor.Health{
		"starting": supervisor.HealthStarting, "healthy": supervisor.HealthHealthy, "unhealthy": supervisor.HealthUnhealthy,
	}
	return supervisor.Container{
		ID: c.ID, Name: c.Name, Running: c.Running, Paused: c.Paused, Health: healths[c.Health], ExitCode: c.ExitCode,
		OOMKilled: c.OOMKilled, MemoryLimit: c.MemoryLimit, Instance: c.Instance, StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, Stale: stale, Foreign: c.Foreign, Detached: c.Detached, Checked: c.Checked, Error: c.Error,
	}
}

// Watch subscribes to the project's events.
func (w *world) Watch(ctx context.Context, ready func(), wake func(service string, at time.Time)) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	engine, project, err := w.connect(dialing)
	cancel()
	if err != nil {
		return err
	}
	return w.lost(engine, engine.Watch(ctx, project, ready, func(e stack.Event) {
		service := e.Service
		if service == stack.KeeperService {
			service = ""
		}
		wake(service, e.Time)
	}))
}

// Do carries out one action of the policy.
func (w *world) Do(ctx context.Context, action supervisor.Action) error {
	defer w.actions.enter()()
	switch action.Kind {
	case supervisor.ActionStop, supervisor.ActionKill, supervisor.ActionWithdraw:
	default:
		if err := w.refused(); err != nil {
			return err
		}
	}
	engine, project, err := w.connect(ctx)
	if err != nil {
		return err
	}
	switch action.Kind {
	case supervisor.ActionCreate:
		err = w.create(ctx, engine, project, "")
	case supervisor.ActionFeed:
		err = w.feed(ctx, engine)
	case supervisor.ActionWithdraw:
		err = engine.Withdraw(ctx, project)
	default:
		err = w.service(ctx, engine, project, action)
	}
	return w.lost(engine, err)
}

// feed delivers what is wanted now; a change that comes meanwhile has a higher generation and is fed after it.
func (w *world) feed(ctx context.Context, engine engine) error {
	if err := w.lockFeeding(ctx); err != nil {
		return err
	}
	defer func() { <-w.feeding }()
	w.mu.Lock()
	project, values, generation := w.project, w.values, w.generation
	w.mu.Unlock()
	delivery, err := engine.Feed(ctx, project, values)
	if errors.Is(err, stack.ErrNoContainer) { // the keeper was taken away
		if err = w.refused(); err == nil {
			err = w.create(ctx, engine, project, "")
		}
		if err == nil {
			delivery, err = engine.Feed(ctx, project, values)
		}
	}
	if err != nil {
		return err
	}
	for _, service := range delivery.Changed {
		w.onChange(service, "secrets delivered")
	}
	w.mu.Lock()
	w.fed = generation
	w.mu.Unlock()
	return nil
}

func (w *world) service(ctx context.Context, engine engine, project *stack.Project, action supervisor.Action) error {
	w.mu.Lock()
	c, ok := w.seen[action.Service]
	w.mu.Unlock()
	if !ok {
		return fmt.Errorf("service %s: %w", action.Service, stack.ErrNoContainer)
	}
	switch action.Kind {
	case supervisor.ActionStart:
		return w.anew(ctx, engine, project, c, func() error { return engine.Start(ctx, c.ID) })
	case supervisor.ActionRestart:
		return w.anew(ctx, engine, project, c, func() error { return engine.Restart(ctx, c.ID, action.StopTimeout) })
	case supervisor.ActionRecreate:
		return w.recreate(ctx, engine, project, action.Service, c.ID, action.StopTimeout)
	case supervisor.ActionConnect:
		err := engine.Connect(ctx, project, action.Service, c.ID)
		if errors.Is(err, stack.ErrNetworkMissing) {
			err = w.create(ctx, engine, project, action.Service) // the policy starts it when it may
		}
		return err
	case supervisor.ActionStop:
		return engine.Stop(ctx, c.ID, action.StopTimeout)
	case supervisor.ActionKill:
		return engine.Signal(ctx, c.ID, "SIGKILL")
	case supervisor.ActionAdopt:
		return w.adopt(ctx, engine, project, project.Services[action.Service], c.ID)
	}
	return fmt.Errorf("service %s: unknown action %d", action.Service, action.Kind)
}

// create makes what is missing, and replaces the container of a service, unless that is "".
func (w *world) create(ctx context.Context, engine engine, project *stack.Project, service string) error {
	var err error
	if service == "" {
		err = engine.Create(ctx, project, w.onChange)
	} else {
		err = engine.Recreate(ctx, project, service, w.onChange)
	}
	if err == nil && w.created != nil {
		w.created(ctx, engine, project)
	}
	return err
}

// recreate replaces a service's container by a new one, which has its volumes, the nameless ones too. within is as in
// [stack.Engine.Stop].
func (w *world) recreate(ctx context.Context, engine engine, project *stack.Project, service, id string, within time.Duration) error {
	if err := engine.Stop(ctx, id, within); err != nil {
		return err
	}
	if err := w.create(ctx, engine, project, service); err != nil {
		return err
	}
	c, err := engine.Container(ctx, project, service)
	if err == nil {
		err = w.refused()
	}
	if err != nil {
		return err
	}
	return engine.Start(ctx, c.ID)
}

// anew starts a container in its networks, but replaces one that can never start: its network was removed, and
// belongs to it by an id that no new network has, or the engine lost track of its last run.
func (w *world) anew(ctx context.Context, engine engine, project *stack.Project, c stack.Container, start func() error) error {
	var err error
	if c.Detached != "" {
		err = engine.Connect(ctx, project, c.Service, c.ID)
	}
	if err == nil {
		err = start()
	}
	if errors.Is(err, stack.ErrNetworkMissing) || errors.Is(err, stack.ErrContainerStuck) {
		return w.recreate(ctx, engine, project, c.Service, c.ID, 0)
	}
	return err
}

// adopt lets a running service take its new files in the way that its x-minibot names.
func (w *world) adopt(ctx context.Context, engine engine, project *stack.Project, service stack.Service, id string) error {
	limited, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	delivered, err := engine.Delivered(ctx, project, service.Name)
	if err == nil {
		err = w.refused() // that may have waited for a delivery
	}
	if err != nil {
		return err
	}
	switch service.OnChange {
	case "signal":
		if err := engine.Signal(ctx, id, service.Signal); err != nil {
			return err
		}
	case "openclaw":
		err := w.reload(limited, service.Name)
		if errors.Is(err, database.ErrRefused) { // as when the token in force was erased: no reload will ever be let in
			w.log.Warn("no known token opens the gateway; it is restarted instead", keyService, service.Name)
			w.onChange(service.Name, "no known token opens the gateway; it is restarted instead")
			if err := w.refused(); err != nil {
				return err
			}
			return engine.Restart(ctx, id, 0)
		}
		if err != nil {
			return err
		}
	default:
		result, err := engine.Exec(limited, id, stack.Exec{Cmd: service.Exec})
		if err != nil {
			return err
		}
		if result.ExitCode != 0 {
			return fmt.Errorf("service %s: its on_change command exited with %d", service.Name, result.ExitCode)
		}
	}
	return engine.MarkTaken(ctx, project, service.Name, delivered)
}
