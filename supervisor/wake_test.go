package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGap(t *testing.T) {
	for name, tt := range map[string]struct {
		mono, wall, within time.Duration
		slept, back        time.Duration
	}{
		"nothing":                        {10 * time.Second, 10 * time.Second, 30 * time.Second, 0, 0},
		"a slow machine":                 {55 * time.Second, 55 * time.Second, 30 * time.Second, 0, 0},
		"a clock that is corrected":      {10 * time.Second, 35 * time.Second, 30 * time.Second, 0, 0},
		"asleep for three hours":         {12 * time.Second, 3*time.Hour + 12*time.Second, 30 * time.Second, 3 * time.Hour, 0},
		"asleep and woken by the timer":  {30 * time.Second, time.Hour + 30*time.Second, 30 * time.Second, time.Hour, 0},
		"stopped for five minutes":       {5 * time.Minute, 5 * time.Minute, 30 * time.Second, 5*time.Minute - 30*time.Second, 0},
		"stopped, then asleep":           {2 * time.Minute, 12 * time.Minute, 0, 12 * time.Minute, 0},
		"set forward by a year":          {0, 365 * 24 * time.Hour, 0, 365 * 24 * time.Hour, 0},
		"set back by two hours":          {10 * time.Second, -2*time.Hour + 10*time.Second, 30 * time.Second, 0, 2 * time.Hour},
		"set back while it was stopped":  {10 * time.Minute, -time.Hour, 0, 10 * time.Minute, 70 * time.Minute},
		"half a minute is not yet a gap": {0, 30 * time.Second, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			from := moment{time.Now(), time.Now()}
			slept, back := gap(from, moment{from.mono.Add(tt.mono), from.wall.Add(tt.wall)}, tt.within)
			if slept != tt.slept || back != tt.back {
				t.Errorf("slept %v, back %v, want %v, %v", slept, back, tt.slept, tt.back)
			}
		})
	}
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{45 * time.Second: "45s", 12*time.Minute + 3*time.Second: "12m",
		3*time.Hour + 12*time.Minute: "3h12m", 49 * time.Hour: "49h00m"} {
		if got := spell(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestGraceAfterWake lets one service be seen again and again after a wake.
func TestGraceAfterWake(t *testing.T) {
	seen := func(health Health, checked int, run string) Container {
		c := up(health)
		c.Checked, c.Instance = epoch.Add(time.Duration(checked)*time.Second), run
		return c
	}
	never := make([]Container, 23)
	for i := range never {
		never[i] = seen(HealthUnhealthy, 1, "i@1")
	}
	for name, tt := range map[string]struct {
		looks []Container // each after the time that the policy asked for
		want  []string    // the action of each look
		took  time.Duration
	}{
		"a streak of before the sleep": {[]Container{seen(HealthUnhealthy, 1, "i@1"), seen(HealthUnhealthy, 1, "i@1"), seen(HealthHealthy, 3, "i@1"),
			seen(HealthHealthy, 4, "i@1")}, []string{"", "", "", ""}, 0},
		"sick after the sleep too": {[]Container{seen(HealthUnhealthy, 1, "i@1"), seen(HealthUnhealthy, 2, "i@1"), seen(HealthUnhealthy, 3, "i@1")},
			[]string{"", "", "restart"}, 2 * wakeLook},
		"the check that was under way counts for nothing": {[]Container{seen(HealthHealthy, 1, "i@1"), seen(HealthUnhealthy, 2, "i@1"), seen(HealthHealthy, 3, "i@1")},
			[]string{"", "", ""}, 0},
		"dead":              {[]Container{{ID: "i", ExitCode: 1, Instance: "i@1", StartedAt: epoch}}, []string{"start"}, 0},
		"another container": {[]Container{seen(HealthUnhealthy, 1, "i@1"), seen(HealthUnhealthy, 1, "i@2")}, []string{"", "restart"}, wakeLook},
		"no check ends in time": {append(never, seen(HealthUnhealthy, 1, "i@1"), seen(HealthUnhealthy, 1, "i@1")),
			append(make([]string, 24), "restart"), wakeGrace},
	} {
		t.Run(name, func(t *testing.T) {
			p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
			w := Wanted{Services: map[string]Service{"a": {Name: "a", Healthcheck: true}}}
			st, _, _ := p.decide(state{services: map[string]*record{}}, w, Seen{Containers: map[string]Container{"a": seen(HealthHealthy, 0, "i@1")}}, epoch)
			now := epoch
			st = st.woke(now)
			for i, c := range tt.looks {
				var actions []Action
				var next time.Time
				st, actions, next = p.decide(st, w, Seen{Containers: map[string]Container{"a": c}}, now)
				got := ""
				if len(actions) > 0 {
					got = actions[0].Kind.String()
				}
				if got != tt.want[i] {
					t.Fatalf("look %d: %q, want %q", i+1, got, tt.want[i])
				}
				if took := now.Sub(epoch); got == "restart" && took != tt.took {
					t.Errorf("restarted after %v, want %v", took, tt.took)
				}
				if next.IsZero() {
					next = now.Add(p.options.Tick)
				}
				now = next
			}
		})
	}
}

// sleeper is a rig whose wall clock jumps.
type sleeper struct {
	*rig
	offset atomic.Int64
	woken  atomic.Int64 // calls of OnWake
}

func (s *sleeper) sleep(d time.Duration) { s.offset.Add(int64(d)) }

// asleep runs f with a supervisor of w on a machine that can sleep.
func asleep(t *testing.T, w Wanted, f func(*sleeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &sleeper{}
		s.rig = newRig(t, w, func(o *Options) {
			o.Wall = func() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }
			o.OnWake = func() { s.woken.Add(1) }
		})
		s.Apply(w)
		f(s)
		s.end()
	})
}

