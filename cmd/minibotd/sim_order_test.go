package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"minibot/control"
	"minibot/database"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// This file is what people ask of a daemon in a simulation, and what must hold of the answers.

// simOrder is a change of secrets that somebody asked for.
type simOrder struct {
	n         int
	names     []secrets.Name
	atOnce    bool     // minibot is to bring all of it into force, or nothing
	agreed    []string // the databases that had what the store had when it was asked for
	ended     bool
	overtaken bool // by a lockdown
	err       error
}

// order has a person ask the present daemon for something, without waiting for it.
func (s *sim) order(what string, ask func(context.Context, *daemon) error) {
	d := s.daemon
	s.say("person: %s", what)
	s.orders.Go(func() {
		ctx, cancel := context.WithTimeout(s.t.Context(), changeTimeout+time.Minute)
		defer cancel()
		gone, leave := context.WithCancel(ctx)
		defer leave()
		stop := make(chan struct{})
		defer close(stop)
		go func() { // the connection ends with the daemon
			select {
			case <-d.ended:
				leave()
			case <-d.dead:
				leave()
			case <-stop:
			}
		}()
		err := ask(gone, d.daemon)
		s.say("person: %s: %v", what, err)
	})
}

func (s *sim) operation(verb control.Verb, service string) func(context.Context, *daemon) error {
	return func(ctx context.Context, d *daemon) error {
		err := d.Operate(ctx, control.Operation{Verb: verb, Service: service, All: verb == control.VerbUnlock}, func(control.Progress) {})
		if verb == control.VerbUnlock && errors.Is(err, rotation.ErrRolledBack) && !errors.Is(err, rotation.ErrUnfinished) {
			s.law.broken("a change that is over keeps the stack locked: %v", err)
		}
		return err
	}
}

func (s *sim) operate() {
	verbs := []control.Verb{control.VerbStop, control.VerbStart, control.VerbStart, control.VerbRestart, control.VerbReload}
	verb, service := verbs[s.rng.IntN(len(verbs))], s.service()
	if service == stack.KeeperService {
		service = ""
	}
	if s.rng.IntN(12) == 0 {
		verb, service = control.VerbLockdown, ""
		if s.daemon.forbidden() != nil {
			verb = control.VerbUnlock
		}
	}
	if verb == control.VerbLockdown {
		s.overtake()
	}
	s.law.excuse() // what depends on it may follow
	s.order(string(verb)+" "+service, s.operation(verb, service))
}

// asks notes a change of secrets, and returns what ends it.
func (s *sim) asks(atOnce bool, names ...secrets.Name) (n int, end func(error)) {
	agreed := s.agreeing()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &simOrder{n: len(s.asked) + 1, names: names, atOnce: atOnce, agreed: agreed}
	s.asked = append(s.asked, o)
	return o.n, func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.ended, o.err = true, err
	}
}

func (s *sim) someSecrets() []secrets.Name {
	names := slices.Clone(simSecrets)
	s.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:1+s.rng.IntN(3)]
}

func (s *sim) set() {
	names := s.someSecrets()
	n, end := s.asks(s.daemon.forbidden() == nil, names...) // under a lockdown they are merely stored, one by one
	order := control.ChangeOrder{}
	for _, name := range names {
		order.Changes = append(order.Changes, control.Change{Name: name, Value: s.canary(n, name).Reveal()})
	}
	s.law.excuse()
	s.order(fmt.Sprintf("set %v as %d", names, n), func(ctx context.Context, d *daemon) error {
		err := d.Change(ctx, order, func(control.Progress) {})
		end(err)
		s.tookBack(n, d, err)
		return err
	})
}

func (s *sim) rotate() {
	rollback := s.rng.IntN(3) == 0
	names := slices.DeleteFunc(s.someSecrets(), func(n secrets.Name) bool { return n == "SIGN_KEY" && !rollback })
	if len(names) == 0 {
		return
	}
	n, end := s.asks(false, names...)
	s.law.excuse()
	s.order(fmt.Sprintf("rotate %v, back %v", names, rollback), func(ctx context.Context, d *daemon) error {
		err := d.Rotate(ctx, control.Rotation{Names: names, Rollback: rollback}, func(control.Progress) {})
		end(err)
		s.tookBack(n, d, err)
		return err
	})
}

func (s *sim) setByHand() {
	name := s.someSecrets()[0]
	n, end := s.asks(false, name)
	s.law.excuse()
	err := s.store.Put(s.t.Context(), name, secrets.Current, s.canary(n, name))
	s.say("by hand: %s as %d: %v", name, n, err)
	end(err)
}

