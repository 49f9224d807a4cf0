package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/hint"
)

func TestStopAndStart(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		w := stack()
		stop := func(names ...string) {
			for _, name := range names {
				s := w.Services[name]
				s.Stopped = true
				w.Services[name] = s
			}
			r.Apply(w)
		}
		stop("db")
		r.after(time.Minute)
		r.want("stop db")
		if s := r.phase(AllHealthy); s.Services[2].State != "stopped" {
			r.t.Errorf("%+v", s)
		}
		r.kill("app")
		s := r.phase(Degraded)
		if s.Hint != "minibotd start db" {
			r.t.Errorf("%+v", s)
		}
		r.Apply(stack())
		r.phase(AllHealthy)
		r.want("start db", "start app")
		stop("app", "cache")
		r.phase(AllStopped)
		r.after(time.Hour)
		if at := r.times(); !at[0].Before(at[1]) || !at[2].Before(at[3]) {
			r.t.Errorf("stopped at %v", at)
		}
		r.want("stop app", "stop cache", "stop db", "withdraw")
		r.Apply(stack())
		r.phase(AllHealthy)
		r.want("feed", "start cache", "start db", "start app")
	})
}

func TestChangedSecrets(t *testing.T) {
	w := stack()
	w.Services["tool"] = Service{Secrets: true, Adopt: AdoptByExec, DependsOn: []Dependency{{Service: "db", Condition: Healthy, Required: true}}}
	w.Services["deaf"] = Service{Secrets: true, Adopt: AdoptNothing}
	cache := w.Services["cache"]
	cache.Adopt = AdoptByRecreate
	w.Services["cache"] = cache
	simulate(t, w, func(r *rig) {
		for range 2 { // twice in a row: a second change is no failed attempt at the first
			r.phase(AllHealthy)
			r.taken()
			r.locked(func() {
				for name := range w.Services {
					r.stale[name] = true
				}
			})
			ticket := r.Wake()
			began := time.Now()
			r.until("healthy again", func(s Status) bool { return s.Ticket >= ticket && s.Phase == AllHealthy })
			got := r.taken()
			slices.Sort(got)
			if want := []string{"adopt tool", "recreate cache", "restart app", "restart db"}; !slices.Equal(got, want) {
				r.t.Errorf("%q", got)
			}
			if took := time.Since(began); took > 4500*time.Millisecond {
				r.t.Errorf("took %v", took)
			}
		}
		if r.count(EventHeal) != 0 {
			r.t.Error("taking a secret counted as a heal")
		}
	})
}

// a ← b ← c, where b takes no notice: c still waits for a.
func TestChangedSecretsGoThroughTheChain(t *testing.T) {
	w := Wanted{Services: map[string]Service{
		"a": {Healthcheck: true, Secrets: true},
		"b": {Adopt: AdoptNothing, DependsOn: []Dependency{{Service: "a", Required: true}}},
		"c": {Secrets: true, DependsOn: []Dependency{{Service: "b", Required: true}}},
	}}
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.locked(func() { r.stale["a"], r.stale["c"] = true, true })
		r.Wake()
		synctest.Wait()
		r.want("restart a")
		r.after(time.Minute)
		r.want("restart c")
	})
}

func TestMissingSecretHoldsBack(t *testing.T) {
	w := stack()
	app := w.Services["app"]
	app.Missing = []string{"TOKEN"}
	w.Services["app"] = app
	simulate(t, w, func(r *rig) {
		s := r.until("held back", func(s Status) bool { return s.Hint == "mb-secrets set TOKEN" && s.Services[1].State == "running" })
		if s.Phase != Degraded {
			r.t.Errorf("%+v", s)
		}
		if err := r.Restart(r.t.Context(), "app"); hint.Of(err) != "mb-secrets set TOKEN" {
			r.t.Error(err)
		}
		r.Apply(stack())
		r.phase(AllHealthy)
	})
}

// A new secret is a reason to try at once, however long the service has failed with the old one.
func TestNewRevisionIsTriedAtOnce(t *testing.T) {
	w := stack()
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.locked(func() { r.scripts["db"] = script{startErr: errors.New("wrong password")} })
		r.kill("db")
		r.phase(Degraded)
		r.locked(func() { r.scripts["db"] = script{healthy: time.Second} })
		r.taken()
		db := w.Services["db"]
		db.Revision++
		w.Services["db"] = db
		changed := time.Now()
		r.Apply(w)
		synctest.Wait()
		if at := r.times(); len(at) != 1 || !at[0].Equal(changed) {
			r.t.Errorf("changed %v, attempts %v", changed, at)
		}
		r.phase(AllHealthy)
	})
}

