package supervisor

import (
	"maps"
	"slices"
	"time"

	"minibot/hint"
)

// state is everything that the policy remembers between two looks. Only the loop's goroutine holds one.
type state struct {
	services  map[string]*record
	project   *Action // the action in flight that concerns the whole project
	created   uint64  // the last Wanted.Create that was carried out
	creating  uint64  // the Wanted.Create that the last ActionCreate was for
	noticed   uint64  // the last Wanted.Create that was seen
	create    retry
	feed      retry
	withdraw  retry
	withdrawn bool
	err, hint string    // of the last project action, until one succeeds
	lost      time.Time // when the engine was lost that has not been looked at since; zero: it was not
	events    []Event   // what the last step noticed
}

// record is what is remembered of one service.
type record struct {
	wanted    Service
	busy      *Action   // in flight
	requested bool      // a person asked for a restart
	asked     bool      // while it was down something changed that a person did: it is started in spite of a maintenance
	rests     time.Time // until when it is not healed, as last told; zero: it is
	cond      condition
	instance  string
	runsSince time.Time // when instance was first seen to run, by our own clock; zero while it does not
	up        bool      // was seen up since it was last wanted up
	lost      bool      // its container vanished after it was up
	goodSince time.Time // by our own clock: the engine's may be another machine's
	trouble   time.Time // when the present trouble was noticed
	told      time.Time // when what was told as degraded was noticed; zero once it was told as recovered
	heal      retry
	firstTry  bool  // the only attempt was the first start of all, which is no heal
	soft      retry // stop, adoption, following: what is done to a service that is not sick
	failures  []time.Time
	degraded  bool
	shut      bool        // was stopped because it was unhealthy, and stays down
	gaveUp    bool        // too many attempts failed
	healed    []time.Time // when heals of it helped: the last few, see flaps
	flapping  bool        // they were so many that somebody was told
	well      *standing   // when it was last well; nil: it was not, or that has been made use of
	excused   bool        // it is down because the engine restarted
	pardoned  []time.Time // when that was
	restarts  int
	err, hint string
	against   map[string]string // instance of each followed dependency that it was started against
	pending   map[string]string // likewise, for a start in flight, or one that failed and may have come about all the same
	grace     grace
	view      view
}

// view is what a person is shown of a service.
type view struct {
	state, reason, hint string
	stuck               bool // goes on only when a person acts
	settled             bool // is as it is wanted
	since               time.Time
}

// retry paces the attempts at one thing: the first at once, each further one after a delay that doubles.
type retry struct {
	tries     int
	open      bool // an attempt was made and not yet seen to have failed
	delay     time.Duration
	notBefore time.Time
	restarts  int       // those of the attempts that were made because it was unhealthy
	restful   time.Time // since when there has been no need
}

func (s state) clone() state {
	services := make(map[string]*record, len(s.services))
	for name, r := range s.services {
		c := *r
		c.failures, c.healed = slices.Clone(r.failures), slices.Clone(r.healed)
		c.pardoned = slices.Clone(r.pardoned)
		c.against = maps.Clone(r.against)
		c.pending = maps.Clone(r.pending)
		services[name] = &c
	}
	s.services = services
	s.events = nil
	return s
}

// urged returns the state after someone asked to look again: what the project waits for is tried at once.
func (s state) urged() state {
	s.create, s.feed, s.withdraw = retry{}, retry{}, retry{}
	return s
}

// issue notes that action is in flight.
func (s *state) issue(action Action) {
	switch action.Kind {
	case ActionCreate, ActionFeed, ActionWithdraw:
		s.project = &action
	default:
		s.services[action.Service].busy = &action
	}
}

// finish returns the state after action ended with err. Whether it helped is for the next observation to say.
func (s state) finish(action Action, err error) state {
	s = s.clone()
	text, advice := "", ""
	if err != nil {
		text, advice = action.Kind.String()+" failed: "+err.Error(), hint.Of(err)
	}
	switch action.Kind {
	case ActionCreate, ActionFeed, ActionWithdraw:
		s.project, s.err, s.hint = nil, text, advice
		if err == nil && action.Kind == ActionCreate {
			s.created = s.creating
		}
		s.withdrawn = err == nil && action.Kind == ActionWithdraw
		return s
	}
	r, ok := s.services[action.Service]
	if !ok {
		return s
	}
	r.busy, r.err, r.hint = nil, text, advice
	if err == nil {
		r.finished(action.Kind)
	}
	return s
}

func (r *record) finished(kind ActionKind) {
	switch kind {
	case ActionStart, ActionRestart, ActionRecreate:
		r.up, r.lost = true, false
		r.settle()
	case ActionStop, ActionKill:
		if r.shut { // no wish of a person's: it is still wanted up
			return
		}
		r.up, r.lost = false, false
		r.calm()
	}
}

// settle notes that the start in flight has come about.
func (r *record) settle() {
	if r.pending != nil {
		r.against, r.pending = r.pending, nil
	}
}

// calm forgets all failures: a person changed something, or the service proved itself.
func (r *record) calm() {
	r.heal, r.soft = retry{}, retry{}
	r.failures, r.degraded, r.shut, r.gaveUp = nil, false, false, false
	r.err, r.hint, r.trouble = "", "", time.Time{}
}

// attempt notes that an attempt is made.
func (r *retry) attempt() {
	r.tries++
	r.open = true
}

// rest notes that there is no need now, and forgets the attempts once that has lasted. A single attempt that helped is
// believed at once, so that the next need is met without delay, but not the one after it.
func (r *retry) rest(now time.Time) {
	switch {
	case r.tries == 0:
	case r.restful.IsZero():
		r.restful = now
		r.open = r.open && r.tries > 1
	case now.Sub(r.restful) >= stable:
		*r = retry{}
	}
}
