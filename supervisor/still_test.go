package supervisor

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// keepsStill makes sure that a state that is said to be still is: whenever the policy looks at the same again, it decides
// nothing, remembers the same and shows the same.
func (h *history) keepsStill(seen Seen) {
	if !h.st.still(h.next) {
		return
	}
	h.still++
	before, shown := h.st.clone(), summarize(h.st, h.wanted, seen, h.now)
	for _, passed := range []time.Duration{-time.Hour, 0, time.Second, 30 * time.Second, 3 * time.Minute, 11 * time.Minute, 7 * time.Hour} {
		later := h.now.Add(passed)
		st, actions, next := h.p.decide(h.st, h.wanted, seen, later)
		switch {
		case len(actions) > 0 || len(st.events) > 0 || !next.IsZero():
			h.fail("still, but %v later: %v, %v, next %v", passed, actions, st.events, next)
		case !reflect.DeepEqual(st.clone(), before):
			h.fail("still, but another state %v later", passed)
		case !reflect.DeepEqual(summarize(st, h.wanted, seen, later), shown):
			h.fail("still, but shown otherwise %v later", passed)
		}
	}
}

// What is as it is wanted comes to be still, once its failures are forgotten.
func (h *history) comesStill() {
	if h.failed {
		return
	}
	for end := h.now.Add(flapWindow + time.Hour); !h.st.still(h.next); h.step() {
		if h.now.After(end) || h.failed {
			h.fail("not still: next %v", h.next)
			return
		}
	}
	if h.still == 0 {
		h.fail("nothing was tried")
	}
}

func TestSame(t *testing.T) {
	seen := func() Seen {
		c := up(HealthHealthy)
		return Seen{Fed: true, Containers: map[string]Container{"a": c, "b": c}}
	}
	changes := map[string]func(*Seen, *Container){
		"fed": func(s *Seen, _ *Container) { s.Fed = false }, "more": func(s *Seen, _ *Container) { s.More = true },
		"one less":   func(s *Seen, _ *Container) { delete(s.Containers, "b") },
		"one more":   func(s *Seen, c *Container) { s.Containers["c"] = *c },
		"health":     func(_ *Seen, c *Container) { c.Health = HealthUnhealthy },
		"instance":   func(_ *Seen, c *Container) { c.Instance = "i@2" },
		"stale":      func(_ *Seen, c *Container) { c.Stale = true },
		"name alone": func(_ *Seen, c *Container) { c.Name = "other" },
	}
	for what, change := range changes {
		a, b := seen(), seen()
		c := b.Containers["a"]
		change(&b, &c)
		b.Containers["a"] = c
		if same(a, b) {
			t.Errorf("%s: the same", what)
		}
	}
	a, b := seen(), seen()
	c := b.Containers["a"]
	c.Checked = epoch.Add(time.Hour)
	b.Containers["a"] = c
	if !same(a, b) {
		t.Error("a healthcheck has ended: not the same")
	}
}

// A loop at rest decides nothing, and does as soon as there is something to decide.
func TestNothingIsDecidedAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, stack())
		s := New(e, Options{})
		l := s.newLoop()
		decides := func(what string, want bool) {
			t.Helper()
			before := reflect.ValueOf(l.state.services).Pointer()
			if err := l.turn(t.Context(), t.Context()); err != nil {
				t.Fatal(err)
			}
			l.jobs.Wait()
			if decided := reflect.ValueOf(l.state.services).Pointer() != before; decided != want {
				t.Errorf("%s: decided: %v", what, decided)
			}
		}
		s.Apply(stack())
		for end := time.Now().Add(15 * time.Minute); time.Now().Before(end); <-time.After(30 * time.Second) {
			decides("the stack comes up", !l.still)
		}
		if l.Status().Phase != AllHealthy || !l.still {
			t.Fatalf("%+v, still %v", l.Status(), l.still)
		}
		decides("nothing happened", false)
		s.wake("cache", time.Now())
		decides("an event that tells nothing", false)
		ticket := s.Wake()
		decides("somebody wants a look", true)
		if l.Status().Ticket < ticket {
			t.Error("whoever waits for the ticket waits for ever")
		}
		s.Apply(stack())
		decides("wanted anew", true)
		decides("nothing happened again", false)
		l.unreachable(errGone)
		decides("the engine is back", true)
		if l.Status().Phase != AllHealthy {
			t.Errorf("%+v", l.Status())
		}
		e.locked(func() { e.more = 1 })
		decides("a look that does not see all", true)
		decides("a look that does", true)
		decides("nothing happened once more", false)
		e.kill("cache")
		decides("something died, and no event told", true)
		if a := e.done[len(e.done)-1]; a.Kind != ActionStart || a.Service != "cache" {
			t.Errorf("%+v", a)
		}
	})
}
