package supervisor

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// ledger is what the laws remember of a service. It is kept by what is seen and done, apart from the policy's own account.
type ledger struct {
	prev      Service
	create    uint64
	attempts  int         // in a row to bring it up
	times     []time.Time // of those within the last ten minutes
	first     bool        // the only attempt was a first start
	good      time.Time   // since when it is well
	instance  string
	running   time.Time // since when instance was seen to run
	up        bool      // was seen up since it is wanted up
	shut      bool      // was stopped because it was unhealthy
	asked     bool      // a person did something while it was down
	rests     bool
	busy      bool
	exhausted bool      // is given up
	sick      int       // of attempts: those because it was unhealthy
	well      *ledger   // as it was when it was last well
	wellAt    time.Time // until when
	wasGood   bool
	pardons   []time.Time
}

// pardon is the law of engines that restart: what came after a service was last well is not counted, nor is the attempt that made it so;
// five times in ten minutes at most.
func (l *ledger) pardon(h *history, running bool) {
	l.pardons = slices.DeleteFunc(l.pardons, func(t time.Time) bool { return h.now.Sub(t) >= 10*time.Minute })
	if l.well == nil || running || !l.wasGood && h.lost.Sub(l.wellAt) > 30*time.Second || len(l.pardons) >= 5 {
		return
	}
	l.pardons = append(l.pardons, h.now)
	l.attempts, l.exhausted, l.times, l.sick = max(l.well.attempts-1, 0), l.well.exhausted, l.well.times, l.well.sick
	if l.attempts < l.well.attempts && len(l.times) > 0 {
		l.times = l.times[:len(l.times)-1]
	}
	l.well, l.first = nil, false
}

// restarted tells, at the first look after a loss, whether the engine restarted: nothing runs on.
func (h *history) restarted() bool {
	if h.lost.IsZero() {
		return false
	}
	for name, u := range h.units {
		if l := h.ledgers[name]; u.Running && !l.running.IsZero() && l.instance == u.Instance {
			return false
		}
	}
	return true
}

func (l *ledger) forget() { l.attempts, l.times, l.exhausted, l.sick = 0, nil, false, 0 }

// look keeps the account before the policy looks.
func (l *ledger) look(h *history, s Service, c Container, cond condition) {
	personal := l.prev.Stopped != s.Stopped || l.prev.Revision != s.Revision || !slices.Equal(l.prev.Missing, s.Missing)
	if personal || l.prev.Heal != s.Heal || l.create != h.wanted.Create {
		l.forget()
		l.shut = false
	}
	l.prev, l.create = s, h.wanted.Create
	l.asked = !cond.running() && (l.asked || personal)
	rests := h.now.Before(s.Maintenance)
	if l.rests && !rests && !l.exhausted {
		l.forget()
	}
	l.rests = rests
	if !l.good.IsZero() && h.now.Sub(l.good) >= 10*time.Minute {
		l.forget()
	}
	if cond.running() && (l.running.IsZero() || l.instance != c.Instance) {
		l.running = h.now
	} else if !cond.running() {
		l.running = time.Time{}
	}
	switch {
	case cond != condGood && cond != condDone:
		l.good = time.Time{}
	case l.good.IsZero() || l.instance != c.Instance:
		l.good = h.now
	}
	if !l.good.IsZero() {
		l.shut = l.shut && l.busy
		if l.first {
			l.forget()
			l.first = false
		}
	}
	if l.wasGood && cond != condGood {
		l.wellAt = h.now
	}
	if l.wasGood = cond == condGood; l.wasGood {
		l.well = &ledger{attempts: l.attempts, exhausted: l.exhausted, sick: l.sick, times: slices.Clone(l.times)}
	}
	l.instance = c.Instance
	stopping := slices.ContainsFunc(h.flights, func(f flight) bool { return f.action.Service == s.Name && f.action.Kind == ActionStop })
	l.up = !s.Stopped && (l.up || cond.running() && !stopping) // what a stop under way is about to end is not up
}

