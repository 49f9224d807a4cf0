package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"minibot/secrets"
	"minibot/stack"
)

// simMachine is a container engine and what runs on it, in simulated time: what facts 15, 36, 41 to 44, 49 and 54 say of
// the real one, as far as a daemon can see it. It outlives daemons and connections. All fields below mu are guarded by it.
type simMachine struct {
	apps    map[string]simApp
	say     func(format string, args ...any)
	roll    func(what string) float64 // in [0,1)
	started func(c *simContainer)     // hears of every start; called with mu held
	ended   func(c *simContainer)     // and of every end

	mu      sync.Mutex
	up      bool
	harmful bool // events and calls go wrong
	life    int  // of the engine's process
	made    int
	network int // the present network's id; 0 is none
	all     map[string]*simContainer
	volumes map[string]*simVolume // by service
	streams map[*simEngine]chan stack.Event
	broken  chan struct{}        // closed when the engine's process ends
	modes   map[string]string    // by service: how it behaves from its next start on; see booted
	good    map[string]time.Time // when a service was last well; "sick NAME": not well; "lost NAME": its volume went; "ran NAME": it ran
	law     *simLaw
}

// simApp is how a service behaves while nobody harms it.
type simApp struct {
	check       bool          // it has a healthcheck
	once        bool          // it ends with 0 once it is up
	boot, stops time.Duration // start to up, TERM to its end
	comes       func(c *simContainer) int
}

// simContainer is a container as the engine knows it.
type simContainer struct {
	id, name, service, image string
	instance                 string // of its last run
	foreign, astray          bool
	running, paused, oom     bool
	health                   string // kept when it ends, as by the real one
	exit, network, run       int
	begun, finished          time.Time
	fault                    string
	taken                    map[secrets.Name]secrets.Value
	afterwards               []func() // what calls wait for its end
}

// simVolume is what was delivered to a service.
type simVolume struct {
	values map[secrets.Name]secrets.Value
	stale  string // the run that has read what was there before
	open   bool
	mark   stack.Mark
}

func newSimMachine(apps map[string]simApp) *simMachine {
	nothing := func(*simContainer) {}
	return &simMachine{
		apps: apps, say: func(string, ...any) {}, roll: func(string) float64 { return 1 }, started: nothing, ended: nothing,
		up: true, all: map[string]*simContainer{}, volumes: map[string]*simVolume{}, streams: map[*simEngine]chan stack.Event{},
		broken: make(chan struct{}), modes: map[string]string{}, good: map[string]time.Time{},
	}
}

// well tells whether its service is as it should be.
func (c *simContainer) well() bool {
	return c.running && !c.paused && (c.health == "" || c.health == "healthy")
}

// inspect is what [stack.Engine] makes of the engine's answer.
func (c *simContainer) inspect() stack.Container {
	out := stack.Container{ID: c.id, Name: c.name, Service: c.service, Running: c.running, Paused: c.paused, ExitCode: c.exit, OOMKilled: c.oom,
		StartedAt: c.begun, FinishedAt: c.finished, Error: c.fault, Instance: c.instance, Foreign: c.foreign, Status: "exited"}
	if c.astray {
		out.Detached = "a network"
	}
	switch {
	case c.paused:
		out.Status = "paused"
	case c.running:
		out.Status = "running"
	case c.begun.IsZero():
		out.Status = "created"
	}
	if c.running {
		out.Health = c.health
		if c.health != "" {
			every := 5 * time.Minute // a look asks about others than unhealthy ones as rarely
			if c.health == "unhealthy" {
				every = 10 * time.Second
			}
			out.Checked = time.Now().Truncate(every)
		}
	}
	if c.paused && c.health != "" {
		out.Health = "unhealthy"
	}
	return out
}

// of returns a service's containers, the oldest first.
func (m *simMachine) of(service string) []*simContainer {
	var list []*simContainer
	for _, id := range slices.Sorted(maps.Keys(m.all)) {
		if m.all[id].service == service {
			list = append(list, m.all[id])
		}
	}
	return list
}

