package supervisor

import (
	"slices"
	"testing"
	"time"
)

// whole is a stack that stands on db: api follows it, web follows api, job waits for both; side stands alone.
func whole() Wanted {
	on := func(restart bool, names ...string) (list []Dependency) {
		for _, name := range names {
			list = append(list, Dependency{Service: name, Condition: Healthy, Required: true, Restart: restart})
		}
		return list
	}
	return Wanted{Services: map[string]Service{
		"db": {Healthcheck: true}, "side": {Healthcheck: true},
		"api": {Healthcheck: true, DependsOn: on(true, "db")}, "web": {Healthcheck: true, DependsOn: on(true, "api")},
		"job": {Healthcheck: true, DependsOn: on(false, "db", "web")},
	}}
}

// TestHealedTogether makes several services sick in the same moment: each is healed once, as soon as what it depends on is
// well, and no sooner; who follows a dependency is not restarted a second time for it.
func TestHealedTogether(t *testing.T) {
	all := []string{"api", "db", "job", "side", "web"}
	for name, tt := range map[string]struct {
		sick, dead []string
		want       []string // in the order of time; with a + at the same one
	}{
		"all unhealthy":               {all, nil, []string{"restart db+restart side", "restart api", "restart web", "restart job"}},
		"all dead":                    {nil, all, []string{"start db+start side", "start api", "start web", "start job"}},
		"half dead, half unhealthy":   {[]string{"db", "web"}, []string{"api", "job"}, []string{"restart db", "start api", "restart web", "start job"}},
		"the ends of the chain":       {[]string{"db"}, []string{"job"}, []string{"restart db", "restart api", "restart web", "start job"}},
		"the bottom alone":            {[]string{"db"}, nil, []string{"restart db", "restart api", "restart web"}},
		"the top alone":               {[]string{"job", "web"}, nil, []string{"restart web", "restart job"}},
		"what nobody depends on":      {[]string{"side"}, []string{"job"}, []string{"restart side+start job"}},
		"a dead one below a sick one": {[]string{"web"}, []string{"api"}, []string{"start api", "restart web"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, whole(), func(r *rig) {
				r.phase(AllHealthy)
				r.after(11 * time.Minute)
				r.taken()
				r.locked(func() {
					for _, name := range tt.sick {
						r.boxes[name].Health = HealthUnhealthy
					}
					for _, name := range tt.dead {
						r.engine.end(name, r.boxes[name], 1)
					}
					r.event("")
				})
				began := time.Now()
				r.after(time.Minute)
				at := r.times()
				var got []string
				for i, action := range r.taken() {
					if i > 0 && at[i].Equal(at[i-1]) {
						got[len(got)-1] += "+" + action
						continue
					}
					got = append(got, action)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
				if !at[0].Equal(began) {
					t.Errorf("the first came after %v", at[0].Sub(began))
				}
				if s := r.Status(); s.Phase != AllHealthy {
					t.Errorf("%+v", s)
				}
				for _, name := range all {
					if s, _ := r.Status().Service(name); s.Restarts > 1 || s.Restarts == 1 && !slices.Contains(append(tt.sick, tt.dead...), name) {
						t.Errorf("%s was healed %d times", name, s.Restarts)
					}
				}
			})
		})
	}
}

// One below that is given up keeps the others waiting, with its hint, and not in a storm.
func TestHealedTogetherUnlessGivenUp(t *testing.T) {
	w := whole()
	db := w.Services["db"]
	db.Heal.MaxAttempts = 2
	w.Services["db"] = db
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.after(11 * time.Minute)
		r.taken()
		r.set("db", func(s *script) { s.healthy = -time.Second })
		for name := range w.Services {
			r.sicken(name)
		}
		r.after(time.Hour)
		r.want("restart db", "restart side", "restart db")
		for _, name := range []string{"api", "web", "job"} {
			if s, _ := r.Status().Service(name); s.State != "waiting" || s.Hint != "minibotd restart db" || !s.Stuck {
				t.Errorf("%+v", s)
			}
		}
	})
}

