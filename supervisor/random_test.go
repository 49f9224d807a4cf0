package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomFaults lets a supervisor live through random harm and checks what must never happen at every action, and
// that all is well once the harm ends.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				w := stack()
				w.Services["side"] = Service{Healthcheck: true, DependsOn: []Dependency{{Service: "app", Condition: Healthy}}}
				r := newRig(t, w)
				l := &law{t: t, engine: r.engine, wanted: w, heals: map[string]int{}, last: map[string]time.Time{}}
				r.check = func(e Event) {
					if e.Kind == EventHeal || e.Kind == EventKind(e.Action.String()) {
						r.locked(func() { l.check(e) })
					}
				}
				r.Apply(w)
				for range 120 {
					harm(r, l, rng)
					r.after(time.Duration(rng.ExpFloat64() * float64(5*time.Second)))
				}
				r.locked(func() {
					r.mute, r.feedErr = false, nil
					for name := range r.scripts {
						r.scripts[name] = script{healthy: 2 * time.Second}
						if b := r.boxes[name]; b != nil {
							b.Paused = false
						}
					}
				})
				l.apply(r, func(string, *Service) {}, true)
				r.phase(AllHealthy)
				r.after(5 * time.Minute)
				if s := r.Status(); s.Phase != AllHealthy {
					t.Errorf("at the end: %+v", s)
				}
				r.end()
			})
		})
	}
}

// law holds the invariants.
type law struct {
	t      *testing.T
	engine *engine
	wanted Wanted
	heals  map[string]int // since the service was last calmed
	last   map[string]time.Time
}

// apply changes what is wanted of every service; anew starts from what was wanted at first.
func (l *law) apply(r *rig, change func(string, *Service), anew bool) {
	next := Wanted{Services: map[string]Service{}}
	for name, s := range l.wanted.Services {
		if anew {
			s.Stopped, s.Missing = false, nil
		}
		change(name, &s)
		next.Services[name] = s
	}
	r.locked(func() { l.wanted = next; clear(l.heals) })
	r.Apply(next)
	synctest.Wait()
}

func (l *law) check(a Event) {
	now := time.Now()
	s, seen := l.wanted.Services[a.Service], l.engine.last
	switch a.Action {
	case ActionStart, ActionRestart, ActionRecreate, ActionAdopt:
	case ActionStop, ActionKill:
		if !s.Stopped {
			l.t.Errorf("stopped %s, which is wanted up", a.Service)
		}
		return
	default:
		return
	}
	if s.Stopped {
		l.t.Errorf("%v %s, which is stopped", a.Action, a.Service)
	}
	if len(s.Missing) > 0 || s.Secrets && !seen.Fed {
		l.t.Errorf("%v %s: missing %v, fed %v", a.Action, a.Service, s.Missing, seen.Fed)
	}
	for _, dep := range s.DependsOn {
		c := seen.Containers[dep.Service]
		if dep.Required && (!c.Running || dep.Condition == Healthy && c.Health != HealthHealthy) {
			l.t.Errorf("%v %s although %s is %+v", a.Action, a.Service, dep.Service, c)
		}
	}
	if a.Kind != EventHeal {
		return
	}
	gap := now.Sub(l.last[a.Service])
	if n := l.heals[a.Service]; gap > 10*time.Minute {
		l.heals[a.Service] = 0
	} else if least := min(time.Minute, time.Second<<max(n-1, 0)); n > 0 && gap < least {
		l.t.Errorf("heal %d of %s %v after the one before", n+1, a.Service, gap)
	}
	l.heals[a.Service]++
	l.last[a.Service] = now
}

func harm(r *rig, l *law, rng *rand.Rand) {
	names := []string{"app", "cache", "db", "side"}
	name := names[rng.IntN(len(names))]
	switch rng.IntN(14) {
	case 0, 1:
		r.kill(name)
	case 2:
		r.sicken(name)
	case 3:
		r.remove(name)
	case 4:
		r.starve()
	case 5:
		r.leave(time.Duration(rng.IntN(20)) * time.Second)
		r.locked(func() { clear(l.heals) }) // as far as they are none of the services': TestPolicyThroughHistories judges that
	case 6:
		r.locked(func() { r.mute = !r.mute })
	case 7:
		r.locked(func() { r.stale[name] = true; r.event("") })
	case 8:
		l.apply(r, func(n string, s *Service) { s.Stopped = s.Stopped != (n == name) }, false)
	case 9:
		l.apply(r, func(n string, s *Service) {
			if n == name && s.Secrets {
				s.Missing = []string{"TOKEN"}
			}
		}, rng.IntN(2) == 0)
	case 10:
		scripts := []script{{healthy: -time.Second}, {healthy: time.Second, dies: 3 * time.Second, exitCode: 1},
			{startErr: errors.New("no")}, {ignores: true}, {healthy: time.Second, stopping: 20 * time.Second}}
		r.locked(func() { r.scripts[name] = scripts[rng.IntN(len(scripts))] })
	case 11:
		r.locked(func() { r.scripts[name] = script{healthy: time.Second} })
	case 12:
		r.locked(func() {
			if b := r.boxes[name]; b != nil && b.Running {
				b.Paused = !b.Paused
				r.event(name)
			}
		})
	case 13:
		l.apply(r, func(string, *Service) {}, true)
	}
}
