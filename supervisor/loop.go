package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"minibot/hint"
)

// How fast a lost engine is tried again: doubling, jittered like all delays.
const (
	reconnectFirst = 100 * time.Millisecond
	reconnectCap   = 5 * time.Second
)

// loop is what Serve's goroutine owns.
type loop struct {
	*Supervisor
	policy  *policy
	jobs    sync.WaitGroup
	state   state
	wanted  Wanted
	wakes   map[string]wake
	ticket  uint64
	queued  map[string][]chan error // restarts that people wait for
	serving map[string][]chan error // those of them that are in flight
	next    time.Time
	more    bool // the last look did not see everything as it is now
	pace    pace
	clock   clock
	lost    string // why the engine is unreachable, "" while it is not
	still   bool   // a look that shows what seen shows needs no decision
	seen    Seen   // the last one decided on
}

// Serve supervises until ctx ends, and returns ctx's error. Running actions are given Options.Drain to finish, then
// their context ends too; Serve returns when all its goroutines have. It must be called once at most.
func (s *Supervisor) Serve(ctx context.Context) error {
	defer close(s.done)
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l := s.newLoop()
	backoff := reconnectFirst
	for {
		began := time.Now()
		err := l.session(ctx, work)
		if ctx.Err() != nil {
			l.drain(cancel)
			return ctx.Err()
		}
		if time.Since(began) > reconnectCap || errors.Is(err, errWoke) {
			backoff = reconnectFirst
		}
		if errors.Is(err, errWoke) { // nothing says that the engine is lost
			continue
		}
		l.state = l.state.cutOff(time.Now())
		l.unreachable(err)
		delay := backoff + time.Duration(float64(backoff)/4*s.options.Rand())
		l.clock.expect(delay)
		pause := time.NewTimer(delay)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		backoff = min(2*backoff, reconnectCap)
		if l.woke() {
			backoff = reconnectFirst
		}
	}
}

func (s *Supervisor) newLoop() *loop {
	return &loop{
		Supervisor: s, policy: &policy{s.options},
		state:  state{services: map[string]*record{}},
		clock:  clock{wall: s.options.Wall},
		queued: map[string][]chan error{}, serving: map[string][]chan error{},
	}
}

// drain lets running actions finish, or ends them.
func (l *loop) drain(cancel context.CancelFunc) {
	deadline := time.AfterFunc(l.options.Drain, cancel)
	l.jobs.Wait()
	deadline.Stop()
}