// A restart that waits for a person keeps nobody else waiting: e stands on b, which is to be restarted and cannot be, and follows c.
func TestARequestThatWaitsHoldsNobodyBack(t *testing.T) {
	w := Wanted{Services: map[string]Service{
		"a": {Healthcheck: true, NoHeal: true},
		"b": {Healthcheck: true, DependsOn: []Dependency{{Service: "a", Condition: Healthy, Required: true}}},
		"c": {Healthcheck: true},
		"e": {DependsOn: []Dependency{{Service: "b", Required: true}, {Service: "c", Condition: Healthy, Required: true, Restart: true}}},
	}}
	simulate(t, w, func(r *rig) {
		r.phase(AllHealthy)
		r.kill("a")
		r.phase(Degraded)
		r.taken()
		asked := make(chan error, 1)
		go func() { asked <- r.Restart(r.t.Context(), "b") }()
		r.after(time.Second)
		r.sicken("c")
		r.after(time.Minute)
		r.want("restart c", "restart e")
		if err := r.Restart(r.t.Context(), "a"); err != nil {
			r.t.Error(err)
		}
		if err := <-asked; err != nil {
			r.t.Error(err)
		}
		r.want("start a", "restart b")
	})
}

// What somebody just had started is no longer what others wait for a person for.
func TestNobodyIsStuckBesideAStart(t *testing.T) {
	p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
	w := named(Wanted{Services: map[string]Service{
		"a": {NoHeal: true, Healthcheck: true},
		"b": {DependsOn: []Dependency{{Service: "a", Condition: Healthy, Required: true}}},
	}})
	look := func(st state, a Container) (state, []Action) {
		st, actions, _ := p.decide(st, w, Seen{Containers: map[string]Container{"a": a, "b": {ID: "b"}}}, epoch)
		return st, actions
	}
	st, _ := look(state{services: map[string]*record{}}, up(HealthHealthy))
	st = st.finish(Action{Kind: ActionStart, Service: "b"}, nil)
	dead := Container{ID: "i", ExitCode: 1, Instance: "i@1", StartedAt: epoch}
	if st, _ = look(st, dead); !st.services["b"].view.stuck {
		t.Errorf("before: %+v", st.services["b"].view)
	}
	st.services["a"].requested = true
	if st, actions := look(st, dead); len(actions) != 1 || actions[0].Service != "a" || st.services["b"].view.stuck {
		t.Errorf("%+v, %+v", actions, st.services["b"].view)
	}
}

// One that would follow a dependency and cannot, for want of a secret or for another one that fails, keeps nobody waiting.
func TestWhoCannotFollowHoldsNobodyBack(t *testing.T) {
	for name, hinder := range map[string]func(*rig, Wanted){
		"a secret is missing": func(r *rig, w Wanted) {
			api := w.Services["api"]
			api.Missing = []string{"TOKEN"}
			w.Services["api"] = api
			r.Apply(w)
		},
		"held": func(r *rig, w Wanted) {
			api := w.Services["api"]
			api.Held = "waits for something"
			w.Services["api"] = api
			r.Apply(w)
		},
		"another fails": func(r *rig, _ Wanted) {
			r.set("side", func(s *script) { s.healthy = -time.Second })
			r.sicken("side")
			r.after(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := whole()
			api := w.Services["api"]
			api.DependsOn = append(api.DependsOn, Dependency{Service: "side", Condition: Healthy, Required: true})
			w.Services["api"] = api
			simulate(t, w, func(r *rig) {
				r.phase(AllHealthy)
				hinder(r, w)
				r.after(time.Second)
				r.sicken("db")
				r.after(10 * time.Second)
				r.taken()
				r.kill("web")
				r.kill("job")
				r.after(10 * time.Second)
				got := slices.DeleteFunc(r.taken(), func(action string) bool { return action == "restart side" })
				if !slices.Equal(got, []string{"start web", "start job"}) {
					t.Errorf("%q", got)
				}
			})
		})
	}
}
