package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"minibot/control"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// simOrder is a change of secrets that somebody asked for.
type simOrder struct {
	n      int
	names  []secrets.Name
	atOnce bool // minibot is to bring all of it into force, or nothing
	ended  bool
	err    error
}

var simHarms = []struct {
	share int
	name  string
	do    func(*sim)
}{
	{6, "a container is killed", func(s *sim) { s.anyone(func(c *simContainer) { s.m.end(c, 137, false) }) }},
	{3, "a container runs out of memory", func(s *sim) { s.anyone(func(c *simContainer) { s.m.end(c, 137, true) }) }},
	{6, "a container gets sick", func(s *sim) { s.anyone(func(c *simContainer) { s.m.turn(c, "unhealthy") }) }},
	{3, "a container gets well by itself", func(s *sim) {
		s.anyone(func(c *simContainer) {
			if c.health == "unhealthy" {
				s.m.turn(c, "healthy")
			}
		})
	}},
	{4, "a container vanishes", func(s *sim) { s.anyone(s.m.remove) }},
	{2, "a container is renamed", func(s *sim) { s.anyone(func(c *simContainer) { c.name += "-x"; s.m.tell(c, "rename", 0) }) }},
	{3, "a container is paused", func(s *sim) { s.anyone(func(c *simContainer) { s.m.hold(c, true) }) }},
	{4, "all go on", func(s *sim) { s.everyone(func(c *simContainer) { s.m.hold(c, false) }) }},
	{8, "a service behaves otherwise from now on", func(s *sim) {
		modes := []string{"", "", "", "crashes", "sick", "hangs", "slow", "flaps", "refuses"}
		mode, service := modes[s.rng.IntN(len(modes))], s.service()
		s.say("%s: %q", service, mode)
		s.m.mu.Lock()
		defer s.m.mu.Unlock()
		s.m.modes[service] = mode
	}},
	{4, "all behave again", func(s *sim) { s.m.mu.Lock(); defer s.m.mu.Unlock(); clear(s.m.modes) }},
	{3, "the engine restarts", func(s *sim) {
		s.m.mu.Lock()
		s.m.down(s.rng.IntN(2) == 0)
		s.m.mu.Unlock()
		s.rest(time.Duration(s.rng.ExpFloat64() * float64(20*time.Second)))
		s.m.mu.Lock()
		s.m.back()
		s.m.mu.Unlock()
	}},
	{1, "the network is removed", func(s *sim) { s.m.mu.Lock(); defer s.m.mu.Unlock(); s.m.network = 0 }},
	{2, "a container is taken off its network", func(s *sim) {
		s.anyone(func(c *simContainer) { c.astray = c.service != stack.KeeperService; s.m.tell(c, "disconnect", 0) })
	}},
	{2, "docker compose up", func(s *sim) { s.byHand(true, true) }},
	{2, "docker compose down", func(s *sim) { s.byHand(true, false) }},
	{2, "docker compose restart", func(s *sim) {
		s.everyone(func(c *simContainer) {
			s.m.end(c, 143, false)
			_ = s.m.start(c) // what fails shows in the container
		})
	}},
	{3, "the machine sleeps, or the clock jumps", func(s *sim) {
		s.mu.Lock()
		s.sleeps += time.Duration(s.rng.NormFloat64() * float64(2*time.Hour))
		s.mu.Unlock()
		s.law.excuse()
	}},
	{2, "the store is locked", func(s *sim) { s.store.Lock() }},
	{2, "the store denies", func(s *sim) { s.store.Deny(true) }},
	{8, "the store is open", func(s *sim) { s.store.Unlock(); s.store.Deny(false) }},
	{5, "minibotd is killed", (*sim).kill},
	{2, "minibotd is restarted", (*sim).restart},
	{6, "a person operates", (*sim).operate},
	{8, "a person sets secrets", (*sim).set},
	{4, "a person rotates", (*sim).rotate},
	{2, "a secret is changed by hand", (*sim).setByHand},
	{2, "the compose file changes", func(s *sim) {
		s.version = fmt.Sprint(1 + s.rng.IntN(2))
		s.describe(s.daemon.paths)
		s.law.excuse()
		s.order("reload", s.operation(control.VerbReload, ""))
	}},
}

// harm does one thing of the list.
func (s *sim) harm() {
	total := 0
	for _, h := range simHarms {
		total += h.share
	}
	pick := s.rng.IntN(total)
	for _, h := range simHarms {
		if pick -= h.share; pick < 0 {
			s.say("--- %s", h.name)
			h.do(s)
			return
		}
	}
}

func (s *sim) rest(d time.Duration) { <-time.After(d) }

