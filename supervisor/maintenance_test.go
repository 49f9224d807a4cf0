package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rest puts db into maintenance for d.
func (r *rig) rest(w Wanted, d time.Duration) {
	db := w.Services["db"]
	db.Maintenance = time.Now().Add(d)
	w.Services["db"] = db
	r.Apply(w)
	synctest.Wait()
}

func TestMaintenance(t *testing.T) {
	for name, tt := range map[string]struct {
		harm   func(*rig)
		reason string
		heal   []string
	}{
		"died":      {func(r *rig) { r.kill("db") }, "exited with 137 (SIGKILL); healing is paused until ", []string{"start db"}},
		"unhealthy": {func(r *rig) { r.sicken("db") }, "unhealthy; healing is paused until ", []string{"restart db"}},
		"removed":   {func(r *rig) { r.remove("db") }, "its container was removed; healing is paused until ", []string{"create", "start db"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := one(Heal{})
			simulate(t, w, func(r *rig) {
				r.phase(AllHealthy)
				r.taken()
				began := time.Now()
				r.rest(w, 30*time.Minute+time.Second/2)
				if s := r.Status(); s.Phase != AllHealthy || !strings.HasPrefix(s.Services[0].Reason, "healing is paused until ") {
					r.t.Errorf("%+v", s)
				}
				tt.harm(r)
				r.after(29 * time.Minute)
				if db := r.db(); db.State != "maintenance" || !strings.HasPrefix(db.Reason, tt.reason) || db.Hint != "minibotd resume db" || db.Settled {
					r.t.Errorf("%+v", db)
				}
				r.want()
				r.phase(AllHealthy)
				if at := r.times(); !at[0].Equal(began.Add(30*time.Minute + time.Second/2)) {
					r.t.Errorf("began %v, healed %v", began, at)
				}
				r.want(tt.heal...)
				if e := r.of(EventMaintenance); r.count(EventMaintenance) != 2 || e.Reason != "healing goes on" {
					r.t.Errorf("%d events, the last %+v", r.count(EventMaintenance), e)
				}
			})
		})
	}
}

// What a person asks during a maintenance, and what a changed secret needs, is done all the same, once.
func TestMaintenanceHindersNobody(t *testing.T) {
	w := stack()
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.rest(w, time.Hour)
		r.taken()
		r.kill("db")
		r.after(time.Minute)
		r.want()
		if err := r.Restart(r.t.Context(), "db"); err != nil {
			r.t.Fatal(err)
		}
		r.after(time.Minute)
		r.want("start db", "restart app")
		r.locked(func() { r.stale["db"] = true })
		r.Wake()
		r.after(time.Minute)
		r.want("restart db", "restart app")
		change := func(f func(*Service)) {
			db := w.Services["db"]
			f(&db)
			w.Services["db"] = db
			r.Apply(w)
			r.after(time.Minute)
		}
		change(func(s *Service) { s.Stopped = true })
		r.want("stop db")
		if n := r.count(EventMaintenance); n != 1 {
			r.t.Errorf("%d events", n)
		}
		change(func(s *Service) { s.Stopped = false })
		r.want("start db", "restart app")
		change(func(s *Service) { s.Revision++ }) // while it is well: no leave to start it later
		r.kill("db")
		r.after(time.Minute)
		r.want()
		change(func(s *Service) { s.Revision++ })
		r.want("start db", "restart app")
		r.kill("db")
		r.kill("app")
		r.after(time.Minute)
		r.want()
		app, _ := r.Status().Service("app")
		if !strings.HasPrefix(app.Reason, "waits for db") || app.Hint != "minibotd resume db" {
			r.t.Errorf("%+v", app)
		}
		change(func(s *Service) { s.Maintenance = time.Time{} }) // resumed
		r.want("start db", "start app")
		r.phase(AllHealthy)
	})
}

// A pause, as after a restart of minibotd, holds what was never seen to run too; a stopped one stays what it is.
func TestMaintenanceFromTheBeginning(t *testing.T) {
	p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
	dead := Container{ID: "i", ExitCode: 1, Instance: "i@1", StartedAt: epoch}
	for name, tt := range map[string]struct {
		s     Service
		c     Container
		want  int
		state string
	}{
		"died before":   {Service{Maintenance: epoch.Add(time.Minute)}, dead, 0, "maintenance"},
		"never started": {Service{Maintenance: epoch.Add(time.Minute)}, Container{ID: "i"}, 1, "starting"},
		"over":          {Service{Maintenance: epoch}, dead, 1, "starting"},
		"stopped":       {Service{Maintenance: epoch.Add(time.Minute), Stopped: true}, dead, 0, "stopped"},
		"done":          {Service{Maintenance: epoch.Add(time.Minute), Completes: true}, Container{ID: "i", StartedAt: epoch}, 0, "exited"},
	} {
		st, actions, next := p.decide(state{services: map[string]*record{}}, named(Wanted{Services: map[string]Service{"db": tt.s}}),
			Seen{Containers: map[string]Container{"db": tt.c}}, epoch)
		started := 0
		for _, a := range actions {
			if a.Kind == ActionStart {
				started++
			}
		}
		if v := st.services["db"].view; started != tt.want || v.state != tt.state {
			t.Errorf("%s: %+v, %+v", name, actions, v)
		}
		if tt.state == "maintenance" && !next.Equal(epoch.Add(time.Minute)) {
			t.Errorf("%s: looks again at %v", name, next)
		}
	}
}

// Who can do without a service does not wait for the end of its maintenance.
func TestMaintenanceOfWhatIsNotRequired(t *testing.T) {
	w := one(Heal{})
	w.Services["app"] = Service{DependsOn: []Dependency{{Service: "db", Condition: Healthy}}}
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.rest(w, time.Hour)
		r.taken()
		r.kill("db")
		r.kill("app")
		r.after(time.Minute)
		r.want("start app")
	})
}
