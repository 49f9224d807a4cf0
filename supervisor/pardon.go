package supervisor

import (
	"slices"
	"time"
)

const (
	// engineEnds is how long before its loss an engine that shuts down may have begun to end containers, and to refuse to start them:
	// its own default for that is 15 s.
	engineEnds = 30 * time.Second
	// pardons within DegradeWindow are what a service gets at most: an engine, or a connection, that is lost again and again is no
	// excuse for one that dies again and again.
	pardons = 5
)

// standing is what stood against a service when it was last seen well. It does not change.
type standing struct {
	until    time.Time // when it was first seen not to be well any more
	heal     retry
	failures []time.Time
	degraded bool
	gaveUp   bool
}

// lookStanding keeps what stands against a service while it is well.
func (d *decision) lookStanding(r *record, cond condition) {
	switch {
	case cond == condGood && r.well.is(r):
	case cond == condGood:
		r.well = &standing{heal: r.heal, failures: slices.Clone(r.failures), degraded: r.degraded, gaveUp: r.gaveUp}
	case r.cond == condGood && r.well != nil:
		now := *r.well
		now.until = d.now
		r.well = &now
	}
}

// is tells whether nothing has changed since it was kept.
func (w *standing) is(r *record) bool {
	return w != nil && w.until.IsZero() && w.heal == r.heal && w.degraded == r.degraded && w.gaveUp == r.gaveUp && slices.Equal(w.failures, r.failures)
}

// cutOff returns the state after the engine was lost.
func (s state) cutOff(now time.Time) state {
	if s.lost.IsZero() {
		s.lost = now
	}
	return s
}

// pardon looks, first thing after the engine was lost, whether it has restarted: then nothing runs on that ran before. What that did to
// services which were well until then is no failure of theirs.
func (d *decision) pardon() {
	lost := d.st.lost
	d.st.lost = time.Time{}
	if lost.IsZero() {
		return
	}
	for name, r := range d.st.services {
		if c := d.seen.Containers[name]; c.Running && r.cond.running() && c.Instance == r.instance {
			return
		}
	}
	for _, name := range order(d.wanted.Services) {
		if r := d.st.services[name]; r != nil && r.well != nil && !d.seen.Containers[name].Running &&
			(r.cond == condGood || lost.Sub(r.well.until) <= engineEnds) {
			d.pardonOne(r)
		}
	}
}

// pardonOne takes a service back to where it was, and the attempt by which it got there: the next one is in its place.
func (d *decision) pardonOne(r *record) {
	r.pardoned = slices.DeleteFunc(r.pardoned, func(t time.Time) bool { return d.now.Sub(t) >= d.options.DegradeWindow })
	if len(r.pardoned) >= pardons {
		return
	}
	r.pardoned = append(r.pardoned, d.now)
	r.heal, r.failures, r.degraded, r.gaveUp = r.well.heal, slices.Clone(r.well.failures), r.well.degraded, r.well.gaveUp
	r.well, r.excused, r.soft.open, r.firstTry = nil, true, false, false
	if r.heal.open = false; r.heal.tries == 0 {
		return
	}
	if r.heal.tries--; r.heal.tries > 0 { // it was in trouble before, and is not tried sooner for this
		r.heal.delay = d.delay(r.wanted.Heal.Backoff, r.heal.tries, r.degraded)
		r.heal.notBefore = d.now.Add(r.heal.delay)
	}
}
