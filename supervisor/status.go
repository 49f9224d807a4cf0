package supervisor

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"time"
)

// Phase is the overall state.
type Phase string

// The phases. Degraded means that a service keeps failing, or goes on only when a person acts.
const (
	Converging  Phase = "converging"
	AllHealthy  Phase = "healthy"
	Degraded    Phase = "degraded"
	AllStopped  Phase = "stopped"
	Unreachable Phase = "unreachable"
)

// Status is a snapshot of everything, for a person or a program to look at. It is the caller's own.
type Status struct {
	Phase  Phase
	Since  time.Time // when Phase began
	Reason string    // what it waits for or what failed
	Hint   string    // what to do about it
	// Ticket tells how fresh the snapshot is: it covers the calls of Apply and Wake that returned at most this.
	Ticket uint64
	// Failed tells that the last action on the whole project (create, feed, withdraw) failed, as Reason says.
	Failed bool
	// Delivered tells that the secrets of every service that is to run are delivered, or that none needs any.
	Delivered bool
	// Created tells that the last Wanted.Create was carried out, or that nothing is to be created: Services then shows what
	// it made.
	Created  bool
	Services []ServiceStatus // sorted by name; while Unreachable as last seen
}

// ServiceStatus is a snapshot of one service.
type ServiceStatus struct {
	Name        string
	State       string // running, starting, waiting, stopped, exited, healing, degraded, maintenance, missing, paused
	Health      string // healthy, unhealthy, starting, or "" without a healthcheck or while not running
	Restarts    int    // heals since the supervisor was made
	Since       time.Time
	Reason      string
	Hint        string
	Container   string // its name, "" while there is none
	Attempt     int    // failed attempts in a row, 0 while all is well
	NextAttempt time.Time
	ExitCode    int  // of the last run, 0 while running
	Settled     bool // is as it is wanted: up, completed, or stopped on request
	Stuck       bool // goes on only when a person acts
	Failed      bool // fails, or has failed and was not well for Options.ResetAfter since
	GaveUp      bool // Stuck, because the attempts that its policy allows have failed
	Flapping    bool // was healed again and again over hours
}

// Service returns the status of one service.
func (s Status) Service(name string) (ServiceStatus, bool) {
	i, found := slices.BinarySearchFunc(s.Services, name, func(o ServiceStatus, name string) int { return cmp.Compare(o.Name, name) })
	if !found {
		return ServiceStatus{}, false
	}
	return s.Services[i], true
}

// summarize tells how things stand after a step of the policy; Since and Ticket are left to the caller.
func summarize(st state, wanted Wanted, seen Seen, now time.Time) Status {
	status := Status{Phase: Converging, Delivered: seen.Fed || !needsSecrets(wanted),
		Created: wanted.Create == st.created || wanted.Halted || len(wanted.Services) == 0}
	var stuck, failing, unsettled *record
	running, down := false, len(wanted.Services) > 0
	for _, name := range sortedNames(wanted.Services) {
		r := st.services[name]
		status.Services = append(status.Services, summarizeService(name, r, seen.Containers[name], now))
		down = down && r.wanted.Stopped
		running = running || r.cond.running() || r.busy != nil
		switch {
		case r.view.state == "degraded":
			failing = cmp.Or(failing, r)
		case r.view.stuck:
			stuck = cmp.Or(stuck, r)
		case !r.view.settled:
			unsettled = cmp.Or(unsettled, r)
		}
	}
	worst := cmp.Or(failing, stuck, unsettled)
	switch {
	case len(wanted.Services) == 0:
		status.Reason = "nothing is wanted yet"
	case down && !running && st.withdrawn:
		status.Phase = AllStopped
	case st.err != "":
		status.Failed, status.Reason, status.Hint = true, st.err, st.hint
	case st.project != nil:
		status.Reason = st.project.Kind.String() + ": " + st.project.Reason
	case worst != nil:
		status.Reason, status.Hint = worst.wanted.Name+": "+cmp.Or(worst.view.reason, worst.view.state), worst.view.hint
	case down:
		status.Reason = "stopping"
	case !status.Delivered:
		status.Reason = "secrets are not delivered"
	default:
		status.Phase = AllHealthy
	}
	if status.Phase == Converging && (failing != nil || stuck != nil || max(st.create.tries, st.feed.tries) > projectPatience) {
		status.Phase = Degraded
	}
	return status
}

// projectPatience is after how many attempts in a row a failing action of the project counts as degraded.
const projectPatience = 5

func needsSecrets(wanted Wanted) bool {
	for _, s := range wanted.Services {
		if s.Secrets && !s.Stopped && len(s.Missing) == 0 {
			return true
		}
	}
	return false
}

func summarizeService(name string, r *record, c Container, now time.Time) ServiceStatus {
	status := ServiceStatus{Name: name, State: r.view.state, Restarts: r.restarts, Since: r.view.since,
		Reason: r.view.reason, Hint: r.view.hint, Container: c.Name,
		Settled: r.view.settled, Stuck: r.view.stuck, Failed: !r.trouble.IsZero() || r.degraded || r.gaveUp || r.heal.tries > 0, GaveUp: r.gaveUp, Flapping: r.flapping}
	if c.Running {
		status.Since = c.StartedAt
		status.Health = [...]string{"", "starting", "healthy", "unhealthy"}[c.Health]
	} else {
		status.ExitCode = c.ExitCode
	}
	if !r.view.settled {
		status.Attempt = max(r.heal.tries, r.soft.tries)
		for _, t := range []time.Time{r.heal.notBefore, r.soft.notBefore} {
			if r.busy == nil && t.After(now) {
				status.NextAttempt = t
			}
		}
	}
	return status
}

// Status returns the present snapshot. It never waits for the engine.
func (s *Supervisor) Status() Status {
	status, _ := s.snapshot()
	return status
}

func (s *Supervisor) snapshot() (Status, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	status.Services = slices.Clone(status.Services)
	return status, s.changed
}

// Wait returns the first snapshot that satisfies until, the present one included; to wait for the effect of Apply or
// Wake, let until demand a Ticket of at least what they returned. It fails when ctx ends or Serve has.
func (s *Supervisor) Wait(ctx context.Context, until func(Status) bool) (Status, error) {
	for {
		status, changed := s.snapshot()
		if until(status) {
			return status, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status, ctx.Err()
		case <-s.done:
			return status, ErrEnded
		}
	}
}

// publish makes status the present snapshot and wakes those who wait for one, if it says anything new.
func (s *Supervisor) publish(status Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Since = s.status.Since
	if status.Phase != s.status.Phase || status.Since.IsZero() {
		status.Since = time.Now()
	}
	if reflect.DeepEqual(status, s.status) {
		return
	}
	s.status = status
	close(s.changed)
	s.changed = make(chan struct{})
}
