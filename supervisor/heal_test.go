package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// one is a single service with a healthcheck, healed as h says.
func one(h Heal) Wanted {
	return Wanted{Services: map[string]Service{"db": {Healthcheck: true, Heal: h}}}
}

func (r *rig) db() ServiceStatus {
	s, _ := r.Status().Service("db")
	return s
}

func TestUnhealthyIsRecreated(t *testing.T) {
	simulate(t, one(Heal{Unhealthy: RemedyRecreate, StopTimeout: 5 * time.Second}), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.sicken("db")
		synctest.Wait()
		r.locked(func() {
			if a := r.engine.done[0]; a.Kind != ActionRecreate || !a.Heal || a.StopTimeout != 5*time.Second {
				r.t.Errorf("%+v", a)
			}
		})
		r.phase(AllHealthy)
		r.want("recreate db")
		r.kill("db") // an exit needs no new container
		r.after(5 * time.Second)
		r.want("start db")
	})
}

// What a person asks, and a changed secret, get the service's own time to stop.
func TestStopTimeoutIsOfHealsOnly(t *testing.T) {
	w := one(Heal{StopTimeout: 5 * time.Second})
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		if err := r.Restart(r.t.Context(), "db"); err != nil {
			r.t.Fatal(err)
		}
		r.phase(AllHealthy)
		r.locked(func() { r.stale["db"] = true })
		r.Wake()
		r.after(time.Minute)
		db := w.Services["db"]
		db.Stopped = true
		w.Services["db"] = db
		r.Apply(w)
		r.phase(AllStopped)
		r.locked(func() {
			for _, a := range r.engine.done {
				if a.StopTimeout != 0 {
					r.t.Errorf("%+v", a)
				}
			}
		})
		r.want("create", "start db", "restart db", "restart db", "stop db", "withdraw")
	})
}

func TestUnhealthyIsStoppedForGood(t *testing.T) {
	w := one(Heal{Unhealthy: RemedyStop})
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.sicken("db")
		r.phase(Degraded)
		r.after(time.Hour)
		r.want("stop db")
		s := r.Status()
		if db := r.db(); s.Phase != Degraded || !db.Stuck || db.Hint != "minibotd restart db" || db.Reason != "stopped because it was unhealthy" || db.Restarts != 0 {
			r.t.Errorf("%+v", s)
		}
		if n := r.count(EventDegraded); n != 1 {
			r.t.Errorf("%d events", n)
		}
		r.remove("db") // a new container of it is no reason to start it
		r.after(time.Minute)
		r.want("create")
		if err := r.Restart(r.t.Context(), "db"); err != nil {
			r.t.Fatal(err)
		}
		r.phase(AllHealthy)
		r.want("start db")
		if e := r.of(EventRecovered); r.count(EventRecovered) != 1 || e.Latency < time.Hour { // whoever heard of the one hears of the other
			r.t.Errorf("%+v", e)
		}
		r.sicken("db")
		r.phase(Degraded)
		r.after(time.Minute)
		db := w.Services["db"]
		db.Revision++ // as `minibotd start` does it
		w.Services["db"] = db
		r.Apply(w)
		r.phase(AllHealthy)
		r.want("stop db", "start db")
		r.kill("db")
		r.after(5 * time.Second)
		r.want("start db")
	})
}

// Somebody who starts it with docker acts, too.
func TestStoppedForGoodAndStartedByHand(t *testing.T) {
	simulate(t, one(Heal{Unhealthy: RemedyStop}), func(r *rig) {
		r.phase(AllHealthy)
		r.sicken("db")
		r.phase(Degraded)
		r.after(time.Minute)
		r.taken()
		r.locked(func() {
			if err := r.start("db", r.boxes["db"]); err != nil {
				r.t.Error(err)
			}
		})
		r.phase(AllHealthy)
		if r.of(EventRecovered).Service != "db" {
			r.t.Error("no recovery")
		}
		r.kill("db")
		r.after(5 * time.Second)
		r.want("start db")
	})
}

func TestAStopThatFailsIsTriedAgain(t *testing.T) {
	simulate(t, one(Heal{Unhealthy: RemedyStop, MaxAttempts: 1}), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.locked(func() { r.refuses = errors.New("no") })
		r.sicken("db")
		r.after(20 * time.Second)
		r.locked(func() { r.refuses = nil })
		r.after(time.Hour)
		if got := r.taken(); len(got) < 3 || strings.Join(got, "") != strings.Repeat("stop db", len(got)) {
			r.t.Errorf("%q", got)
		}
		if db := r.db(); db.State != "degraded" || db.ExitCode != 143 {
			r.t.Errorf("%+v", db)
		}
	})
}

