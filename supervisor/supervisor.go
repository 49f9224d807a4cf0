package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// ErrEnded is returned by calls that wait when Serve has returned.
var ErrEnded = errors.New("the supervisor has ended")

// ErrUnknownService is wrapped by Restart's error for a service that is not wanted.
var ErrUnknownService = errors.New("unknown service")

// Options are the tunables. Zero values mean the defaults.
type Options struct {
	Logger *slog.Logger // default: discard
	// OnEvent is called for every event, in order, on the loop's goroutine: it must return at once.
	OnEvent func(Event)
	// OnWake is called on the loop's goroutine when the machine has slept, or the process stood still: what the runtime
	// holds of before, such as connections, is better made anew. It must return at once.
	OnWake func()
	// Wall reads the wall's clock; time.Now. Tests let it jump.
	Wall func() time.Time
	// Tick is how long the loop sleeps at most; 30 s. It finds what events did not tell.
	Tick time.Duration
	// BackoffFirst and BackoffCap are the delay after a service's first failed attempt, which doubles, and its limit;
	// 1 s and 60 s. Every delay is stretched by up to a quarter, at random.
	BackoffFirst, BackoffCap time.Duration
	// ResetAfter is how long a service must be well for its failed attempts to be forgotten; 10 min.
	ResetAfter time.Duration
	// DegradeAfter failed attempts within DegradeWindow make a service degraded; 5 in 10 min.
	DegradeAfter  int
	DegradeWindow time.Duration
	// EngineTimeout bounds one Observe, and the time until a subscription stands; 10 s.
	EngineTimeout time.Duration
	// Drain is how long Serve waits for running actions when its context ends, before it cancels them; 1 s.
	Drain time.Duration
	// Rand returns numbers in [0,1) for the jitter; math/rand. Tests set it.
	Rand func() float64
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Tick = cmp.Or(o.Tick, 30*time.Second)
	o.BackoffFirst = cmp.Or(o.BackoffFirst, time.Second)
	o.BackoffCap = cmp.Or(o.BackoffCap, time.Minute)
	o.ResetAfter = cmp.Or(o.ResetAfter, 10*time.Minute)
	o.DegradeAfter = cmp.Or(o.DegradeAfter, 5)
	o.DegradeWindow = cmp.Or(o.DegradeWindow, 10*time.Minute)
	o.EngineTimeout = cmp.Or(o.EngineTimeout, 10*time.Second)
	o.Drain = cmp.Or(o.Drain, time.Second)
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	if o.OnWake == nil {
		o.OnWake = func() {}
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

// Supervisor keeps what is wanted up. All methods are safe for concurrent use; Serve runs once.
type Supervisor struct {
	runtime Runtime
	options Options
	nudge   chan struct{} // something is in the mail
	done    chan struct{} // Serve has returned

	mu      sync.Mutex
	mail    mail
	ticket  uint64
	status  Status
	changed chan struct{} // closed when status changes
}

// mail is what has come in for the loop.
type mail struct {
	wanted   *Wanted
	ticket   uint64
	urged    bool
	wakes    map[string]wake
	outcomes []outcome
	requests []request
}

type wake struct{ at, arrived time.Time }

type outcome struct {
	action Action
	err    error
	began  time.Time
}

type request struct {
	service string
	reply   chan error // buffered
}

// New returns a supervisor that does nothing until Serve and the first Apply.
func New(runtime Runtime, options Options) *Supervisor {
	return &Supervisor{
		runtime: runtime,
		options: options.withDefaults(),
		nudge:   make(chan struct{}, 1),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		status:  Status{Phase: Converging, Since: time.Now(), Reason: "not running yet"},
	}
}

// Apply sets the desired state, which the caller may change afterwards, and has everything looked at again at once. It
// never blocks. What it returns is for [Status].Ticket.
func (s *Supervisor) Apply(w Wanted) uint64 {
	w.Services = maps.Clone(w.Services)
	for name, service := range w.Services {
		service.Name = name
		service.DependsOn = slices.Clone(service.DependsOn)
		service.Missing = slices.Clone(service.Missing)
		w.Services[name] = service
	}
	return s.urge(func(m *mail) { m.wanted = &w })
}

// Wake has everything looked at again at once; deliveries that wait for their next attempt are tried right away. It
// never blocks. What it returns is for [Status].Ticket.
func (s *Supervisor) Wake() uint64 {
	return s.urge(func(*mail) {})
}

func (s *Supervisor) urge(write func(*mail)) uint64 {
	var ticket uint64
	s.post(func(m *mail) {
		s.ticket++
		ticket = s.ticket
		m.ticket, m.urged = ticket, true
		write(m)
	})
	return ticket
}

// Restart restarts a service because a person wants it, and forgets its failures. It returns when the engine has
// done it, not when the service is healthy. It waits while the service's dependencies or the delivery of its secrets
// are not ready, and fails for a service that is unknown, stopped, paused or lacks secrets. When ctx ends the restart still
// happens.
func (s *Supervisor) Restart(ctx context.Context, service string) error {
	reply := make(chan error, 1)
	s.post(func(m *mail) { m.requests = append(m.requests, request{service, reply}) })
	var err error
	select {
	case err = <-reply:
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.done:
		err = ErrEnded
	}
	if err != nil {
		return fmt.Errorf("restarting %s: %w", service, err)
	}
	return nil
}

// post puts something into the mail and wakes the loop.
func (s *Supervisor) post(write func(*mail)) {
	s.mu.Lock()
	write(&s.mail)
	s.mu.Unlock()
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

func (s *Supervisor) take() mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mail
	s.mail = mail{}
	return m
}

// wake is what the runtime calls for an event; the first of each service in a batch counts.
func (s *Supervisor) wake(service string, at time.Time) {
	arrived := time.Now()
	s.post(func(m *mail) {
		if m.wakes == nil {
			m.wakes = map[string]wake{}
		}
		if _, ok := m.wakes[service]; !ok {
			m.wakes[service] = wake{at, arrived}
		}
	})
}