func (s *sim) service() string {
	names := slices.Sorted(maps.Keys(s.m.apps))
	return names[s.rng.IntN(len(names))]
}

// anyone does something to a container of a random service.
func (s *sim) anyone(do func(*simContainer)) {
	service := s.service()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if c := s.m.one(service, ""); c != nil && s.m.up {
		do(c)
		if service == stack.KeeperService && !c.running && s.rng.IntN(2) == 0 { // a kill from the host, not by the engine
			s.m.keep(c)
		}
	}
}

// everyone does something to every container but the keeper.
func (s *sim) everyone(do func(*simContainer)) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.m.all)) {
		if c := s.m.all[id]; c != nil && s.m.up && c.service != stack.KeeperService {
			do(c)
		}
	}
}

// hold pauses a container, or lets it go on.
func (m *simMachine) hold(c *simContainer, paused bool) {
	if c.running && c.paused != paused {
		if c.well() {
			m.good[c.service] = time.Now()
		}
		m.good["sick "+c.service] = time.Now()
		c.paused = paused
		m.tell(c, map[bool]string{true: "pause", false: "unpause"}[paused], 0)
	}
}

// byHand is docker compose of a second person, who has no secrets.
func (s *sim) byHand(down, up bool) {
	project := s.project()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if !s.m.up {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		for _, c := range s.m.of(name) {
			if down {
				s.m.remove(c)
			}
		}
		if up {
			if s.m.network == 0 {
				s.m.made++
				s.m.network = s.m.made
			}
			_ = s.m.start(s.m.create(name, simName(project, name), "by hand", true)) // what fails shows in the container
		}
	}
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
		return d.Operate(ctx, control.Operation{Verb: verb, Service: service, All: verb == control.VerbUnlock}, func(control.Progress) {})
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
	s.law.excuse() // what depends on it may follow
	s.order(string(verb)+" "+service, s.operation(verb, service))
}

// asks notes a change of secrets, and returns what ends it.
func (s *sim) asks(atOnce bool, names ...secrets.Name) (n int, end func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &simOrder{n: len(s.asked) + 1, names: names, atOnce: atOnce}
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
		return err
	})
}

func (s *sim) rotate() {
	rollback := s.rng.IntN(3) == 0
	names := slices.DeleteFunc(s.someSecrets(), func(n secrets.Name) bool { return n == "SIGN_KEY" && !rollback })
	if len(names) == 0 {
		return
	}
	_, end := s.asks(false, names...)
	s.law.excuse()
	s.order(fmt.Sprintf("rotate %v, back %v", names, rollback), func(ctx context.Context, d *daemon) error {
		err := d.Rotate(ctx, control.Rotation{Names: names, Rollback: rollback}, func(control.Progress) {})
		end(err)
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

// look is what `minibotd status` shows, and what must hold of it.
func (s *sim) look() control.Status {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	status, err := s.daemon.Status(ctx)
	if err != nil {
		s.law.broken("status: %v", err)
	}
	if status.Phase == control.PhaseDegraded && status.Reason == "" {
		s.law.broken("degraded without a reason: %+v", status)
	}
	for _, service := range status.Services {
		if service.State == stateDegraded && service.Reason == "" && service.Health != "healthy" {
			s.law.broken("%s is degraded without a reason", service.Name)
		}
	}
	s.conceals("the status", fmt.Appendf(nil, "%+v", status))
	s.law.heed()
	return status
}

// conceals makes sure that no value of the store is in what a daemon shows. One that the store has no more may be: a service can
// print what it was given long ago, and nobody knows it any more.
func (s *sim) conceals(what string, shown []byte) {
	if !bytes.Contains(shown, []byte("canary-")) {
		return
	}
	entries, err := s.store.List(s.t.Context())
	if err != nil { // it is locked
		return
	}
	for _, e := range entries {
		item, err := s.store.Get(s.t.Context(), e.Name, e.Slot)
		s.must(err)
		if i := bytes.Index(shown, item.Value.Reveal()); i >= 0 && bytes.HasPrefix(item.Value.Reveal(), []byte("canary-")) {
			s.law.broken("the %s value of %s is in %s: …%s", e.Slot, e.Name, what, shown[max(0, i-200):i+40])
		}
	}
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
	case o.ended && o.err == nil && news < len(names):
		return fmt.Errorf("change %d of %v succeeded, but only %d of %v are in force", o.n, o.names, news, names)
	case o.ended && errors.Is(o.err, rotation.ErrRolledBack) && news > 0:
		return fmt.Errorf("change %d of %v was rolled back, but %d of %v are in force", o.n, o.names, news, names)
	case news > 0 && news < len(names):
		return fmt.Errorf("change %d of %v is half in force", o.n, o.names)
	}
	return nil
}