func TestWakeLooksAnewAndForgets(t *testing.T) {
	asleep(t, stack(), func(s *sleeper) {
		s.phase(AllHealthy)
		s.set("db", func(c *script) { c.startErr = errGone })
		s.kill("db")
		s.phase(Degraded)
		s.after(time.Second)
		s.taken()
		watches := s.watched()
		s.set("db", func(c *script) { c.startErr = nil })
		s.sleep(3*time.Hour + 12*time.Minute)
		s.Wake() // something stirs
		synctest.Wait()
		if got := s.taken(); len(got) != 1 || got[0] != "start db" { // although its pause was a minute
			t.Errorf("%q", got)
		}
		if e := s.of(EventWoke); e.Reason != "woke after 3h12m" || s.count(EventWoke) != 1 || s.woken.Load() != 1 {
			t.Errorf("%+v, %d events, %d calls", e, s.count(EventWoke), s.woken.Load())
		}
		if n := s.watched() - watches; n != 1 {
			t.Errorf("watched anew %d times", n)
		}
		if n := s.count(EventUnreachable); n != 0 {
			t.Errorf("%d times unreachable", n)
		}
		s.phase(AllHealthy)
	})
}

// Without anything that stirs the tick finds the wake.
func TestWakeIsFoundByTheTick(t *testing.T) {
	asleep(t, stack(), func(s *sleeper) {
		s.phase(AllHealthy)
		s.after(time.Second)
		s.taken()
		s.sleep(time.Hour)
		s.after(31 * time.Second)
		if s.count(EventWoke) != 1 {
			t.Errorf("%d events", s.count(EventWoke))
		}
		s.want()
	})
}

// A health of before the sleep restarts nothing.
func TestWakeGivesGrace(t *testing.T) {
	asleep(t, stack(), func(s *sleeper) {
		s.phase(AllHealthy)
		s.after(time.Second)
		s.taken()
		s.sleep(8 * time.Hour)
		s.sicken("db")
		synctest.Wait()
		s.want()
		if status, _ := s.Status().Service("db"); status.State != "running" || !strings.Contains(status.Reason, "before the sleep") {
			t.Errorf("%+v", status)
		}
		s.after(20 * time.Second)
		s.locked(func() { s.boxes["db"].Health = HealthHealthy; s.event("db") })
		s.after(5 * time.Minute)
		s.want()
	})
}

// A sleep in the middle of a look: what was seen is of before it.
func TestWakeInTheMiddleOfALook(t *testing.T) {
	asleep(t, stack(), func(s *sleeper) {
		s.phase(AllHealthy)
		s.after(time.Second)
		s.taken()
		s.locked(func() { s.mute = true })
		s.kill("cache")
		s.locked(func() {
			s.looking = func(look int) {
				if look == 1 {
					s.sleep(time.Hour)
				}
				if look == 2 && len(s.engine.done) > 0 {
					t.Errorf("acted on what was seen before the sleep: %v", s.engine.done)
				}
			}
		})
		s.Wake()
		synctest.Wait()
		if s.count(EventWoke) != 1 {
			t.Errorf("%d events", s.count(EventWoke))
		}
		s.after(time.Minute)
		s.want("start cache")
	})
}