// One that stays unhealthy is restarted three times and then made anew, once; one that is to be restarted is not made anew.
func TestRestartsInVain(t *testing.T) {
	for remedy, want := range map[Remedy][]string{
		RemedyUsual:    {"restart db", "restart db", "restart db", "recreate db", "restart db", "restart db"},
		RemedyRestart:  {"restart db", "restart db", "restart db", "restart db", "restart db", "restart db"},
		RemedyRecreate: {"recreate db", "recreate db", "recreate db", "recreate db", "recreate db", "recreate db"},
	} {
		simulate(t, one(Heal{Unhealthy: remedy}), func(r *rig) {
			r.phase(AllHealthy)
			r.taken()
			r.set("db", func(s *script) { s.healthy = -time.Second })
			r.sicken("db")
			r.after(10 * time.Minute)
			if got := r.taken(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
				r.t.Errorf("remedy %d: %q", remedy, got)
			}
			r.set("db", func(s *script) { s.healthy = time.Second })
			r.phase(AllHealthy)
			r.after(20 * time.Minute) // forgets it
			r.taken()
			r.sicken("db")
			r.after(5 * time.Second)
			r.want(want[0])
		})
	}
}

func TestStoppedForGoodOutlastsASleep(t *testing.T) {
	p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
	w := named(one(Heal{Unhealthy: RemedyStop}))
	st, actions, _ := p.decide(state{services: map[string]*record{}}, w, Seen{Containers: map[string]Container{"db": up(HealthUnhealthy)}}, epoch)
	if len(actions) != 1 || actions[0].Kind != ActionStop {
		t.Fatalf("%+v", actions)
	}
	st = st.finish(actions[0], nil).woke(epoch.Add(time.Second))
	dead := Container{ID: "i", ExitCode: 143, Instance: "i@1", StartedAt: epoch}
	if _, actions, _ = p.decide(st, w, Seen{Containers: map[string]Container{"db": dead}}, epoch.Add(2*time.Second)); len(actions) != 0 {
		t.Errorf("%+v", actions)
	}
}

func TestUnhealthyIsIgnored(t *testing.T) {
	simulate(t, one(Heal{Unhealthy: RemedyIgnore}), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.sicken("db")
		s := r.phase(Degraded)
		r.after(time.Hour)
		r.want()
		if db := s.Services[0]; !strings.HasPrefix(db.Reason, "unhealthy; left alone") || db.Hint == "" {
			r.t.Errorf("%+v", db)
		}
		r.kill("db")
		r.after(5 * time.Second)
		r.want("start db")
	})
}

func TestStartGrace(t *testing.T) {
	simulate(t, one(Heal{StartGrace: time.Minute}), func(r *rig) {
		r.phase(AllHealthy)
		r.after(2 * time.Minute)
		r.taken()
		r.sicken("db") // long after its start: at once
		synctest.Wait()
		r.want("restart db")
		r.after(time.Minute)
		r.set("db", func(s *script) { s.healthy = -time.Second })
		r.kill("db")
		r.after(30 * time.Second)
		r.want("start db")
		if db := r.db(); db.Reason != "unhealthy; not healed within 1m0s of its start" || db.Attempt > 2 {
			r.t.Errorf("%+v", db)
		}
		died := time.Now()
		r.kill("db") // an exit is healed all the same
		r.after(2 * time.Second)
		r.want("start db")
		r.after(70 * time.Second)
		at := r.times()
		r.want("restart db")
		if wait := at[0].Sub(died); wait < time.Minute || wait > 68*time.Second {
			r.t.Errorf("healed %v after its start", wait)
		}
	})
}

func TestBackoffOfAService(t *testing.T) {
	for name, tt := range map[string]struct {
		backoff time.Duration
		want    []time.Duration
	}{
		"short": {2 * time.Second, []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}},
		"long":  {5 * time.Minute, []time.Duration{5 * time.Minute, 5 * time.Minute, 5 * time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, one(Heal{Backoff: tt.backoff}), func(r *rig) {
				r.phase(AllHealthy)
				r.taken()
				r.locked(func() { r.scripts["db"] = script{startErr: errors.New("no")} })
				r.kill("db")
				r.after(16 * time.Minute)
				at := r.times()
				for i, least := range tt.want {
					if got := at[i+1].Sub(at[i]); got < least || got > least+time.Second {
						r.t.Errorf("attempt %d came after %v, want %v", i+2, got, least)
					}
				}
			})
		})
	}
}

