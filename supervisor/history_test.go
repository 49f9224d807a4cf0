package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// choices is where the turns of a history come from.
type choices interface{ IntN(n int) int }

// given are choices that a fuzzer makes; there are zeros after the last.
type given struct{ data []byte }

func (g *given) IntN(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	c := int(g.data[0]) % n
	g.data = g.data[1:]
	return c
}

// unit is a container of a history.
type unit struct {
	Container
	turns time.Time // when it becomes what next says; zero: never
	next  func(*Container)
	found map[string]string // the instances of the dependencies when its start was ordered
}

type flight struct {
	action Action
	due    time.Time
	found  map[string]string // likewise
}

// history is a stack of containers that live and fail at random, with people who want things, under the policy alone:
// no goroutines, no clock.
type history struct {
	t       testing.TB
	pick    choices
	p       *policy
	names   []string
	now     time.Time
	next    time.Time // when the policy wants to look again
	st      state
	wanted  Wanted
	units   map[string]*unit
	fed     bool
	lost    time.Time // when the engine was, which has not been looked at since
	good    bool      // nothing fails any more
	flights []flight
	queued  map[string]bool // restarts that a person waits for
	ledgers map[string]*ledger
	starts  int
	steps   int
	still   int    // looks after which nothing is to be decided
	trace   []line // the last ones
	failed  bool
}

func newHistory(t testing.TB, pick choices) *history {
	h := &history{t: t, pick: pick, now: epoch, st: state{services: map[string]*record{}}, units: map[string]*unit{},
		queued: map[string]bool{}, ledgers: map[string]*ledger{}, wanted: Wanted{Services: map[string]Service{}, Create: 1}}
	jitter := [...]float64{0, 0.5, 0.999}
	h.p = &policy{Options{Rand: func() float64 { return jitter[pick.IntN(3)] }}.withDefaults()}
	for i := range 2 + pick.IntN(4) {
		s := Service{Name: string(rune('a' + i)), Healthcheck: pick.IntN(4) > 0, Secrets: pick.IntN(2) > 0, NoHeal: pick.IntN(12) == 0,
			Adopt: Adoption(pick.IntN(5)), Heal: h.heal()}
		for _, on := range h.names {
			if pick.IntN(2) > 0 {
				continue
			}
			d := Dependency{Service: on, Condition: Condition(pick.IntN(2)), Required: pick.IntN(4) > 0, Restart: pick.IntN(2) > 0}
			if pick.IntN(10) == 0 {
				d.Condition = Completed
				o := h.wanted.Services[on]
				o.Completes, o.Healthcheck = true, false
				h.wanted.Services[on] = o
			}
			s.DependsOn = append(s.DependsOn, d)
		}
		h.names = append(h.names, s.Name)
		h.wanted.Services[s.Name] = s
	}
	for _, name := range h.names {
		s := h.wanted.Services[name]
		for i, d := range s.DependsOn { // what ends well is never healthy
			if d.Condition == Healthy && h.wanted.Services[d.Service].Completes {
				s.DependsOn[i].Condition = Started
			}
		}
		h.ledgers[name] = &ledger{prev: s}
	}
	return h
}

func (h *history) heal() Heal {
	if h.pick.IntN(3) > 0 {
		return Heal{}
	}
	return Heal{Unhealthy: Remedy(h.pick.IntN(5)), StartGrace: time.Duration(h.pick.IntN(3)) * 30 * time.Second,
		Backoff:     [...]time.Duration{0, time.Second, 5 * time.Second, 3 * time.Minute}[h.pick.IntN(4)],
		MaxAttempts: [...]int{0, 1, 3, 8}[h.pick.IntN(4)], StopTimeout: time.Duration(h.pick.IntN(2)) * 5 * time.Second}
}

// line is written out only when somebody has to read it.
type line struct {
	at     time.Time
	format string
	args   []any
}

// say keeps a line for whoever reads why a history failed.
func (h *history) say(format string, args ...any) {
	if len(h.trace) == cap(h.trace) {
		h.trace = append(make([]line, 0, 128), h.trace[max(0, len(h.trace)-64):]...)
	}
	h.trace = append(h.trace, line{h.now, format, args})
}

// step lets time pass and something happen, and the policy act.
func (h *history) step() {
	h.steps++
	h.pass()
	h.land()
	h.live()
	if !h.good {
		if h.pick.IntN(6) == 0 {
			h.harm(h.names[h.pick.IntN(len(h.names))])
		}
		if h.pick.IntN(24) == 0 {
			h.person(h.names[h.pick.IntN(len(h.names))])
		}
	}
	h.decide()
}

func (h *history) pass() {
	until := h.now.Add(h.p.options.Tick)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(until) {
			until = t
		}
	}
	sooner(h.next)
	for _, f := range h.flights {
		sooner(f.due)
	}
	for _, u := range h.units {
		sooner(u.turns)
	}
	if !h.good {
		switch h.pick.IntN(16) {
		case 0: // an event that tells nothing
			sooner(h.now.Add(time.Duration(h.pick.IntN(200)) * 10 * time.Millisecond))
		case 1: // late
			until = h.now.Add(time.Duration(h.pick.IntN(200)) * 5 * time.Second)
		}
	}
	if until.After(h.now) {
		h.now = until
	}
}

// land ends the actions that are due.
func (h *history) land() {
	var due []flight
	h.flights = slices.DeleteFunc(h.flights, func(f flight) bool {
		if f.due.After(h.now) {
			return false
		}
		due = append(due, f)
		return true
	})
	for _, f := range due {
		a, fails, does := f.action, false, true
		if !h.good && h.pick.IntN(5) == 0 {
			fails, does = true, h.pick.IntN(3) == 0
		}
		var err error
		if does {
			err = h.carryOut(f)
		}
		if fails {
			err = errors.New("the engine says no")
		}
		h.st = h.st.finish(a, err)
		h.say("%v %s ended: %v", a.Kind, a.Service, err)
	}
}

