package supervisor

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// stable is how long something must go well before its success is believed; the engine's own restart backoff uses
// the same.
const stable = 10 * time.Second

type policy struct{ options Options }

// decision is one step of the policy.
type decision struct {
	*policy
	st      *state
	wanted  Wanted
	seen    Seen
	now     time.Time
	actions []Action
	next    time.Time
}

// decide returns what is to be done about the difference between wanted and seen, the state that remembers it, and
// when to look again at the latest (zero: no earlier than the tick). It is pure, but for Options.Rand. The actions
// count as in flight until state.finish; seen must have been observed after the last finish.
func (p *policy) decide(prev state, wanted Wanted, seen Seen, now time.Time) (state, []Action, time.Time) {
	st := prev.clone()
	d := &decision{policy: p, st: &st, wanted: wanted, seen: seen, now: now}
	d.lookAll()
	d.project()
	for _, name := range order(wanted.Services) {
		r := st.services[name]
		since, was := r.view.since, r.view.state
		r.view = d.service(wanted.Services[name], r)
		r.view.since = since
		if r.view.state != was {
			r.view.since = now
		}
	}
	return st, d.actions, d.next
}

// at asks for another look at t.
func (d *decision) at(t time.Time) {
	if t.After(d.now) && (d.next.IsZero() || t.Before(d.next)) {
		d.next = t
	}
}

func (d *decision) issue(action Action) {
	d.actions = append(d.actions, action)
	d.st.issue(action)
}

func (d *decision) emit(e Event) {
	e.Time = d.now
	d.st.events = append(d.st.events, e)
}

// lookAll brings the records up to date with what is seen.
func (d *decision) lookAll() {
	for name, r := range d.st.services {
		if _, ok := d.wanted.Services[name]; !ok && r.busy == nil {
			delete(d.st.services, name)
		}
	}
	changed := d.wanted.Create != d.st.noticed
	d.st.noticed = d.wanted.Create
	for _, name := range sortedNames(d.wanted.Services) {
		r := d.st.services[name]
		if r == nil {
			r = &record{against: map[string]string{}, wanted: d.wanted.Services[name]}
			d.st.services[name] = r
		}
		if changed {
			r.calm()
		}
		d.look(d.wanted.Services[name], r)
	}
}

func (d *decision) look(s Service, r *record) {
	if r.wanted.Stopped != s.Stopped || r.wanted.Revision != s.Revision || !slices.Equal(r.wanted.Missing, s.Missing) {
		r.calm()
	}
	if s.Stopped {
		r.up, r.lost = false, false
	}
	r.wanted = s
	c, found := d.seen.Containers[s.Name]
	cond := classify(s, c, found)
	d.lookAgainst(s, r, cond)
	if cond.running() && !s.Stopped {
		r.up, r.lost = true, false
	}
	if cond == condMissing && r.up && r.busy == nil {
		r.lost = true
	}
	d.lookGood(r, cond, c)
	d.lookGrace(r, cond, c)
	if r.busy == nil || cond == condGood {
		d.transition(s, r, cond, c)
	}
	r.cond, r.instance = cond, c.Instance
}

// lookAgainst notes the instances of followed dependencies that the service runs against, where that is not known
// yet: after a start of our own, those that came up later; at first sight, whatever is there.
func (d *decision) lookAgainst(s Service, r *record, cond condition) {
	if r.busy != nil || !cond.running() {
		return
	}
	for _, dep := range s.DependsOn {
		if _, known := r.against[dep.Service]; known || !dep.Restart {
			continue
		}
		c, found := d.seen.Containers[dep.Service]
		if found && !c.StartedAt.IsZero() || r.cond == condUnknown {
			r.against[dep.Service] = c.Instance
		}
	}
}

