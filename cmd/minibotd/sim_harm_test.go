package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"minibot/control"
	"minibot/stack"
)

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
	{2, "a lockdown in the middle of a change", (*sim).interrupt},
	{1, "a lockdown past the daemon", (*sim).lockPast},
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
