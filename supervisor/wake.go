package supervisor

import (
	"errors"
	"fmt"
	"time"
)

const (
	// lateness is how much later than planned something must come to be a wake and no busy machine: sleeps are longer,
	// and a loop that is late by less has missed nothing that the next look does not find.
	lateness = 30 * time.Second
	// wakeGrace is how long after a wake a health that may be of before it keeps a service from being restarted: four
	// checks at compose's default interval.
	wakeGrace = 2 * time.Minute
	// wakeLook is how often it is looked for a fresh health meanwhile: the engine tells only of changes.
	wakeLook = 5 * time.Second
	// freshChecks have to end after a wake: the first may have begun before it, the second has not.
	freshChecks = 2
)

// errWoke ends a session whose stream and whose look at the containers may be of before a sleep.
var errWoke = errors.New("the machine slept")

// moment is one reading of both clocks. The monotonic one stands still while the machine sleeps, on macOS and on Linux;
// the wall's is set by people and by time servers.
type moment struct{ mono, wall time.Time }

// gap tells what happened between two readings that should lie no more than within apart: for how long the machine slept,
// the process stood still or the clock was set forward, which cannot be told apart; or by how much the clock was set back.
// Both are zero when nothing did.
func gap(from, to moment, within time.Duration) (slept, back time.Duration) {
	passed := to.mono.Sub(from.mono)
	jump := to.wall.Round(0).Sub(from.wall.Round(0)) - passed
	late := passed - within
	if jump < -lateness {
		back = -jump
	}
	if jump > lateness || late > lateness {
		slept = max(jump, 0) + max(late, 0)
	}
	return slept, back
}

// clock watches for gaps. It belongs to the loop's goroutine.
type clock struct {
	wall   func() time.Time
	from   moment
	within time.Duration
}

// expect notes that the next call of expect or passed comes within d.
func (c *clock) expect(d time.Duration) {
	c.from, c.within = c.read(), d
}

// passed tells of the gap since the last expect.
func (c *clock) passed() (slept, back time.Duration) {
	if c.from.mono.IsZero() {
		return 0, 0
	}
	now := c.read()
	slept, back = gap(c.from, now, c.within)
	if slept > 0 || back > 0 { // told once
		c.from = now
	}
	return slept, back
}

func (c *clock) read() moment { return moment{time.Now(), c.wall()} }

// woke tells whether there was a sleep since the last expect, and forgets what was of before it.
func (l *loop) woke() bool {
	slept, back := l.clock.passed()
	now := time.Now()
	if back > 0 { // nothing here goes by the wall's clock
		l.emit(Event{Time: now, Kind: EventClock, Reason: "the clock was set back by " + spell(back)})
	}
	if slept == 0 {
		return false
	}
	l.state, l.still = l.state.woke(now), false
	l.options.OnWake()
	l.emit(Event{Time: now, Kind: EventWoke, Reason: "woke after " + spell(slept)})
	return true
}

// spell writes a duration as a person would: 45s, 12m, 3h12m.
func spell(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

// woke returns the state after a sleep: failures of before count no more, all pauses end, and no health counts against a
// service until it is known to be of after it.
func (s state) woke(now time.Time) state {
	s = s.clone().urged()
	for _, r := range s.services {
		shut := r.shut
		r.calm()
		r.shut = shut // that is for a person to end
		r.grace = grace{until: now.Add(wakeGrace)}
	}
	return s
}

// grace is the time after a wake in which the health may be of before it.
type grace struct {
	until  time.Time // zero: there is none
	looked bool
	last   time.Time // the check that was seen last
	fresh  int       // checks that ended after the wake
}

// lookGrace ends the grace when enough checks have ended since the wake, when the container is another, and at its time.
func (d *decision) lookGrace(r *record, cond condition, c Container) {
	g := &r.grace
	if g.until.IsZero() {
		return
	}
	switch {
	case !g.looked:
		g.looked, g.last = true, c.Checked
	case !g.last.Equal(c.Checked):
		g.last = c.Checked
		g.fresh++
	}
	if !cond.running() || r.instance != c.Instance || g.fresh >= freshChecks || !d.now.Before(g.until) {
		*g = grace{}
		return
	}
	if cond == condUnhealthy {
		d.at(d.now.Add(wakeLook))
		d.at(g.until)
	}
}