// overtake notes the orders that a lockdown finds under way, or waiting for their turn.
func (s *sim) overtake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.asked {
		o.overtaken = o.overtaken || !o.ended
	}
}

// interrupt locks the stack down while secrets change, and unlocks it.
func (s *sim) interrupt() {
	s.set()
	s.rest(time.Duration(s.rng.ExpFloat64() * float64(3*time.Second)))
	s.overtake()
	s.order("lockdown", s.operation(control.VerbLockdown, ""))
	s.rest(time.Duration(s.rng.ExpFloat64() * float64(10*time.Second)))
	s.law.excuse()
	s.order("unlock", s.operation(control.VerbUnlock, ""))
}

// lockPast is a command that writes the record, does not reach the daemon and dies. That is to notice.
func (s *sim) lockPast() {
	d := s.daemon
	s.overtake()
	if _, err := d.lock.file.Begin(s.t.Context(), "past the daemon"); err != nil {
		s.law.broken("%v", err)
	}
	within := noticeInterval
	if tell := s.telling(); s.rng.IntN(2) == 0 && tell != nil {
		tell()
		within = time.Second
	}
	s.law.excuse()
	s.rest(within + time.Second)
	if d.lock.killing.TryLock() { // else enforce waits for the engine still, for the lockdown before
		if d.forbidden() != nil && d.lockedDown() == nil {
			s.law.broken("a lockdown is not noticed within %v", within)
		}
		d.lock.killing.Unlock()
	}
	s.order("unlock", s.operation(control.VerbUnlock, ""))
}

var simDatabases = map[string]secrets.Name{"db": "DB_PASSWORD", "cache": "CACHE_PASSWORD"} // by service

// agreeing lists the databases that take what the store has.
func (s *sim) agreeing() []string {
	var list []string
	for service, name := range simDatabases {
		item, err := s.store.Get(s.t.Context(), name, secrets.Current)
		if err == nil && s.dbs[service].Lets(database.Credential{Password: item.Value}) {
			list = append(list, service)
		}
	}
	return list
}

// tookBack judges a change that was rolled back, when who asked for it hears so: the databases that had what the store had have it
// again. Where another change goes on, or came after it, nothing can be said.
func (s *sim) tookBack(n int, d *daemon, err error) {
	if !errors.Is(err, rotation.ErrRolledBack) || errors.Is(err, rotation.ErrUnfinished) || len(d.rotator.Open()) > 0 {
		return
	}
	if _, err := s.store.List(s.t.Context()); err != nil { // it is locked
		return
	}
	for _, service := range s.lostBy(n, s.agreeing()) {
		if len(d.rotator.Open()) == 0 {
			s.law.broken("change %d was rolled back, and %s refuses the %s of the store", n, service, simDatabases[service])
		}
	}
}

// lostBy lists the databases of the nth order that agreed with the store before it and are not among those that do now, unless
// another order may be why.
func (s *sim) lostBy(n int, agree []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.asked[n-1]
	return slices.DeleteFunc(slices.Clone(o.agreed), func(service string) bool {
		name := simDatabases[service]
		return slices.Contains(agree, service) || !slices.Contains(o.names, name) || slices.ContainsFunc(s.asked, func(other *simOrder) bool {
			return slices.Contains(other.names, name) && (other.n > n || other.n < n && !other.ended)
		})
	})
}

// outcome judges a change that was to be all new or all old, by what is in force now.
func (o *simOrder) outcome(inForce func(secrets.Name) int, later func(secrets.Name) bool) error {
	names := slices.DeleteFunc(slices.Clone(o.names), later)
	news := 0
	for _, name := range names {
		if inForce(name) == o.n {
			news++
		}
	}
	switch {
	case !o.atOnce || len(names) == 0:
	case o.overtaken && o.err != nil && !errors.Is(o.err, control.ErrLockedDown): // not begun when the lockdown came: stored one by one
	case o.ended && o.err == nil && news < len(names):
		return fmt.Errorf("change %d of %v succeeded, but only %d of %v are in force", o.n, o.names, news, names)
	case o.ended && errors.Is(o.err, rotation.ErrRolledBack) && news > 0:
		return fmt.Errorf("change %d of %v was rolled back, but %d of %v are in force", o.n, o.names, news, names)
	case news > 0 && news < len(names):
		return fmt.Errorf("change %d of %v is half in force", o.n, o.names)
	}
	return nil
}
