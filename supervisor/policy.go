package supervisor

import (
	"cmp"
	"time"
)

// stable is how long something must go well before its success is believed; the engine's own restart backoff uses
// the same.
const stable = 10 * time.Second

// restartsInVain is after how many of them an unhealthy container is made anew, once: an engine that lost track of one, as after the end of
// its containerd, restarts it and can run no healthcheck in it ever after (docs/facts.md).
const restartsInVain = 3

// policy decides. This file holds all that decides an action; what only words, remembers or relates things stands beside it.
type policy struct{ options Options }

// decision is one step of the policy.
type decision struct {
	*policy
	st         *state
	wanted     Wanted
	seen       Seen
	now        time.Time
	dependents map[string][]string // by service, once they are asked for
	actions    []Action
	next       time.Time
}

// decide returns what is to be done about the difference between wanted and seen, the state that remembers it, and
// when to look again at the latest (zero: no earlier than the tick). It is pure, but for Options.Rand. The actions
// count as in flight until state.finish; seen must have been observed after the last finish.
func (p *policy) decide(prev state, wanted Wanted, seen Seen, now time.Time) (state, []Action, time.Time) {
	st := prev.clone()
	d := &decision{policy: p, st: &st, wanted: wanted, seen: seen, now: now}
	d.pardon()
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

// project decides on the actions that concern the whole project; each waits until nothing else is in flight.
func (d *decision) project() {
	missing, foreign, secrets, stopped, running, busy := "", "", false, len(d.wanted.Services) > 0, false, d.st.project != nil
	for _, name := range sortedNames(d.wanted.Services) {
		s, r := d.wanted.Services[name], d.st.services[name]
		if !s.Stopped {
			stopped = false
			secrets = secrets || s.Secrets && len(s.Missing) == 0
			if r.cond == condMissing && !r.idle() {
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
		create = foreign + " has a container made by hand, or two"
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
	if !d.due(r, 0, false) {
		d.at(r.notBefore)
		return
	}
	r.attempt()
	if kind == ActionCreate {
		d.st.creating = d.wanted.Create
	}
	d.issue(Action{Kind: kind, Reason: reason})
}

// service decides on one service and returns how it is shown.
func (d *decision) service(s Service, r *record) view {
	switch {
	case r.busy != nil:
		return busyView(r)
	case s.Stopped:
		return d.stop(s, r)
	case r.cond == condMissing && !r.idle():
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
		r.requested, r.asked = false, false
	}
	if action.Heal {
		if action.Kind != ActionStop {
			r.restarts++
		}
		if r.trouble.IsZero() {
			r.trouble = d.now
		}
	}
	d.issue(action)
	return busyView(r)
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
	if name := d.stopsAfter(s); name != "" {
		return view{state: "running", reason: "stops after " + name}
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

// voluntary takes care of what a running service needs although it may be well: to be in its networks, to take a changed secret, or
// to follow a dependency.
func (d *decision) voluntary(s Service, r *record) (view, bool) {
	action := Action{Kind: ActionRestart}
	followed := d.followed(s, r)
	switch away := d.seen.Containers[s.Name].Detached; {
	case away != "" && !s.NoHeal && r.rests.IsZero() && !r.shut && !d.resigned(r):
		action.Kind, action.Reason = ActionConnect, "not in network "+away
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
	if !d.due(&r.soft, 0, r.degraded) {
		d.at(r.soft.notBefore)
		if r.degraded {
			state = "degraded"
		}
		return view{state: state, reason: because(action.Reason, r, r.failedAttempts()), hint: r.hint}
	}
	r.soft.attempt()
	return d.act(r, action)
}

// raise starts a service that is down and heals one that is unhealthy; both are the same.
func (d *decision) raise(s Service, r *record) view {
	reason := fault(r.cond, d.seen.Containers[s.Name])
	if d.resigned(r) {
		return resignedView(r, reason)
	}
	if r.idle() {
		return restView(r, reason)
	}
	if until := r.runsSince.Add(s.Heal.StartGrace); r.cond == condUnhealthy && d.now.Before(until) {
		d.at(until)
		return graceView(r, reason)
	}
	if r.up && r.trouble.IsZero() {
		r.trouble = d.now
	}
	if r.cond == condUnhealthy && !r.grace.until.IsZero() {
		return view{state: "running", reason: "unhealthy; its next checks tell whether that is of before the sleep"}
	}
	stops := r.cond == condUnhealthy && s.Heal.Unhealthy == RemedyStop
	if h := d.gate(s); h.reason != "" && !stops {
		return view{state: "waiting", reason: h.reason, hint: h.hint, stuck: h.stuck}
	}
	if dep := d.churning(s.Name); dep != "" && !stops {
		return view{state: "waiting", reason: "waits for " + dep}
	}
	if d.st.project != nil {
		return view{state: "waiting", reason: "waits for " + d.st.project.Kind.String()}
	}
	if r.heal.open {
		d.failed(r)
	}
	due := d.due(&r.heal, s.Heal.Backoff, r.degraded && !stops)
	if n := s.Heal.MaxAttempts; n > 0 && r.heal.tries >= n && !stops {
		d.giveUp(r, reason)
		return resignedView(r, reason)
	}
	if !due {
		d.at(r.heal.notBefore)
		return retryView(r, reason)
	}
	action := Action{Kind: ActionStart, Reason: reason, Heal: r.up && (r.cond != condFresh || r.lost || r.heal.tries > 0)}
	if r.lost {
		action.Reason = fault(condMissing, Container{})
	}
	if r.cond == condUnhealthy {
		action.Kind = [...]ActionKind{RemedyUsual: ActionRestart, RemedyRestart: ActionRestart, RemedyRecreate: ActionRecreate, RemedyStop: ActionStop}[s.Heal.Unhealthy]
		if s.Heal.Unhealthy == RemedyUsual && r.heal.restarts == restartsInVain {
			action.Kind = ActionRecreate
		}
		r.heal.restarts++
		action.StopTimeout = s.Heal.StopTimeout
		r.shut = stops
	}
	r.firstTry = r.heal.tries == 0 && !action.Heal
	r.heal.attempt()
	if r.shut {
		d.degrade(r, resignedView(r, reason))
	}
	return d.act(r, action)
}

// idle tells whether the service is sick and rests: nothing is done about that until its maintenance ends.
func (r *record) idle() bool {
	if r.rests.IsZero() || r.asked || r.requested {
		return false
	}
	return r.cond == condMissing || r.cond == condDead || r.cond == condUnhealthy || r.cond == condFresh && r.lost
}

// resigned tells whether the service is down or unhealthy and nothing is done about that until a person acts.
func (d *decision) resigned(r *record) bool {
	if r.requested {
		return false
	}
	heal := r.wanted.Heal
	switch r.cond {
	case condFresh:
		return r.shut || r.gaveUp
	case condDead:
		return r.shut || r.gaveUp || r.wanted.NoHeal && r.up
	case condUnhealthy:
		return r.gaveUp && heal.Unhealthy != RemedyStop || r.wanted.NoHeal || heal.Unhealthy == RemedyIgnore
	}
	return false
}

// due tells whether an attempt may be made now. An attempt before it that was made in vain is judged failed. first is
// the delay after the first one; 0 is the default.
func (d *decision) due(r *retry, first time.Duration, atCap bool) bool {
	r.restful = time.Time{}
	if r.open {
		r.open = false
		r.delay = d.delay(first, r.tries, atCap)
		r.notBefore = d.now.Add(r.delay)
	}
	return !d.now.Before(r.notBefore)
}

// delay returns how long to wait after the given number of attempts, stretched by up to a quarter.
func (p *policy) delay(first time.Duration, tries int, atCap bool) time.Duration {
	first = cmp.Or(first, p.options.BackoffFirst)
	d := max(p.options.BackoffCap, first)
	if shift := tries - 1; !atCap && shift < 16 {
		d = min(d, first<<max(shift, 0))
	}
	return d + time.Duration(float64(d)/4*p.options.Rand())
}