// session watches the engine until it is lost or ctx ends, and returns why. Actions run under work, which
// outlives ctx by the drain.
func (l *loop) session(ctx, work context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	l.clock.expect(l.options.EngineTimeout)
	ready, ended := make(chan struct{}), make(chan struct{})
	var watchErr error
	go func() {
		defer close(ended)
		once := sync.OnceFunc(func() { close(ready) })
		watchErr = l.runtime.Watch(ctx, once, l.wake)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	deadline := time.NewTimer(l.options.EngineTimeout)
	defer deadline.Stop()
	select {
	case <-ready:
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	case <-deadline.C:
		return errors.New("watching the engine: no answer")
	}
	timer := time.NewTimer(l.options.Tick)
	defer timer.Stop()
	for {
		select {
		case <-ended:
			return fmt.Errorf("watching the engine: %w", orEnded(watchErr))
		default:
		}
		began := time.Now()
		if err := l.turn(ctx, work); err != nil {
			return err
		}
		took := time.Since(began)
		pause := l.pause()
		l.clock.expect(pause)
		timer.Reset(pause)
		select {
		case <-l.nudge:
		case <-timer.C:
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.pace.wait(ctx, ended, took); err != nil {
			return err
		}
	}
}

var errStreamEnded = errors.New("the event stream ended")

func orEnded(err error) error {
	if err == nil {
		return errStreamEnded
	}
	return err
}

// pause returns how long the loop may sleep.
func (l *loop) pause() time.Duration {
	pause := l.options.Tick
	if l.more {
		pause = paceEvery
	}
	if !l.next.IsZero() {
		pause = min(pause, time.Until(l.next))
	}
	return max(pause, 0)
}

// turn takes the mail, looks at everything, decides and acts. Outcomes are taken before the look, so that what is seen
// is never older than what is known to be done. It acts on nothing that was seen before a sleep.
func (l *loop) turn(ctx, work context.Context) error {
	if l.woke() {
		return errWoke
	}
	came := l.take()
	l.absorb(came)
	l.clock.expect(l.options.EngineTimeout)
	limited, cancel := context.WithTimeout(ctx, l.options.EngineTimeout)
	seen, err := l.runtime.Observe(limited)
	cancel()
	if err != nil {
		return fmt.Errorf("looking at the containers: %w", err)
	}
	if l.woke() { // in the middle of the look
		return errWoke
	}
	if l.still && came.wakesOnly() && same(seen, l.seen) {
		clear(l.wakes)
		return nil
	}
	l.reject(seen)
	l.more = seen.More
	now := time.Now()
	var actions []Action
	l.state, actions, l.next = l.policy.decide(l.state, l.wanted, seen, now)
	for _, action := range actions {
		l.act(work, action, now)
	}
	l.reached(now)
	for _, event := range l.state.events {
		event.At = later(event.At, l.wakes[event.Service].at)
		l.emit(event)
	}
	for _, action := range actions {
		l.emit(l.issued(action, now))
	}
	clear(l.wakes)
	l.seen, l.still = seen, l.state.still(l.next) && !seen.More
	status := summarize(l.state, l.wanted, seen, now)
	status.Ticket = l.ticket
	l.publish(status)
	return nil
}

// absorb takes in what has happened since the last turn.
func (l *loop) absorb(m mail) {
	for _, done := range m.outcomes {
		l.finished(done)
	}
	if m.wanted != nil {
		l.wanted = *m.wanted
	}
	if m.urged {
		l.state, l.ticket = l.state.urged(), m.ticket
	}
	for _, r := range m.requests {
		l.queued[r.service] = append(l.queued[r.service], r.reply)
	}
	l.wakes = m.wakes
}

func (l *loop) finished(done outcome) {
	l.state = l.state.finish(done.action, done.err)
	service := done.action.Service
	for _, reply := range l.serving[service] {
		reply <- done.err
	}
	delete(l.serving, service)
	now := time.Now()
	event := Event{Time: now, Kind: EventDone, Service: service, Action: done.action.Kind, Reason: done.action.Reason,
		Latency: now.Sub(done.began)}
	if done.err != nil {
		event.Kind, event.Reason, event.Hint = EventFailed, done.err.Error(), hint.Of(done.err)
	}
	l.emit(event)
}

// reject answers requests that cannot be served and marks the services of the others.
func (l *loop) reject(seen Seen) {
	for service, replies := range l.queued {
		s, known := l.wanted.Services[service]
		c := seen.Containers[service]
		var err error
		switch {
		case !known:
			err = ErrUnknownService
		case s.Stopped:
			err = hint.Wrap(errors.New("it is stopped"), "minibotd start %s", service)
		case len(s.Missing) > 0:
			err = hint.Wrap(fmt.Errorf("%s is not set", s.Missing[0]), "mb-secrets set %s", s.Missing[0])
		case c.Running && c.Paused:
			err = hint.Wrap(errors.New("it is paused"), "docker unpause %s", c.Name)
		}
		r := l.state.services[service]
		if err == nil {
			if r == nil {
				r = &record{wanted: s, against: map[string]string{}}
				l.state.services[service] = r
			}
			r.requested = true
			continue
		}
		if r != nil {
			r.requested = false
		}
		for _, reply := range replies {
			reply <- err
		}
		delete(l.queued, service)
	}
}

// act runs one action on a goroutine of its own; its outcome comes by mail.
func (l *loop) act(work context.Context, action Action, now time.Time) {
	switch action.Kind {
	case ActionStart, ActionRestart, ActionRecreate:
		l.serving[action.Service] = l.queued[action.Service]
		delete(l.queued, action.Service)
	}
	l.jobs.Go(func() {
		err := l.runtime.Do(work, action)
		l.post(func(m *mail) { m.outcomes = append(m.outcomes, outcome{action, err, now}) })
	})
}

// issued describes an action with the wake that caused it: its service's, or one of its dependencies'.
func (l *loop) issued(action Action, now time.Time) Event {
	event := issued(action, l.state.services[action.Service], now)
	cause, ok := l.wakes[action.Service]
	for _, dep := range l.wanted.Services[action.Service].DependsOn {
		if !ok {
			cause, ok = l.wakes[dep.Service]
		}
	}
	if ok {
		event.At, event.Latency = cause.at, now.Sub(cause.arrived)
	}
	return event
}

func (l *loop) emit(event Event) {
	event.log(l.options.Logger)
	l.options.OnEvent(event)
}

// unreachable shows that the engine is lost; services are shown as last seen.
func (l *loop) unreachable(err error) {
	if l.lost != err.Error() {
		l.lost = err.Error()
		l.emit(Event{Time: time.Now(), Kind: EventUnreachable, Reason: l.lost, Hint: hint.Of(err)})
	}
	l.still = false
	status := l.Status()
	status.Phase, status.Reason, status.Hint = Unreachable, l.lost, hint.Of(err)
	l.publish(status)
}

func (l *loop) reached(now time.Time) {
	if l.lost != "" {
		l.lost = ""
		l.emit(Event{Time: now, Kind: EventReconnected})
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
