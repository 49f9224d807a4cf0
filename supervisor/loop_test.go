package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minibot/hint"
)

// stack is db ← cache (no healthcheck) and app, which needs both and follows db.
func stack() Wanted {
	return Wanted{Services: map[string]Service{
		"db":    {Healthcheck: true, Secrets: true},
		"cache": {Secrets: true},
		"app": {Healthcheck: true, Secrets: true, DependsOn: []Dependency{
			{Service: "db", Condition: Healthy, Required: true, Restart: true},
			{Service: "cache", Condition: Started, Required: true},
		}},
	}}
}

type rig struct {
	*engine
	*Supervisor
	t      *testing.T
	events []Event
	check  func(Event) // called for each event, before anything else is observed
	mu     sync.Mutex
	cancel context.CancelFunc
	ended  chan struct{}
}

// simulate runs f in a bubble with a supervisor of w on a simulated engine.
func simulate(t *testing.T, w Wanted, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, w)
		r.Apply(w)
		f(r)
		r.end()
	})
}

func newRig(t *testing.T, w Wanted, tune ...func(*Options)) *rig {
	r := &rig{engine: newEngine(t, w), t: t, ended: make(chan struct{})}
	options := Options{Rand: func() float64 { return 0 }, OnEvent: func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
		if r.check != nil {
			r.check(e)
		}
	}}
	for _, f := range tune {
		f(&options)
	}
	r.Supervisor = New(r.engine, options)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(r.ended)
		if err := r.Serve(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	}()
	return r
}

func (r *rig) end() {
	r.cancel()
	<-r.ended
}

func (r *rig) phase(p Phase) Status {
	r.t.Helper()
	return r.until(string(p), func(s Status) bool { return s.Phase == p })
}

func (r *rig) until(what string, f func(Status) bool) Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Hour)
	defer cancel()
	status, err := r.Wait(ctx, f)
	if err != nil {
		r.t.Fatalf("waiting for %s: %v\n%+v", what, err, status)
	}
	return status
}

// after lets d pass and everything settle.
func (r *rig) after(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func (r *rig) want(actions ...string) {
	r.t.Helper()
	if got := r.taken(); !slices.Equal(got, actions) {
		r.t.Errorf("actions:\n got %q\nwant %q", got, actions)
	}
}

func (r *rig) count(kind EventKind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (r *rig) of(kind EventKind) Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Backward(r.events) {
		if e.Kind == kind {
			return e
		}
	}
	r.t.Errorf("no %s event", kind)
	return Event{}
}

func TestStartsInOrder(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		began := time.Now()
		r.phase(AllHealthy)
		// create, feed, start db, 2 s to healthy, start app, 2 s: nothing waits for a tick or a timer.
		if took := time.Since(began); took > 4500*time.Millisecond {
			r.t.Errorf("took %v", took)
		}
		r.want("create", "feed", "start cache", "start db", "start app")
		if n := r.count(EventHeal); n != 0 {
			r.t.Errorf("%d heals on a first start", n)
		}
	})
}

func TestIdleIsCheap(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.after(time.Second)
		r.taken()
		before := r.observed()
		r.after(10 * time.Minute)
		if n := r.observed() - before; n < 19 || n > 21 {
			r.t.Errorf("%d observations in 10 idle minutes", n)
		}
		r.want()
	})
}

func TestHealsAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(*rig)
		want []string
	}{
		"died":      {func(r *rig) { r.kill("cache") }, []string{"start cache"}},
		"unhealthy": {func(r *rig) { r.sicken("db") }, []string{"restart db", "restart app"}},
		"removed":   {func(r *rig) { r.remove("app") }, []string{"create", "start app"}},
		"keeper":    {func(r *rig) { r.starve() }, []string{"feed"}},
		"all at once": {func(r *rig) { r.starve(); r.kill("db"); r.kill("app") },
			[]string{"feed", "start db", "start app"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, stack(), func(r *rig) {
				r.phase(AllHealthy)
				r.after(time.Second)
				r.taken()
				harmed := time.Now()
				tt.harm(r)
				synctest.Wait()
				if at := r.times(); len(at) == 0 || !at[0].Equal(harmed) {
					r.t.Errorf("harmed at %v, acted at %v", harmed, at)
				}
				r.phase(AllHealthy)
				r.after(time.Minute)
				r.want(tt.want...)
			})
		})
	}
}

