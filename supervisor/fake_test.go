package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

var errGone = errors.New("engine is gone")

// script is how a simulated container behaves.
type script struct {
	healthy  time.Duration // from start to healthy; negative: unhealthy after that long
	dies     time.Duration // from start; 0: never
	exitCode int
	stopping time.Duration
	startErr error
	ignores  bool // start succeeds and does nothing
}

type box struct {
	Container
	check bool
	run   int
}

// engine is a small simulated container engine.
type engine struct {
	t       testing.TB
	mu      sync.Mutex
	scripts map[string]script
	checks  map[string]bool
	boxes   map[string]*box
	fed     bool
	stale   map[string]bool // delivered, not taken
	gone    bool
	mute    bool // events are lost
	feedErr error
	refuses error // of every call
	starts  int
	wake    func(string, time.Time)
	broken  chan struct{} // closed when the engine goes

	busy     map[string]bool
	observes int
	more     int // looks that do not see everything
	watches  int
	looking  func(look int) // called in each look since it was set, with its number
	looks    int
	done     []Action
	issued   []time.Time
	last     Seen // what was observed last
}

func newEngine(t testing.TB, w Wanted) *engine {
	e := &engine{t: t, scripts: map[string]script{}, checks: map[string]bool{}, boxes: map[string]*box{},
		stale: map[string]bool{}, busy: map[string]bool{}, broken: make(chan struct{})}
	for name, s := range w.Services {
		e.scripts[name] = script{healthy: 2 * time.Second}
		e.checks[name] = s.Healthcheck
	}
	return e
}

func (e *engine) Observe(context.Context) (Seen, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.observes++
	if e.looking != nil {
		e.looks++
		e.looking(e.looks)
	}
	if e.gone {
		return Seen{}, errGone
	}
	seen := Seen{Containers: map[string]Container{}, Fed: e.fed, More: e.more > 0}
	e.more = max(e.more-1, 0)
	for name, b := range e.boxes {
		c := b.Container
		c.Stale = c.Running && e.stale[name]
		seen.Containers[name] = c
	}
	e.last = seen
	return seen, nil
}

func (e *engine) Watch(ctx context.Context, ready func(), wake func(string, time.Time)) error {
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return errGone
	}
	e.watches++
	e.wake = wake
	broken := e.broken
	e.mu.Unlock()
	ready()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-broken:
		return errors.New("unexpected EOF")
	}
}

func (e *engine) event(name string) {
	if e.wake != nil && !e.gone && !e.mute {
		e.wake(name, time.Now())
	}
}

// locked runs f with the engine to itself.
func (e *engine) locked(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *engine) Do(ctx context.Context, a Action) error {
	e.mu.Lock()
	if e.busy[a.Service] || a.Service == "" && len(e.busy) > 0 || e.busy[""] {
		e.t.Errorf("%v %q while %v is in flight", a.Kind, a.Service, e.busy)
	}
	e.busy[a.Service] = true
	e.done, e.issued = append(e.done, a), append(e.issued, time.Now())
	pause := 100 * time.Millisecond
	if b := e.boxes[a.Service]; b != nil && b.Running && (a.Kind == ActionStop || a.Kind == ActionRestart || a.Kind == ActionRecreate) {
		pause += e.scripts[a.Service].stopping
	}
	e.mu.Unlock()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	err := error(nil)
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.busy, a.Service)
	switch {
	case err != nil:
		return err
	case e.gone:
		return errGone
	case e.refuses != nil:
		return e.refuses
	}
	return e.carryOut(a)
}