// attempt judges one attempt to bring a service up, or down for good, against its budget.
func (l *ledger) attempt(h *history, a Action, s Service, cond condition) {
	heal := s.Heal
	first, most := heal.Backoff, time.Minute
	if first == 0 {
		first = time.Second
	}
	most = max(most, first)
	stop := a.Kind == ActionStop
	l.times = slices.DeleteFunc(l.times, func(t time.Time) bool { return h.now.Sub(t) >= 10*time.Minute })
	if least := min(most, first<<max(min(l.attempts-1, 12), 0)); l.attempts > 0 && h.now.Sub(l.times0(h)) < least {
		h.fail("attempt %d at %s came %v after the one before", l.attempts+1, s.Name, h.now.Sub(l.times0(h)))
	}
	if budget := bits.Len(uint(most/first)) + 2 + int(10*time.Minute/most); len(l.times) >= budget {
		h.fail("%d attempts at %s in ten minutes; the budget is %d", len(l.times)+1, s.Name, budget)
	}
	unhealthy := cond == condUnhealthy
	anew := unhealthy && heal.Unhealthy == RemedyUsual && l.sick == 3
	if unhealthy {
		l.sick++
	}
	switch {
	case l.shut && !stop:
		h.fail("%v %s, which was stopped for good", a.Kind, s.Name)
	case heal.MaxAttempts > 0 && l.attempts >= heal.MaxAttempts && !stop:
		h.fail("attempt %d at %s, which is given up after %d", l.attempts+1, s.Name, heal.MaxAttempts)
	case l.rests && !l.asked && cond != condFresh:
		h.fail("%v %s in its maintenance", a.Kind, s.Name)
	case s.NoHeal && l.up && cond != condFresh, unhealthy && heal.Unhealthy == RemedyIgnore:
		h.fail("%v %s, which is not to be healed", a.Kind, s.Name)
	case unhealthy && h.now.Sub(l.running) < heal.StartGrace:
		h.fail("%v %s %v after its start", a.Kind, s.Name, h.now.Sub(l.running))
	case stop != (unhealthy && heal.Unhealthy == RemedyStop), unhealthy && (a.Kind == ActionRecreate) != (heal.Unhealthy == RemedyRecreate || anew):
		h.fail("%v %s, whose remedy is %v", a.Kind, s.Name, heal.Unhealthy)
	case unhealthy && a.StopTimeout != heal.StopTimeout, !unhealthy && a.StopTimeout != 0:
		h.fail("%v %s within %v", a.Kind, s.Name, a.StopTimeout)
	}
	l.first = l.attempts == 0 && !a.Heal
	l.attempts++
	l.times = append(l.times, h.now)
	l.shut = l.shut || stop
}

// times0 is when the last attempt was.
func (l *ledger) times0(h *history) time.Time {
	if len(l.times) == 0 {
		return h.now.Add(-10 * time.Minute)
	}
	return l.times[len(l.times)-1]
}

func (h *history) seen() Seen {
	seen := Seen{Containers: make(map[string]Container, len(h.units)), Fed: h.fed}
	for name, u := range h.units {
		seen.Containers[name] = u.Container
	}
	return seen
}

// decide has the policy look, and judges what it makes of what it sees.
func (h *history) decide() {
	seen, conds := h.seen(), make(map[string]condition, len(h.names))
	if h.restarted() {
		for _, name := range h.names {
			h.ledgers[name].pardon(h, seen.Containers[name].Running)
		}
	}
	h.lost = time.Time{}
	for _, name := range h.names {
		s := h.wanted.Services[name]
		c, found := seen.Containers[name]
		conds[name] = classify(s, c, found)
		h.ledgers[name].busy = slices.ContainsFunc(h.flights, func(f flight) bool { return f.action.Service == name })
		h.ledgers[name].look(h, s, c, conds[name])
		if r := h.st.services[name]; h.queued[name] && r != nil { // as the loop does it
			r.requested = !s.Stopped && len(s.Missing) == 0 && conds[name] != condPaused
			if !r.requested {
				delete(h.queued, name)
			}
		}
	}
	project := slices.ContainsFunc(h.flights, func(f flight) bool { return f.action.Service == "" })
	st, actions, next := h.p.decide(h.st, h.wanted, seen, h.now)
	h.st, h.next = st, next
	if !next.IsZero() && !next.After(h.now) {
		h.fail("wants to look again at %v, which is past", next)
	}
	for _, e := range st.events {
		if l := h.ledgers[e.Service]; e.Kind == EventGaveUp {
			l.exhausted = true
		}
		if e.Reason == "" && (e.Kind == EventDegraded || e.Kind == EventGaveUp) {
			h.fail("%s of %s without a reason", e.Kind, e.Service)
		}
	}
	for _, a := range actions {
		h.say("%v %s: %s", a.Kind, a.Service, a.Reason)
		if project || a.Service == "" && len(h.flights) > 0 {
			h.fail("%v %s beside %v", a.Kind, a.Service, h.flights)
		}
		if a.Service != "" {
			h.judge(a, seen, conds)
		}
		h.flights = append(h.flights, flight{a, h.now.Add(time.Duration(1+h.pick.IntN(30)) * 100 * time.Millisecond), h.beside(a.Service)})
		project = project || a.Service == ""
	}
	for _, name := range h.names {
		h.shown(name, st.services[name])
	}
	h.keepsStill(seen)
	if h.steps%16 == 0 {
		if s := summarize(st, h.wanted, seen, h.now); s.Phase != AllHealthy && s.Phase != AllStopped && s.Reason == "" {
			h.fail("%s without a reason", s.Phase)
		}
	}
}