func TestFindsWhatEventsDidNotTell(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.locked(func() { r.mute = true })
		r.kill("cache")
		r.after(31 * time.Second)
		if s, _ := r.Status().Service("cache"); s.State != "running" || s.Restarts != 1 {
			r.t.Errorf("%+v", s)
		}
	})
}

func TestBackoffDegradesAndRecovers(t *testing.T) {
	for name, ill := range map[string]script{
		"dies":       {healthy: time.Hour, dies: time.Millisecond, exitCode: 7},
		"unhealthy":  {healthy: -time.Millisecond},
		"not at all": {startErr: hint.Wrap(errors.New("port is taken"), "free the port")},
		"ignored":    {ignores: true},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, Wanted{Services: map[string]Service{"db": {Healthcheck: true}}}, func(r *rig) {
				r.phase(AllHealthy)
				r.after(time.Second)
				r.taken()
				r.locked(func() { r.scripts["db"] = ill })
				r.kill("db")
				status := r.phase(Degraded)
				at := r.times()
				if len(at) != 5 || r.count(EventDegraded) != 1 {
					r.t.Fatalf("%d attempts, %d events before degraded", len(at), r.count(EventDegraded))
				}
				for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
					if got := at[i+1].Sub(at[i]); got < least || got > least+time.Second {
						r.t.Errorf("attempt %d came after %v", i+2, got)
					}
				}
				if name == "dies" && !strings.Contains(status.Reason, "exited with 7") {
					r.t.Errorf("reason %q", status.Reason)
				}
				if name == "not at all" && (status.Hint != "free the port" || !strings.Contains(status.Reason, "port is taken")) {
					r.t.Errorf("reason %q, hint %q", status.Reason, status.Hint)
				}
				if next := time.Until(status.Services[0].NextAttempt); next < 59*time.Second || next > time.Minute {
					r.t.Errorf("next attempt in %v", next)
				}
				r.locked(func() { r.scripts["db"] = script{healthy: time.Second} })
				r.phase(AllHealthy)
				if r.count(EventRecovered) != 1 {
					r.t.Errorf("recovery reported %d times", r.count(EventRecovered))
				}
				r.after(11 * time.Minute)
				r.taken()
				died := time.Now()
				r.kill("db")
				synctest.Wait()
				if at := r.times(); len(at) != 1 || !at[0].Equal(died) {
					r.t.Errorf("after ten healthy minutes: died %v, attempts %v", died, at)
				}
			})
		})
	}
}

// Without a healthcheck a start proves little: a crash loop is no series of recoveries.
func TestCrashLoopIsNoRecovery(t *testing.T) {
	simulate(t, Wanted{Services: map[string]Service{"db": {}}}, func(r *rig) {
		r.phase(AllHealthy)
		r.set("db", func(s *script) { s.dies, s.exitCode = 3*time.Second, 1 })
		r.kill("db")
		r.phase(Degraded)
		if n := r.count(EventRecovered); n > 1 {
			r.t.Errorf("%d recoveries", n)
		}
	})
}

func TestEngineGone(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.leave(20 * time.Second)
		synctest.Wait() // known at once, not at the next tick
		if s := r.Status(); s.Phase != Unreachable || s.Reason == "" || len(s.Services) != 3 {
			r.t.Errorf("%+v", s)
		}
		r.phase(AllHealthy)
		r.want("feed", "start cache", "start db", "start app")
		if u, b := r.count(EventUnreachable), r.count(EventReconnected); u > 2 || b != 1 {
			r.t.Errorf("%d unreachable, %d reconnected", u, b)
		}
	})
}