func (h *history) carryOut(f flight) error {
	a := f.action
	switch a.Kind {
	case ActionCreate:
		for _, name := range h.names {
			if u := h.units[name]; u == nil || u.Foreign {
				h.starts++
				h.units[name] = &unit{Container: Container{ID: fmt.Sprint(name, h.starts), Name: name}}
			}
		}
		return nil
	case ActionFeed, ActionWithdraw:
		h.fed = a.Kind == ActionFeed
		return nil
	}
	u := h.units[a.Service]
	switch {
	case u == nil:
		return errors.New("no such container")
	case a.Kind == ActionStop, a.Kind == ActionKill:
		u.end(143, h.now)
	case a.Kind == ActionAdopt:
		u.Stale = false
	case a.Kind == ActionConnect:
		u.Detached = ""
	case a.Kind == ActionStart && u.Running:
	default:
		h.run(a.Service, u)
		u.found = f.found
	}
	return nil
}

// run starts a container and settles what becomes of it.
func (h *history) run(name string, u *unit) {
	s := h.wanted.Services[name]
	u.end(143, h.now)
	if !h.good && h.pick.IntN(12) == 0 {
		u.Error = "port is taken"
		return
	}
	h.starts++
	u.Running, u.Paused, u.Stale, u.Error, u.ExitCode, u.Detached = true, false, false, "", 0, ""
	u.Instance, u.StartedAt, u.Health = fmt.Sprint(u.ID, "@", h.starts), h.now, HealthNone
	if s.Healthcheck {
		u.Health = HealthStarting
	}
	fate := 0
	if !h.good {
		fate = h.pick.IntN(8)
	}
	u.turns = h.now.Add(time.Duration(1+h.pick.IntN(50)) * 100 * time.Millisecond)
	u.becomes(s, fate, h.pick.IntN(2))
}

// becomes says what the container turns to.
func (u *unit) becomes(s Service, fate, code int) {
	now := u.turns
	switch {
	case fate == 1 || fate == 2:
		u.next = func(c *Container) { c.Running, c.Health, c.ExitCode, c.FinishedAt = false, HealthNone, code, now }
	case s.Completes:
		u.next = func(c *Container) { c.Running, c.ExitCode, c.FinishedAt = false, 0, now }
	case fate == 3 && s.Healthcheck:
		u.next = func(c *Container) { c.Health = HealthUnhealthy }
	case s.Healthcheck:
		u.next = func(c *Container) { c.Health = HealthHealthy }
	default:
		u.turns = time.Time{}
	}
}

// beside returns the instances of a service's dependencies.
func (h *history) beside(service string) map[string]string {
	found := map[string]string{}
	for _, d := range h.wanted.Services[service].DependsOn {
		if o := h.units[d.Service]; o != nil {
			found[d.Service] = o.Instance
		}
	}
	return found
}

func (u *unit) end(code int, now time.Time) {
	if u.Running {
		u.Running, u.Paused, u.Stale, u.ExitCode, u.FinishedAt, u.turns = false, false, false, code, now, time.Time{}
	}
}

// live lets the containers become what they become.
func (h *history) live() {
	for _, name := range h.names {
		if u := h.units[name]; u != nil && !u.turns.IsZero() && !u.turns.After(h.now) {
			u.turns = time.Time{}
			u.next(&u.Container)
		}
	}
}

// through lives a history: harm, then none, then somebody who sets everything right.
func (h *history) through(steps int) {
	for range steps {
		h.step()
		if h.failed {
			return
		}
	}
	h.good = true
	for name, u := range h.units {
		u.Paused = false
		if !u.turns.IsZero() {
			u.becomes(h.wanted.Services[name], 0, 0)
		}
	}
	h.settle("the world got good", func(v view) bool { return v.settled || v.stuck && v.reason != "" && v.hint != "" })
	h.everything()
	h.settle("somebody set everything right", func(v view) bool { return v.settled })
	if s := summarize(h.st, h.wanted, h.seen(), h.now); s.Phase != AllHealthy && !h.failed {
		h.fail("at the end %s: %s", s.Phase, s.Reason)
	}
	h.comesStill()
}

// settle goes on for at most three hours until every service's view is as f wants it.
func (h *history) settle(why string, f func(view) bool) {
	h.step()
	for end := h.now.Add(3 * time.Hour); !h.failed; h.step() {
		done := len(h.flights) == 0 && h.st.err == "" // what the project waits for is tried again
		for _, r := range h.st.services {
			done = done && f(r.view)
		}
		switch {
		case done:
			return
		case h.now.After(end):
			for _, name := range h.names {
				h.say("%s: %+v", name, h.st.services[name].view)
			}
			h.fail("%s three hours ago, and not all is as it should be", why)
		}
	}
}

func (h *history) fail(format string, args ...any) {
	if !h.failed {
		h.failed = true
		for _, name := range h.names {
			h.t.Logf("%s: %+v", name, h.wanted.Services[name])
		}
		for _, l := range h.trace {
			h.t.Logf("%8.1f "+l.format, append([]any{l.at.Sub(epoch).Seconds()}, l.args...)...)
		}
		h.t.Errorf(format, args...)
	}
}

// random returns a history of which all is a number's doing.
func random(t testing.TB, seed uint64) *history { return newHistory(t, rand.New(rand.NewPCG(seed, 7))) }