// one returns the container that stands for a service, or nil.
func (m *simMachine) one(service, name string) *simContainer {
	var found *simContainer
	for _, c := range m.of(service) {
		if found == nil || found.name != name {
			found = c
		}
	}
	return found
}

// find is the container with a service's name, or else one of the service that was renamed.
func (m *simMachine) find(p *stack.Project, service string) *simContainer {
	return m.one(service, simName(p, service))
}

func (m *simMachine) named(name string) *simContainer {
	for _, c := range m.all {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (m *simMachine) create(service, name, image string, foreign bool) *simContainer {
	m.made++
	c := &simContainer{id: fmt.Sprintf("%012x%052d", m.made, 0), name: name, service: service, image: image, foreign: foreign, network: m.network}
	c.instance = c.id + "@never"
	m.all[c.id] = c
	m.tell(c, "create", 0)
	return c
}

// later does something to a run of a container, unless that has ended; while the container is paused it waits.
func (m *simMachine) later(c *simContainer, d time.Duration, do func()) {
	run := c.run
	time.AfterFunc(d, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case c.run != run || m.all[c.id] != c:
		case c.paused:
			m.later(c, 5*time.Second, do)
		default:
			do()
		}
	})
}

func (m *simMachine) start(c *simContainer) error {
	if c.running {
		return nil
	}
	switch {
	case c.network != m.network && c.service != stack.KeeperService: // it has none
		c.fault = "network of " + c.name + " not found"
		return fmt.Errorf("start container %s: %w", c.name, stack.ErrNetworkMissing)
	case m.modes[c.service] == "refuses":
		c.fault, c.exit = "device is busy", 127
		return fmt.Errorf("start container %s: device is busy", c.name)
	}
	c.running, c.paused, c.oom, c.exit, c.fault, c.health, c.begun = true, false, false, 0, "", "", time.Now()
	c.instance = c.id + "@" + c.begun.Format(time.RFC3339Nano)
	c.run++
	app := m.apps[c.service]
	if app.check {
		c.health = "starting"
	}
	c.taken = nil
	if v := m.volumes[c.service]; v != nil && !c.foreign {
		c.taken = maps.Clone(v.values)
	}
	m.started(c)
	m.tell(c, "start", 0)
	if c.well() {
		m.good[c.service] = c.begun
	}
	boot := app.boot
	if m.modes[c.service] == "slow" {
		boot += time.Minute
	}
	m.later(c, boot, func() { m.booted(c) })
	return nil
}

// booted is the end of a start.
func (m *simMachine) booted(c *simContainer) {
	app := m.apps[c.service]
	if app.comes != nil {
		if code := app.comes(c); code != 0 {
			m.end(c, code, false)
			return
		}
	}
	switch mode := m.modes[c.service]; {
	case mode == "crashes":
		m.end(c, 1, false)
	case app.once && mode != "":
		m.later(c, 2*time.Minute, func() { m.end(c, 0, false) })
	case mode == "sick":
		m.turn(c, "unhealthy")
	case mode == "hangs": // until the engine has lost its patience with the healthcheck
		m.later(c, 2*time.Minute, func() { m.turn(c, "unhealthy") })
	case app.once:
		m.end(c, 0, false)
	default:
		m.turn(c, "healthy")
		if mode == "flaps" {
			m.later(c, 20*time.Second, func() { m.end(c, 139, false) })
		}
	}
}

// turn changes the health, which the engine tells once.
func (m *simMachine) turn(c *simContainer, health string) {
	if !c.running || c.health == health || !m.apps[c.service].check {
		return
	}
	if c.well() {
		m.good[c.service] = time.Now()
	}
	c.health = health
	if c.well() {
		m.good[c.service], m.good["sick "+c.service] = time.Now(), time.Now()
	}
	m.tell(c, "health_status: "+health, 0)
}