// A wake while the engine is away: it is dialled again at once.
func TestWakeWhileTheEngineIsAway(t *testing.T) {
	asleep(t, stack(), func(s *sleeper) {
		s.phase(AllHealthy)
		s.leave(10 * time.Minute)
		s.phase(Unreachable)
		s.after(time.Minute)
		s.sleep(time.Hour)
		s.after(10 * time.Second)
		if s.count(EventWoke) != 1 {
			t.Errorf("%d events", s.count(EventWoke))
		}
		s.phase(AllHealthy)
	})
}

func TestClockSetBackIsNoWake(t *testing.T) {
	asleep(t, stack(), func(s *sleeper) {
		s.phase(AllHealthy)
		s.after(time.Second)
		s.taken()
		watches := s.watched()
		s.sleep(-2 * time.Hour)
		s.after(2 * time.Minute)
		s.want()
		if e := s.of(EventClock); e.Reason != "the clock was set back by 2h00m" || s.count(EventClock) != 1 || s.count(EventWoke) != 0 || s.watched() != watches {
			t.Errorf("%+v", e)
		}
		s.kill("cache")
		s.phase(AllHealthy)
		s.after(time.Second)
		s.want("start cache")
	})
}

// TestNoActionBetweenWakeAndLook lets the machine sleep at random moments of a random life, in the middle of looks too.
// No action may be issued before a look that began after the wake, and all is well in the end.
func TestNoActionBetweenWakeAndLook(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := stack()
			asleep(t, w, func(s *sleeper) {
				rng, inLooks := rand.New(rand.NewPCG(seed, 2)), rand.New(rand.NewPCG(seed, 3))
				l := &law{t: t, engine: s.engine, wanted: w, heals: map[string]int{}, last: map[string]time.Time{}}
				stale, sleeps := false, int64(0)
				s.locked(func() {
					s.looking = func(int) {
						stale = false
						if inLooks.IntN(8) == 0 {
							stale = true
							sleeps++
							s.sleep(time.Minute + time.Duration(inLooks.Int64N(int64(9*time.Hour))))
						}
					}
				})
				s.rig.mu.Lock()
				s.check = func(e Event) { // on the loop's goroutine: an action that was issued before a sleep may still be on its way
					if e.Kind == EventHeal || e.Kind == EventKind(e.Action.String()) {
						s.locked(func() {
							if stale {
								t.Errorf("%v %s on a look from before the sleep", e.Action, e.Service)
							}
						})
					}
				}
				s.rig.mu.Unlock()
				for range 80 {
					harm(s.rig, l, rng)
					s.after(time.Duration(rng.ExpFloat64() * float64(5*time.Second)))
					if rng.IntN(4) == 0 {
						s.locked(func() { stale, sleeps = true, sleeps+1 })
						s.sleep(time.Minute + time.Duration(rng.Int64N(int64(9*time.Hour))))
					}
				}
				s.locked(func() {
					s.looking, s.mute, s.feedErr = nil, false, nil
					stale = false
					for name := range s.scripts {
						s.scripts[name] = script{healthy: 2 * time.Second}
						if b := s.boxes[name]; b != nil {
							b.Paused = false
						}
					}
				})
				l.apply(s.rig, func(string, *Service) {}, true)
				s.phase(AllHealthy)
				s.after(5 * time.Minute)
				if status := s.Status(); status.Phase != AllHealthy || sleeps == 0 || s.woken.Load() == 0 {
					t.Errorf("at the end: %+v, %d sleeps, %d wakes", status, sleeps, s.woken.Load())
				}
			})
		})
	}
}

func (e *engine) watched() (n int) {
	e.locked(func() { n = e.watches })
	return n
}

// A session that ends with a wake ends its watch.
func TestWakeEndsTheWatch(t *testing.T) {
	var open atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, stack())
		var offset atomic.Int64
		s := New(counting{e, &open}, Options{Wall: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
		s.Apply(stack())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = s.Serve(ctx) }()
		for range 5 {
			synctest.Wait()
			if n := open.Load(); n != 1 {
				t.Errorf("%d watches are open", n)
			}
			offset.Add(int64(time.Hour))
			s.Wake()
		}
		synctest.Wait()
		cancel()
		<-ended
		if n := open.Load(); n != 0 {
			t.Errorf("%d watches are left", n)
		}
	})
}

type counting struct {
	*engine
	open *atomic.Int64
}

func (c counting) Watch(ctx context.Context, ready func(), wake func(string, time.Time)) error {
	c.open.Add(1)
	defer c.open.Add(-1)
	return c.engine.Watch(ctx, ready, wake)
}
