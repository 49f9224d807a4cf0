package supervisor

import (
	"cmp"
	"slices"
	"time"
)

// condition is what a container's observation means for its service.
type condition uint8

const (
	condUnknown condition = iota // never looked at
	condMissing                  // there is no container
	condFresh                    // created, never started
	condDead                     // was up, is not
	condDone                     // a one-shot that ended well
	condPaused
	condStarting
	condUnhealthy
	condGood
)

func (c condition) running() bool { return c >= condPaused }

func classify(s Service, c Container, found bool) condition {
	switch {
	case !found:
		return condMissing
	case !c.Running && c.StartedAt.IsZero():
		return condFresh
	case !c.Running && s.Completes && c.ExitCode == 0 && c.Error == "":
		return condDone
	case !c.Running:
		return condDead
	case c.Paused:
		return condPaused
	case c.Health == HealthUnhealthy:
		return condUnhealthy
	case c.Health == HealthHealthy, c.Health == HealthNone && !s.Healthcheck:
		return condGood
	default:
		return condStarting
	}
}

// look brings one record up to date with what is seen of its service.
func (d *decision) look(s Service, r *record) {
	asked := r.wanted.Stopped != s.Stopped || r.wanted.Revision != s.Revision || !slices.Equal(r.wanted.Missing, s.Missing)
	if asked || r.wanted.Heal != s.Heal {
		r.calm()
	}
	if s.Stopped {
		r.up, r.lost = false, false
	}
	r.wanted = s
	c, found := d.seen.Containers[s.Name]
	cond := classify(s, c, found)
	d.lookAgainst(s, r, cond)
	r.asked = !cond.running() && (r.asked || asked)
	d.lookMaintenance(s, r)
	if cond.running() && !s.Stopped {
		r.up, r.lost = true, false
	}
	if cond == condMissing && r.up && r.busy == nil {
		r.lost = true
	}
	if !cond.running() {
		r.runsSince = time.Time{}
	} else if r.runsSince.IsZero() || r.instance != c.Instance {
		r.runsSince = d.now
	}
	d.lookGood(r, cond, c)
	d.lookStanding(r, cond)
	d.lookFlapping(r)
	d.lookGrace(r, cond, c)
	if r.busy == nil || cond == condGood {
		d.transition(s, r, cond, c)
	}
	r.cond, r.instance = cond, c.Instance
}

// lookMaintenance tells of its begin and of its end, after which a sick service is tried at once.
func (d *decision) lookMaintenance(s Service, r *record) {
	until := time.Time{}
	if d.now.Before(s.Maintenance) {
		until = s.Maintenance
		d.at(until)
	}
	if until.Equal(r.rests) {
		return
	}
	r.rests = until
	if until.IsZero() && !r.gaveUp {
		r.heal = retry{}
	}
	d.emit(Event{Kind: EventMaintenance, Service: s.Name, Reason: maintained(until)})
}

// lookAgainst notes the instances of followed dependencies that the service runs against, where that is not known
// yet: after a start of our own, those that came up later; at first sight, whatever is there.
func (d *decision) lookAgainst(s Service, r *record, cond condition) {
	if !cond.running() {
		return
	}
	if c := d.seen.Containers[s.Name]; r.cond != condUnknown && r.instance != c.Instance {
		r.settle() // also while the start is in flight, which may be answered with an error
	}
	if r.busy != nil {
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
		r.heal, r.failures, r.gaveUp = retry{}, nil, false
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
	if r.shut && r.busy == nil { // somebody started it by hand
		r.shut, r.degraded = false, false
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
	if since := cmp.Or(r.told, r.trouble); !since.IsZero() && r.busy == nil {
		if r.heal.tries > 0 && !r.excused {
			r.healed = append(r.healed, d.now)
		}
		d.emit(Event{Kind: EventRecovered, Service: r.wanted.Name, Attempt: r.heal.tries, Latency: d.now.Sub(since)})
		r.trouble, r.told = time.Time{}, time.Time{}
	}
	r.excused = false
	if r.soft.tries == 0 {
		r.err, r.hint = "", ""
	}
}

const (
	// flaps heals that each helped, within flapWindow, make a service flapping: it runs, but somebody should look.
	flaps      = 6
	flapWindow = 6 * time.Hour
)

// lookFlapping keeps the account of the heals that helped, and tells once when they are many.
func (d *decision) lookFlapping(r *record) {
	r.healed = slices.DeleteFunc(r.healed, func(t time.Time) bool { return d.now.Sub(t) >= flapWindow })
	if n := len(r.healed); n > flaps {
		r.healed = slices.Delete(r.healed, 0, n-flaps)
	}
	switch {
	case len(r.healed) == 0:
		r.flapping = false
	case len(r.healed) == flaps && !r.flapping:
		r.flapping = true
		d.emit(Event{Kind: EventFlapping, Service: r.wanted.Name, Reason: flapReason, Hint: "minibotd logs " + r.wanted.Name})
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
		if cond == condDead {
			e.From, e.To = c.StartedAt, c.FinishedAt
		}
	case known && cond == condMissing && !s.Stopped:
		e.Kind = EventMissing
	default:
		return
	}
	d.emit(e)
}

// instances returns the present instances of the dependencies that the service follows.
func (d *decision) instances(s Service) map[string]string {
	now := map[string]string{}
	for _, dep := range s.DependsOn {
		if c, found := d.seen.Containers[dep.Service]; dep.Restart && found && !c.StartedAt.IsZero() {
			now[dep.Service] = c.Instance
		}
	}
	return now
}

// failed counts a failed attempt.
func (d *decision) failed(r *record) {
	r.failures = slices.DeleteFunc(r.failures, func(t time.Time) bool { return d.now.Sub(t) > d.options.DegradeWindow })
	r.failures = append(r.failures, d.now)
	if len(r.failures) >= d.options.DegradeAfter {
		d.degrade(r, view{reason: because(fault(r.cond, d.seen.Containers[r.wanted.Name]), r, len(r.failures)), hint: r.hint})
	}
}

// giveUp ends the attempts.
func (d *decision) giveUp(r *record, reason string) {
	r.gaveUp = true
	v := resignedView(r, reason)
	d.degrade(r, v)
	d.emit(Event{Kind: EventGaveUp, Service: r.wanted.Name, Reason: v.reason, Hint: v.hint, Attempt: r.heal.tries,
		ExitCode: d.seen.Containers[r.wanted.Name].ExitCode})
}

// degrade notes, once, that the service is degraded, as v says.
func (d *decision) degrade(r *record, v view) {
	if r.degraded {
		return
	}
	r.degraded = true
	if r.trouble.IsZero() {
		r.trouble = d.now
	}
	r.told = cmp.Or(r.told, r.trouble)
	d.emit(Event{Kind: EventDegraded, Service: r.wanted.Name, Reason: v.reason, Hint: v.hint,
		Attempt: len(r.failures), ExitCode: d.seen.Containers[r.wanted.Name].ExitCode})
}