// end is the death of a container.
func (m *simMachine) end(c *simContainer, code int, oom bool) {
	if !c.running {
		return
	}
	if c.well() || code == 0 && m.apps[c.service].once {
		m.good[c.service] = time.Now()
	}
	c.running, c.paused, c.exit, c.oom, c.finished = false, false, code, oom, time.Now()
	m.good["ran "+c.service] = c.finished
	c.run++
	if oom {
		m.tell(c, "oom", 0)
	}
	m.ended(c)
	m.tell(c, "die", code)
	m.release()
	c.goOn()
}

// goOn does what waited for the container's end.
func (c *simContainer) goOn() {
	waiting := c.afterwards
	c.afterwards = nil
	for _, do := range waiting {
		do()
	}
}

// release lets go of the volumes that nobody holds any more.
func (m *simMachine) release() {
	runs := map[string]bool{}
	for _, c := range m.all {
		runs[c.service] = runs[c.service] || c.running
	}
	for service := range m.volumes {
		if !runs[stack.KeeperService] && !runs[service] {
			m.good["lost "+service] = time.Now()
			delete(m.volumes, service)
		}
	}
}

// keep is the engine's restart policy of the keeper, the only one that has any.
func (m *simMachine) keep(c *simContainer) {
	time.AfterFunc(300*time.Millisecond, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.up && m.all[c.id] == c && !c.running {
			_ = m.start(c) // what fails shows in the container
		}
	})
}

func (m *simMachine) remove(c *simContainer) {
	delete(m.all, c.id)
	if c.finished.After(c.begun) && c.exit == 0 {
		m.good[c.service] = time.Now() // completed until now
	}
	m.end(c, 137, false)
	m.tell(c, "destroy", 0)
}

// tell sends an event to who listens: under harm some are lost, doubled or late.
func (m *simMachine) tell(c *simContainer, action string, code int) {
	e := stack.Event{Service: c.service, Container: c.id, Action: action, ExitCode: code, Time: time.Now()}
	if action == "die" && code != 0 || action == "start" {
		m.say("engine: %s %s %d", c.name, action, code)
	} else {
		m.say("engine: %s %s", c.name, action)
	}
	for engine, stream := range m.streams {
		fate := 1.0
		if m.harmful {
			fate = m.roll("event")
		}
		switch {
		case fate < 0.10: // lost
		case fate < 0.20:
			m.send(engine, stream, e)
			m.send(engine, stream, e)
		case fate < 0.35:
			time.AfterFunc(time.Duration(m.roll("delay")*float64(20*time.Second)), func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.send(engine, stream, e)
			})
		default:
			m.send(engine, stream, e)
		}
	}
}

func (m *simMachine) send(engine *simEngine, stream chan stack.Event, e stack.Event) {
	if m.streams[engine] != stream {
		return
	}
	select {
	case stream <- e:
	default: // a slow subscriber is skipped
	}
}

// down ends the engine's process, and with it every container, as SIGTERM does at once and SIGKILL before the next start.
func (m *simMachine) down(killed bool) {
	if !m.up {
		return
	}
	m.up = false
	m.life++
	close(m.broken)
	clear(m.streams)
	m.say("engine: gone, killed %v", killed)
	for _, id := range slices.Sorted(maps.Keys(m.all)) {
		code := 143
		if killed {
			code = 137
		}
		m.end(m.all[id], code, false)
	}
}

// back starts the engine's process again. Only the keeper has a restart policy.
func (m *simMachine) back() {
	if m.up {
		return
	}
	m.up, m.broken = true, make(chan struct{})
	m.say("engine: back")
	for _, c := range m.of(stack.KeeperService) {
		m.keep(c)
	}
}

func (m *simMachine) isHarmful() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.harmful
}

var (
	errSimulated = errors.New("simulated failure")
	errDead      = errors.New("this daemon is dead")
)