func TestRestart(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		if err := r.Restart(r.t.Context(), "db"); err != nil {
			r.t.Fatal(err)
		}
		r.want("restart db")
		r.after(time.Minute)
		r.want("restart app")
		if err := r.Restart(r.t.Context(), "nobody"); !errors.Is(err, ErrUnknownService) {
			r.t.Error(err)
		}
		r.set("db", func(s *script) { s.startErr = errors.New("no room") })
		if err := r.Restart(r.t.Context(), "db"); err == nil || !strings.Contains(err.Error(), "no room") {
			r.t.Error(err)
		}
	})
}

func TestOneShot(t *testing.T) {
	w := Wanted{Services: map[string]Service{
		"migrate": {Completes: true},
		"app":     {DependsOn: []Dependency{{Service: "migrate", Condition: Completed, Required: true}}},
	}}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, w)
		r.scripts["migrate"] = script{dies: time.Second, exitCode: 3}
		r.Apply(w)
		r.until("a failed attempt", func(s Status) bool { return len(s.Services) > 0 && s.Services[1].Restarts == 1 })
		r.set("migrate", func(s *script) { s.exitCode = 0 })
		r.phase(AllHealthy)
		r.after(time.Hour)
		got := r.taken()
		if got[len(got)-1] != "start app" || slices.Index(got, "start app") != len(got)-1 {
			r.t.Errorf("%q", got)
		}
		r.end()
	})
}

func TestNoHeal(t *testing.T) {
	simulate(t, Wanted{Services: map[string]Service{"db": {Healthcheck: true, NoHeal: true}}}, func(r *rig) {
		r.phase(AllHealthy)
		r.kill("db")
		r.phase(Degraded)
		r.after(time.Hour)
		r.want("create", "start db")
		if err := r.Restart(r.t.Context(), "db"); err != nil {
			r.t.Fatal(err)
		}
		r.phase(AllHealthy)
	})
}

func TestPausedIsLeftAlone(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.locked(func() {
			b := r.boxes["db"]
			b.Paused, b.Health = true, HealthUnhealthy
			r.event("db")
		})
		if s := r.phase(Degraded); s.Hint != "docker unpause c-db" {
			r.t.Errorf("%+v", s)
		}
		r.after(time.Hour)
		r.want()
	})
}

func TestCreatesOncePerDefinition(t *testing.T) {
	w := stack()
	w.Create = 1
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		w.Create = 2
		ticket := r.Apply(w)
		r.until("created", func(s Status) bool { return s.Ticket >= ticket && s.Phase == AllHealthy })
		r.after(time.Hour)
		r.want("create", "feed", "start cache", "start db", "start app", "create")
	})
}

// What somebody made by hand is replaced first, and nothing of it is ever started.
func TestMadeByHandIsReplacedBeforeItStarts(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		r.locked(func() {
			b := r.boxes["app"]
			b.Foreign, b.Running, b.ExitCode = true, false, 1
			r.event("app")
		})
		r.after(time.Minute)
		r.want("create", "start app")
		r.phase(AllHealthy)
	})
}

func TestFeedBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, stack())
		r.feedErr = hint.Wrap(errors.New("no keeper"), "look")
		r.Apply(stack())
		s := r.phase(Degraded)
		if !strings.Contains(s.Reason, "no keeper") || s.Hint != "look" {
			r.t.Errorf("%+v", s)
		}
		for _, a := range r.taken() {
			if strings.HasPrefix(a, "start") {
				r.t.Errorf("%s although nothing is delivered", a)
			}
		}
		r.locked(func() { r.feedErr = nil })
		r.Wake()
		r.phase(AllHealthy)
		r.end()
	})
}

func TestEndsSoonWhileAnActionRuns(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.set("db", func(s *script) { s.stopping = time.Minute })
		r.sicken("db")
		synctest.Wait()
		began := time.Now()
		r.end()
		if took := time.Since(began); took > 1100*time.Millisecond {
			r.t.Errorf("took %v", took)
		}
		if err := r.Restart(r.t.Context(), "db"); !errors.Is(err, ErrEnded) {
			r.t.Error(err)
		}
	})
}

func TestHealReportsLatency(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		at := time.Now()
		r.sicken("db")
		synctest.Wait()
		if e := r.of(EventHeal); e.Service != "db" || !e.At.Equal(at) || e.Attempt != 1 || e.Reason != "unhealthy" {
			r.t.Errorf("%+v", e)
		}
		r.phase(AllHealthy)
		if s, _ := r.Status().Service("db"); s.Restarts != 1 {
			r.t.Errorf("%+v", s)
		}
	})
}