// judge holds one action on a service against the laws.
func (h *history) judge(a Action, seen Seen, conds map[string]condition) {
	s, c, cond, l := h.wanted.Services[a.Service], seen.Containers[a.Service], conds[a.Service], h.ledgers[a.Service]
	if l.busy {
		h.fail("%v %s while it is acted on", a.Kind, a.Service)
	}
	l.busy = true
	remedied := a.Kind == ActionStop && !s.Stopped && a.Heal && cond == condUnhealthy
	switch {
	case remedied:
		l.attempt(h, a, s, cond)
		return
	case a.Kind == ActionStop || a.Kind == ActionKill:
		if !s.Stopped || !cond.running() {
			h.fail("%v %s, which is wanted up or is down", a.Kind, a.Service)
		}
		return
	case s.Stopped:
		h.fail("%v %s, which a person stopped", a.Kind, a.Service)
	case len(s.Missing) > 0, s.Secrets && !seen.Fed, c.Foreign, cond == condPaused, cond == condMissing:
		h.fail("%v %s: missing %v, fed %v, %+v", a.Kind, a.Service, s.Missing, seen.Fed, c)
	}
	for _, d := range s.DependsOn {
		dep, cond, busy := seen.Containers[d.Service], conds[d.Service], h.st.services[d.Service].busy
		ok := cond == condGood
		switch d.Condition {
		case Started:
			ok = dep.Running && !dep.Paused || cond == condDone
		case Completed:
			ok = cond == condDone
		}
		ok = ok && !h.wanted.Services[d.Service].Stopped && (busy == nil || busy.Kind == ActionStart && dep.Running || busy.Kind == ActionAdopt)
		if d.Required && !ok {
			h.fail("%v %s although %s is %+v", a.Kind, a.Service, d.Service, dep)
		}
	}
	if a.Kind == ActionConnect {
		if c.Detached == "" || !cond.running() || l.rests || s.NoHeal || l.shut {
			h.fail("%v %s, which is to be left alone: %+v", a.Kind, a.Service, c)
		}
		return
	}
	if h.queued[a.Service] && a.Kind != ActionAdopt {
		delete(h.queued, a.Service)
		l.forget()
		l.shut, l.asked = false, false
		return
	}
	if cond.running() && !a.Heal && (c.Stale && s.Adopt != AdoptNothing || h.follows(s, seen, conds)) {
		return
	}
	if cond == condGood || cond == condStarting || cond == condDone || a.Kind == ActionAdopt {
		h.fail("%v %s, which is well", a.Kind, a.Service)
	}
	l.attempt(h, a, s, cond)
	l.asked = false
}

// follows tells whether a dependency is another run than the one that the service was started beside.
func (h *history) follows(s Service, seen Seen, conds map[string]condition) bool {
	return slices.ContainsFunc(s.DependsOn, func(d Dependency) bool {
		return d.Restart && (conds[d.Service] == condGood || conds[d.Service] == condDone) &&
			h.units[s.Name].found[d.Service] != seen.Containers[d.Service].Instance
	})
}

// shown holds what a person is shown against the laws.
func (h *history) shown(name string, r *record) {
	v := r.view
	quiet := v.state == "running" || v.state == "starting"
	if v.state == "" || v.reason == "" && !quiet || v.settled && v.stuck {
		h.fail("%s is shown as %+v", name, v)
	}
	if v.stuck && v.hint == "" && v.state != "waiting" && v.state != "running" { // these wait for another one, which may be in transition
		h.fail("%s waits for a person without a hint: %+v", name, v)
	}
	if most := max(time.Minute, r.wanted.Heal.Backoff); r.heal.delay > most*5/4 && r.heal.delay > 225*time.Second || r.soft.delay > 75*time.Second {
		h.fail("%s waits for %v, %v", name, r.heal.delay, r.soft.delay)
	}
	if len(r.failures) > 700 || len(r.against) > len(h.names) {
		h.fail("%s remembers %d failures and %d instances", name, len(r.failures), len(r.against))
	}
}

// histories is how many TestPolicyThroughHistories lives through, at some 1,000 looks each.
func histories(t *testing.T) uint64 {
	n, err := strconv.ParseUint(os.Getenv("MINIBOT_POLICY_HISTORIES"), 10, 32)
	if os.Getenv("MINIBOT_POLICY_HISTORIES") == "" {
		n, err = 400, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPolicyThroughHistories(t *testing.T) {
	steps := 0
	for seed := range histories(t) {
		h := random(t, seed)
		h.through(1000)
		if steps += h.steps; h.failed {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Log(fmt.Sprint(steps, " looks"))
}

func FuzzPolicy(f *testing.F) {
	for seed := range 8 {
		f.Add(slices.Repeat([]byte{byte(seed), 3, 17, 120, 250, byte(7 * seed)}, 40))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 4096)]
		newHistory(t, &given{data}).through(len(data) / 4)
	})
}