func (e *engine) carryOut(a Action) error {
	switch a.Kind {
	case ActionCreate:
		for name := range e.scripts {
			if b := e.boxes[name]; b == nil || b.Foreign {
				e.starts++
				e.boxes[name] = &box{Container: Container{ID: fmt.Sprint("id", e.starts), Name: "c-" + name}, check: e.checks[name]}
			}
		}
		return nil
	case ActionFeed:
		e.fed = e.fed || e.feedErr == nil
		return e.feedErr
	case ActionWithdraw:
		e.fed = false
		return nil
	}
	b := e.boxes[a.Service]
	if b == nil {
		return errors.New("no such container")
	}
	switch a.Kind {
	case ActionStart:
		return e.start(a.Service, b)
	case ActionRestart, ActionRecreate:
		if b.Running {
			e.end(a.Service, b, 143)
		}
		return e.start(a.Service, b)
	case ActionStop, ActionKill:
		if b.Running {
			e.end(a.Service, b, 143)
		}
	case ActionAdopt:
		delete(e.stale, a.Service)
	}
	return nil
}

func (e *engine) start(name string, b *box) error {
	s := e.scripts[name]
	if s.startErr != nil || s.ignores || b.Running {
		return s.startErr
	}
	e.starts++
	b.run++
	run := b.run
	b.Running, b.Paused, b.StartedAt, b.Health, b.ExitCode = true, false, time.Now(), HealthNone, 0
	b.Instance = fmt.Sprintf("%s@%d", b.ID, e.starts)
	delete(e.stale, name)
	later := func(d time.Duration, f func()) {
		time.AfterFunc(d, func() {
			e.locked(func() {
				if e.boxes[name] == b && b.run == run && b.Running {
					f()
					e.event(name)
				}
			})
		})
	}
	if b.check {
		b.Health = HealthStarting
		switch {
		case s.healthy < 0:
			later(-s.healthy, func() { b.Health = HealthUnhealthy })
		default:
			later(s.healthy, func() { b.Health = HealthHealthy })
		}
	}
	if s.dies > 0 {
		later(s.dies, func() { e.end(name, b, s.exitCode) })
	}
	e.event(name)
	return nil
}

// end leaves the last health in place, as the real one does.
func (e *engine) end(name string, b *box, code int) {
	b.Running, b.Paused, b.ExitCode, b.FinishedAt = false, false, code, time.Now()
	e.event(name)
}

func (e *engine) kill(name string) {
	e.locked(func() {
		if b := e.boxes[name]; b != nil && b.Running {
			e.end(name, b, 137)
		}
	})
}

func (e *engine) sicken(name string) {
	e.locked(func() {
		if b := e.boxes[name]; b != nil && b.Running && b.check {
			b.Health = HealthUnhealthy
			e.event(name)
		}
	})
}

func (e *engine) remove(name string) {
	e.locked(func() { delete(e.boxes, name); e.event(name) })
}

func (e *engine) starve() { e.locked(func() { e.fed = false; e.event("") }) }

// leave makes the engine go for d; its containers stop with it, and so does the delivery.
func (e *engine) leave(d time.Duration) {
	e.locked(func() {
		if e.gone {
			return
		}
		e.gone, e.fed = true, false
		for name, b := range e.boxes {
			if b.Running {
				e.end(name, b, 137)
			}
		}
		close(e.broken)
	})
	time.AfterFunc(d, func() { e.locked(func() { e.gone, e.broken = false, make(chan struct{}) }) })
}

func (e *engine) set(name string, change func(*script)) {
	e.locked(func() { s := e.scripts[name]; change(&s); e.scripts[name] = s })
}

// taken returns "verb service" of all actions since the last call, those of one moment sorted.
func (e *engine) taken() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	from := 0
	for i, a := range e.done {
		text := a.Kind.String()
		if a.Service != "" {
			text += " " + a.Service
		}
		if !e.issued[i].Equal(e.issued[from]) {
			from = i
		}
		out = append(out, text)
		slices.Sort(out[from:])
	}
	e.done, e.issued = nil, nil
	return out
}

func (e *engine) times() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]time.Time(nil), e.issued...)
}

func (e *engine) observed() (n int) {
	e.locked(func() { n = e.observes })
	return n
}

// named fills in the services' names, as Apply does.
func named(w Wanted) Wanted {
	for name, s := range w.Services {
		s.Name = name
		w.Services[name] = s
	}
	return w
}
