package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"minibot/secrets"
	"minibot/stack"
)

// simLaw watches, from the engine's side, what a daemon must never do, and collects what it did all the same. A nil one
// allows everything.
type simLaw struct {
	m       *simMachine
	project func() *stack.Project
	intent  func() intent

	mu      sync.Mutex
	faults  []string
	busy    map[string]string      // the call in flight, by service
	starts  map[string][]time.Time // of the daemon, by service, since it was last excused
	excused map[string]time.Time   // until when a service may be touched although it is well; "" is all of them
	stopped map[string]time.Time   // since when a person wants a service down
}

const (
	// seenAge is how old what a daemon acts on can be: a look, a dial and the way to the call may each take some time.
	seenAge = 75 * time.Second
	// excuseAge is how long what a person asked for may take to be done.
	excuseAge = 15 * time.Minute

	mostInMinute     = 10 // starts of one service: at 0, 1, 3, 7, 15, 31 s, and those that follow a dependency
	mostInTenMinutes = 24 // and then one a minute
)

func newSimLaw(m *simMachine, project func() *stack.Project, stopped func() intent) *simLaw {
	return &simLaw{m: m, project: project, intent: stopped, busy: map[string]string{}, starts: map[string][]time.Time{},
		excused: map[string]time.Time{}, stopped: map[string]time.Time{}}
}

func (l *simLaw) broken(format string, args ...any) {
	if l == nil {
		return
	}
	l.m.say("BROKEN: "+format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// excuse lets services be touched for a while, and begins the account of their starts anew; without any it means all.
func (l *simLaw) excuse(services ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(services) == 0 {
		services = []string{""}
		clear(l.starts)
	}
	for _, s := range services {
		l.excused[s] = time.Now().Add(excuseAge)
		delete(l.starts, s)
	}
}

func (l *simLaw) isExcused(service string) bool {
	now := time.Now()
	return now.Before(l.excused[service]) || now.Before(l.excused[""])
}

// heed notes what a person wants down now.
func (l *simLaw) heed() {
	want := l.intent()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.project().Services {
		if !want.stopped(name) {
			delete(l.stopped, name)
		} else if l.stopped[name].IsZero() {
			l.stopped[name] = time.Now()
		}
	}
}

// enter is the begin of a call that changes a container; what it returns is its end. id "" is the whole project.
func (l *simLaw) enter(e *simEngine, op, id string) func() {
	if l == nil || e.owner.isDead() {
		return func() {}
	}
	l.heed()
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	service := ""
	if c := l.m.all[id]; c != nil {
		service = c.service
		l.m.say("daemon: %s %s", op, c.name)
		l.judge(op, c)
	} else {
		l.m.say("daemon: %s %.12s", op, id)
	}
	if service == "" {
		return func() {}
	}
	l.mu.Lock()
	other := l.busy[service]
	l.busy[service] = op
	l.mu.Unlock()
	if other != "" {
		l.broken("%s of %s while %s is under way", op, service, other)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.busy, service)
	}
}

// judge is called with the machine locked.
func (l *simLaw) judge(op string, c *simContainer) {
	if l == nil {
		return
	}
	switch op {
	case "start", "restart":
		l.mayStart(op, c)
	}
	switch op {
	case "stop", "restart", "remove", "SIGKILL":
		if c.well() && !l.hasReason(c) {
			l.broken("%s of %s, which is well", op, c.service)
		}
	}
}

func (l *simLaw) mayStart(op string, c *simContainer) {
	now := time.Now()
	service, known := l.project().Services[c.service]
	if !known {
		return
	}
	l.mu.Lock()
	since := l.stopped[c.service]
	if l.isExcused(c.service) {
		delete(l.starts, c.service)
	}
	l.starts[c.service] = append(slices.DeleteFunc(l.starts[c.service], func(t time.Time) bool { return now.Sub(t) > 10*time.Minute }), now)
	inTen := l.starts[c.service]
	l.mu.Unlock()
	inOne := slices.DeleteFunc(slices.Clone(inTen), func(t time.Time) bool { return now.Sub(t) > time.Minute })
	if len(inOne) > mostInMinute || len(inTen) > mostInTenMinutes {
		l.broken("%s of %s, the %dth within a minute and the %dth within ten", op, c.service, len(inOne), len(inTen))
	}
	if !since.IsZero() && now.Sub(since) > seenAge {
		l.broken("%s of %s, which a person stopped %v ago", op, c.service, now.Sub(since))
	}
	if v := l.m.volumes[c.service]; len(service.Files) > 0 && now.Sub(l.m.good["lost "+c.service]) > seenAge &&
		(v == nil || slices.ContainsFunc(service.Secrets, func(n secrets.Name) bool { return v.values[n].IsZero() })) {
		l.broken("%s of %s, which is not fed", op, c.service)
	}
	for _, dep := range service.DependsOn {
		if on := l.m.one(dep.Service, simName(l.project(), dep.Service)); dep.Required && !l.was(dep, on) {
			l.broken("%s of %s, which needs %s", op, c.service, dep.Service)
		}
	}
}

// was tells whether a dependency's condition holds, or did a moment ago.
func (l *simLaw) was(dep stack.Dependency, on *simContainer) bool {
	if time.Since(l.m.good[dep.Service]) < seenAge {
		return true
	}
	switch {
	case dep.Condition == "service_started" && time.Since(l.m.good["ran "+dep.Service]) < seenAge: // also of one that was removed since
		return true
	case on == nil:
		return false
	case dep.Condition == "service_completed_successfully":
		return !on.running && on.exit == 0 && !on.begun.IsZero()
	case dep.Condition == "service_started":
		return on.running
	}
	return on.well()
}

// hasReason tells whether a service that is well may be touched.
func (l *simLaw) hasReason(c *simContainer) bool {
	l.mu.Lock()
	excused := l.isExcused(c.service) || !l.stopped[c.service].IsZero()
	l.mu.Unlock()
	if excused || c.foreign || time.Since(c.begun) < seenAge || time.Since(l.m.good["sick "+c.service]) < seenAge {
		return true
	}
	if v := l.m.volumes[c.service]; v != nil && (v.open || v.stale == c.instance) {
		return true
	}
	for _, dep := range l.project().Services[c.service].DependsOn {
		if on := l.m.one(dep.Service, ""); dep.Restart && on != nil && on.begun.After(c.begun) {
			return true
		}
	}
	return false
}

// replaces is the replacement of a container that has to differ from what is wanted.
func (l *simLaw) replaces(e *simEngine, old *simContainer, image string) {
	if l != nil && !e.owner.isDead() && !old.foreign && old.image == image {
		l.broken("%s is replaced although it is as it is wanted", old.name)
	}
}

// mortal is what a daemon's death ends: from then on nothing that it does has any effect.
type mortal struct {
	dead chan struct{}
	once sync.Once
}

func newMortal() *mortal { return &mortal{dead: make(chan struct{})} }

func (m *mortal) die() { m.once.Do(func() { close(m.dead) }) }

func (m *mortal) isDead() bool {
	select {
	case <-m.dead:
		return true
	default:
		return false
	}
}
