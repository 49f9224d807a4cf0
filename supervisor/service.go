package supervisor

import (
	"fmt"
	"slices"
	"time"
)

// service decides on one service and returns how it is shown.
func (d *decision) service(s Service, r *record) view {
	switch {
	case r.busy != nil:
		return busyView(r)
	case s.Stopped:
		return d.stop(s, r)
	case r.cond == condMissing:
		return view{state: "missing", reason: "its container is missing"}
	case r.cond == condPaused:
		return view{state: "paused", reason: "paused", hint: "docker unpause " + d.seen.Containers[s.Name].Name, stuck: true}
	case r.requested:
		return d.request(s, r)
	case r.cond == condDone:
		return view{state: "exited", reason: "completed", settled: true}
	case r.cond.running():
		if v, ok := d.voluntary(s, r); ok {
			return v
		}
	}
	switch r.cond {
	case condGood:
		return d.goodView(r)
	case condStarting:
		return startingView(r)
	default:
		return d.raise(s, r)
	}
}

// act issues an action, unless one for the project is in flight, and returns how the service is shown meanwhile.
func (d *decision) act(r *record, action Action) view {
	action.Service = r.wanted.Name
	switch action.Kind {
	case ActionStart, ActionRestart, ActionRecreate:
		r.pending = d.instances(r.wanted)
		r.requested = false
	}
	if action.Heal {
		r.restarts++
		if r.trouble.IsZero() {
			r.trouble = d.now
		}
	}
	d.issue(action)
	return busyView(r)
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

// stop brings a service down that a person wants down, after its dependents that are wanted down too.
func (d *decision) stop(s Service, r *record) view {
	if !r.cond.running() {
		r.soft = retry{}
		v := view{state: "stopped", reason: "stopped on request", settled: true}
		if d.wanted.Halted {
			v.reason = "locked down"
		}
		return v
	}
	if d.wanted.Halted {
		return d.softly(r, Action{Kind: ActionKill, Reason: "locked down"}, "running")
	}
	for _, name := range sortedNames(d.wanted.Services) {
		o := d.wanted.Services[name]
		other := d.st.services[name]
		if o.Stopped && name != s.Name && (other.cond.running() || other.busy != nil) &&
			reaches(d.wanted.Services, name, s.Name) && !reaches(d.wanted.Services, s.Name, name) {
			return view{state: "running", reason: "stops after " + name}
		}
	}
	return d.softly(r, Action{Kind: ActionStop, Reason: "stopped on request"}, "running")
}

// request carries out a person's wish to have the service restarted.
func (d *decision) request(s Service, r *record) view {
	if h := d.gate(s); h.reason != "" {
		return view{state: "waiting", reason: h.reason, hint: h.hint, stuck: h.stuck}
	}
	if d.st.project != nil {
		return view{state: "waiting", reason: "restart requested"}
	}
	r.calm()
	kind := ActionRestart
	if !r.cond.running() {
		kind = ActionStart
	}
	return d.act(r, Action{Kind: kind, Reason: "requested"})
}

// voluntary takes care of what a running service needs although it may be well: to take a changed secret, or to
// follow a dependency.
func (d *decision) voluntary(s Service, r *record) (view, bool) {
	action := Action{Kind: ActionRestart}
	followed := d.followed(s, r)
	switch {
	case d.seen.Containers[s.Name].Stale && s.Adopt != AdoptNothing:
		action.Reason = "secret changed"
		action.Kind = [...]ActionKind{AdoptByRestart: ActionRestart, AdoptByRecreate: ActionRecreate,
			AdoptBySignal: ActionAdopt, AdoptByExec: ActionAdopt}[s.Adopt]
	case followed != "":
		action.Reason = followed + " was restarted"
	default:
		r.soft = retry{}
		return view{}, false
	}
	if dep := d.unsettled(s.Name); dep != "" {
		return view{state: "running", reason: action.Reason + "; waits for " + dep}, true
	}
	if h := d.gate(s); h.reason != "" {
		return view{state: "running", reason: action.Reason + "; " + h.reason, hint: h.hint, stuck: h.stuck}, true
	}
	return d.softly(r, action, "running"), true
}

// softly attempts something on a service that is not sick, with a backoff of its own.
func (d *decision) softly(r *record, action Action, state string) view {
	if d.st.project != nil {
		return view{state: state, reason: action.Reason}
	}
	if r.soft.open {
		d.failed(r)
	}
	if !d.due(&r.soft, d.now, r.degraded) {
		d.at(r.soft.notBefore)
		if r.degraded {
			state = "degraded"
		}
		return view{state: state, reason: because(action.Reason, r), hint: r.hint}
	}
	r.soft.attempt()
	return d.act(r, action)
}

// raise starts a service that is down and heals one that is unhealthy; both are the same.
func (d *decision) raise(s Service, r *record) view {
	reason := fault(r.cond, d.seen.Containers[s.Name])
	if d.reportOnly(r) {
		return view{state: "degraded", reason: reason + "; healing is off", hint: "minibotd restart " + s.Name, stuck: true}
	}
	if r.up && r.trouble.IsZero() {
		r.trouble = d.now
	}
	if r.cond == condUnhealthy && !r.grace.until.IsZero() {
		return view{state: "running", reason: "unhealthy; its next checks tell whether that is of before the sleep"}
	}
	if h := d.gate(s); h.reason != "" {
		return view{state: "waiting", reason: h.reason, hint: h.hint, stuck: h.stuck}
	}
	if d.st.project != nil {
		return view{state: "waiting", reason: "waits for " + d.st.project.Kind.String()}
	}
	if r.heal.open {
		d.failed(r)
	}
	if !d.due(&r.heal, d.now, r.degraded) {
		d.at(r.heal.notBefore)
		return retryView(r, reason)
	}
	action := Action{Kind: ActionStart, Reason: reason, Heal: r.up && (r.cond != condFresh || r.lost || r.heal.tries > 0)}
	if r.lost {
		action.Reason = fault(condMissing, Container{})
	}
	if r.cond == condUnhealthy {
		action.Kind = ActionRestart
	}
	r.firstTry = r.heal.tries == 0 && !action.Heal
	r.heal.attempt()
	return d.act(r, action)
}

// failed counts a failed attempt.
func (d *decision) failed(r *record) {
	r.failures = slices.DeleteFunc(r.failures, func(t time.Time) bool { return d.now.Sub(t) > d.options.DegradeWindow })
	r.failures = append(r.failures, d.now)
	if r.degraded || len(r.failures) < d.options.DegradeAfter {
		return
	}
	r.degraded = true
	if r.trouble.IsZero() {
		r.trouble = d.now
	}
	c := d.seen.Containers[r.wanted.Name]
	d.emit(Event{Kind: EventDegraded, Service: r.wanted.Name, Reason: because(fault(r.cond, c), r), Hint: r.hint,
		Attempt: len(r.failures), ExitCode: c.ExitCode})
}

// reportOnly tells whether the service is down or unhealthy and is not to be healed.
func (d *decision) reportOnly(r *record) bool {
	return r.wanted.NoHeal && r.up && !r.requested && (r.cond == condDead || r.cond == condUnhealthy)
}

func (d *decision) goodView(r *record) view {
	v := view{state: "running", settled: !r.wanted.Completes}
	if r.degraded {
		v = view{state: "degraded", reason: fmt.Sprintf("up again after %d failed attempts", len(r.failures))}
	}
	return v
}

func startingView(r *record) view {
	switch {
	case r.degraded:
		return view{state: "degraded", reason: fmt.Sprintf("starting after %d failed attempts", len(r.failures))}
	case !r.trouble.IsZero():
		return view{state: "healing", reason: "starting"}
	}
	return view{state: "starting"}
}

func busyView(r *record) view {
	v := view{state: "starting", reason: r.busy.Reason}
	switch {
	case r.busy.Kind == ActionStop, r.busy.Kind == ActionKill:
		v = view{state: "running", reason: "stopping"}
	case r.busy.Kind == ActionAdopt:
		v.state = "running"
	case r.degraded:
		v.state = "degraded"
	case r.busy.Heal:
		v.state = "healing"
	}
	return v
}

func retryView(r *record, reason string) view {
	v := view{state: "healing", reason: because(reason, r), hint: r.hint}
	if r.degraded {
		v.state = "degraded"
	}
	return v
}

// because adds to reason what the last action's error and the failures say.
func because(reason string, r *record) string {
	switch {
	case r.err != "" && reason != "":
		reason += "; " + r.err
	case r.err != "":
		reason = r.err
	}
	if r.degraded {
		reason += fmt.Sprintf("; %d failed attempts", len(r.failures))
	}
	return reason
}
