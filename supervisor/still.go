package supervisor

import (
	"maps"
	"time"
)

// still tells whether decide, at any later time, would do and change nothing as long as wanted and seen stay as they were
// when it made s, and nothing ends that is in flight. It may say no where that holds all the same. A daemon at rest is still
// nearly all of its life: it looks, sees what it saw, and decides nothing.
func (s state) still(next time.Time) bool {
	if !next.IsZero() || max(s.create.tries, s.feed.tries, s.withdraw.tries) > 0 {
		return false
	}
	for _, r := range s.services {
		if !r.still() {
			return false
		}
	}
	return true
}

// still is of a service that is as it is wanted, and of which nothing is remembered that time changes.
func (r *record) still() bool {
	return r.view.settled && r.heal == retry{} && r.soft == retry{} && r.err+r.hint == "" && len(r.failures) == 0 && len(r.healed) == 0 && r.grace == grace{} &&
		r.wanted.Maintenance.IsZero() // a clock that is set back makes a past one anew
}

// same tells whether two looks show the same, but for when a healthcheck ended: that counts only in a grace.
func same(a, b Seen) bool {
	return a.Fed == b.Fed && a.More == b.More && maps.EqualFunc(a.Containers, b.Containers, func(x, y Container) bool {
		x.Checked = y.Checked
		return x == y
	})
}

// wakesOnly tells whether nothing came in but events.
func (m mail) wakesOnly() bool {
	return m.wanted == nil && !m.urged && len(m.outcomes) == 0 && len(m.requests) == 0
}