// lookGood keeps the account of how long the service has been well.
func (d *decision) lookGood(r *record, cond condition, c Container) {
	good := cond == condGood || cond == condDone
	if !r.goodSince.IsZero() && d.now.Sub(r.goodSince) >= d.options.ResetAfter {
		r.heal, r.failures = retry{}, nil
	}
	switch {
	case !good:
		r.goodSince = time.Time{}
		return
	case r.goodSince.IsZero() || r.instance != c.Instance:
		r.goodSince = d.now
	}
	if r.firstTry {
		r.heal, r.firstTry = retry{}, false
	}
	if r.degraded {
		if d.now.Sub(r.goodSince) < stable || r.soft.tries > 0 {
			d.at(r.goodSince.Add(stable))
			return
		}
		r.degraded = false
	}
	if !r.wanted.Healthcheck && r.heal.tries > 1 && d.now.Sub(r.goodSince) < stable {
		d.at(r.goodSince.Add(stable)) // running alone proves little after a failed attempt
		return
	}
	if !r.trouble.IsZero() && r.busy == nil {
		d.emit(Event{Kind: EventRecovered, Service: r.wanted.Name, Attempt: r.heal.tries, Latency: d.now.Sub(r.trouble)})
		r.trouble = time.Time{}
	}
	if r.soft.tries == 0 {
		r.err, r.hint = "", ""
	}
}

// transition reports what has changed about a service.
func (d *decision) transition(s Service, r *record, cond condition, c Container) {
	if cond == r.cond && c.Instance == r.instance {
		return
	}
	e := Event{Service: s.Name, Reason: fault(cond, c), At: c.StartedAt}
	known := r.cond != condUnknown
	switch {
	case cond == condGood:
		e.Kind = EventHealthy
	case cond == condUnhealthy:
		e.Kind = EventUnhealthy
	case known && (cond == condDead || cond == condDone) && !s.Stopped:
		e.Kind, e.ExitCode, e.At = EventExit, c.ExitCode, c.FinishedAt
	case known && cond == condMissing && !s.Stopped:
		e.Kind = EventMissing
	default:
		return
	}
	d.emit(e)
}

// fault says in words what is wrong with a container.
func fault(cond condition, c Container) string {
	switch cond {
	case condMissing:
		return "its container was removed"
	case condFresh, condDead:
		switch {
		case c.Error != "":
			return "did not start: " + c.Error
		case cond == condFresh:
			return "not started yet"
		case c.OOMKilled:
			return fmt.Sprintf("exited with %d, out of memory", c.ExitCode)
		}
		return fmt.Sprintf("exited with %d", c.ExitCode)
	case condUnhealthy:
		return "unhealthy"
	case condDone:
		return "completed"
	}
	return ""
}

// project decides on the actions that concern the whole project; each waits until nothing else is in flight.
func (d *decision) project() {
	missing, foreign, secrets, stopped, running, busy := "", "", false, len(d.wanted.Services) > 0, false, d.st.project != nil
	for _, name := range sortedNames(d.wanted.Services) {
		s, r := d.wanted.Services[name], d.st.services[name]
		if !s.Stopped {
			stopped = false
			secrets = secrets || s.Secrets && len(s.Missing) == 0
			if r.cond == condMissing {
				missing = cmp.Or(missing, name)
			}
			if d.seen.Containers[name].Foreign {
				foreign = cmp.Or(foreign, name)
			}
		}
		running = running || r.cond.running()
	}
	for _, r := range d.st.services {
		busy = busy || r.busy != nil
	}
	if !stopped {
		d.st.withdrawn = false
	}
	create := ""
	switch {
	case len(d.wanted.Services) == 0, d.wanted.Halted:
	case d.wanted.Create != d.st.created:
		create = "definition changed"
	case missing != "":
		create = "no container for " + missing
	case foreign != "":
		create = "the container of " + foreign + " was made by hand"
	}
	feed, withdraw := "", ""
	if secrets && !d.seen.Fed {
		feed = "secrets are not delivered"
	}
	if stopped && !running && !d.st.withdrawn {
		withdraw = "everything is stopped"
	}
	d.projectAction(ActionCreate, create, &d.st.create, busy)
	d.projectAction(ActionFeed, feed, &d.st.feed, busy)
	d.projectAction(ActionWithdraw, withdraw, &d.st.withdraw, busy)
	if create+feed+withdraw == "" && d.st.project == nil {
		d.st.err, d.st.hint = "", ""
	}
}

func (d *decision) projectAction(kind ActionKind, reason string, r *retry, busy bool) {
	if reason == "" {
		r.rest(d.now)
		return
	}
	if busy || d.st.project != nil {
		return
	}
	if !d.due(r, d.now, false) {
		d.at(r.notBefore)
		return
	}
	r.attempt()
	if kind == ActionCreate {
		d.st.creating = d.wanted.Create
	}
	d.issue(Action{Kind: kind, Reason: reason})
}