func TestGivesUp(t *testing.T) {
	w := one(Heal{MaxAttempts: 3})
	w.Services["app"] = Service{DependsOn: []Dependency{{Service: "db", Condition: Healthy, Required: true}}}
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.locked(func() { r.scripts["db"] = script{startErr: errors.New("port is taken")} })
		r.kill("db")
		r.kill("app")
		r.after(time.Hour)
		r.want("start db", "start db", "start db")
		s := r.phase(Degraded)
		app, _ := s.Service("app")
		if db := r.db(); !db.Stuck || db.Hint != "minibotd restart db" || db.Reason != "exited with 137 (SIGKILL); start failed: port is taken; given up after 3 failed attempts" {
			r.t.Errorf("%+v", db)
		}
		if app.Hint != "minibotd restart db" || !app.Stuck {
			r.t.Errorf("%+v", app)
		}
		if e := r.of(EventGaveUp); r.count(EventGaveUp) != 1 || e.Attempt != 3 || e.Hint != "minibotd restart db" || r.count(EventDegraded) != 1 {
			r.t.Errorf("%+v", e)
		}
		r.locked(func() { r.scripts["db"] = script{healthy: time.Second} })
		if err := r.Restart(r.t.Context(), "db"); err != nil {
			r.t.Fatal(err)
		}
		r.phase(AllHealthy)
		r.after(time.Minute)
		r.want("start db", "start app")
	})
}

// What changes is a reason to try again: a secret, how it is healed, the definition.
func TestGivenUpUntilSomethingChanges(t *testing.T) {
	for name, change := range map[string]func(*Wanted, *Service){
		"secret": func(_ *Wanted, s *Service) { s.Revision++ },
		"heal":   func(_ *Wanted, s *Service) { s.Heal.MaxAttempts = 2 },
		"create": func(w *Wanted, _ *Service) { w.Create++ },
	} {
		t.Run(name, func(t *testing.T) {
			w := one(Heal{MaxAttempts: 1})
			simulate(t, w, func(r *rig) {
				r.phase(AllHealthy)
				r.locked(func() { r.scripts["db"] = script{startErr: errors.New("no")} })
				r.kill("db")
				r.phase(Degraded)
				r.locked(func() { r.scripts["db"] = script{healthy: time.Second} })
				r.after(time.Hour)
				r.taken()
				db := w.Services["db"]
				change(&w, &db)
				w.Services["db"] = db
				r.Apply(w)
				r.phase(AllHealthy)
				if got := r.taken(); got[len(got)-1] != "start db" {
					r.t.Errorf("%q", got)
				}
			})
		})
	}
}

// One that is given up and gets well by itself counts anew only after it was well for a while.
func TestGivenUpAndWellByItself(t *testing.T) {
	simulate(t, one(Heal{MaxAttempts: 2}), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.set("db", func(s *script) { s.healthy = -time.Second })
		r.sicken("db")
		r.phase(Degraded)
		r.after(time.Minute)
		r.want("restart db", "restart db")
		cure := func() { r.locked(func() { r.boxes["db"].Health = HealthHealthy; r.event("db") }) }
		cure()
		r.phase(AllHealthy)
		r.sicken("db")
		r.after(time.Minute)
		r.want()
		cure()
		r.after(11 * time.Minute)
		r.sicken("db")
		synctest.Wait()
		r.want("restart db")
	})
}

// The remedy of an unhealthy one keeps its distance from the attempts that were given up, too.
func TestAStopAfterGivingUpIsNoStorm(t *testing.T) {
	simulate(t, one(Heal{Unhealthy: RemedyStop, Backoff: time.Minute, MaxAttempts: 1}), func(r *rig) {
		r.phase(AllHealthy)
		r.locked(func() { r.refuses = errors.New("no") })
		r.kill("db")
		r.phase(Degraded)
		r.locked(func() { r.refuses = nil })
		r.taken()
		given := time.Now()
		r.set("db", func(s *script) { s.healthy = -time.Second })
		r.locked(func() {
			if err := r.start("db", r.boxes["db"]); err != nil {
				r.t.Error(err)
			}
		})
		r.after(2 * time.Minute)
		if at := r.times(); len(at) != 1 || at[0].Sub(given) < 59*time.Second {
			r.t.Errorf("given up at %v, then %v", given, at)
		}
		r.want("stop db")
	})
}
