package supervisor

import (
	"testing"
	"time"
)

// pair is a service that is given up after one failed attempt, and one beside it.
func pair() Wanted {
	w := one(Heal{MaxAttempts: 1})
	w.Services["side"] = Service{}
	return w
}

// restart lets the engine restart, and ends with everything up for a while.
func (r *rig) restart() {
	r.t.Helper()
	r.leave(5 * time.Second)
	r.after(time.Minute)
}

func TestRestartsOfTheEngineAreNoFailures(t *testing.T) {
	for name, again := range map[string]func(r *rig){
		"killed": func(r *rig) { r.restart() },
		"shut down": func(r *rig) { // it ends the containers first, and refuses to start any
			r.locked(func() { r.refuses = errGone })
			r.kill("db")
			r.kill("side")
			r.after(10 * time.Second)
			r.locked(func() { r.refuses = nil })
			r.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, pair(), func(r *rig) {
				r.phase(AllHealthy)
				for n := range pardons {
					again(r)
					if s := r.Status(); s.Phase != AllHealthy || r.db().GaveUp {
						r.t.Fatalf("after %d restarts of the engine: %+v", n+1, s)
					}
				}
				r.after(3 * time.Hour)
				for range pardons { // they are forgotten
					again(r)
				}
				if s := r.Status(); s.Phase != AllHealthy || r.db().Flapping {
					r.t.Errorf("hours later: %+v", s)
				}
			})
		})
	}
}

// An engine that restarts without end is no excuse for one that dies each time.
func TestManyRestartsOfTheEngineCount(t *testing.T) {
	simulate(t, pair(), func(r *rig) {
		r.phase(AllHealthy)
		for range pardons + 2 {
			r.restart()
		}
		if !r.db().GaveUp {
			r.t.Errorf("%+v", r.Status())
		}
	})
}

// One that dies by itself while the connection is lost has failed: another one runs on.
func TestALostConnectionIsNoExcuse(t *testing.T) {
	simulate(t, pair(), func(r *rig) {
		r.phase(AllHealthy)
		for range 2 {
			r.locked(func() {
				r.gone = true
				close(r.broken)
			})
			r.kill("db")
			r.after(5 * time.Second)
			r.locked(func() { r.gone, r.broken = false, make(chan struct{}) })
			r.after(time.Minute)
		}
		if !r.db().GaveUp {
			r.t.Errorf("%+v", r.Status())
		}
	})
}

// One that crashed again and again before the engine's restart, and came up a moment before it, keeps its place in the row of delays.
func TestWhatFailedBeforeARestartOfTheEngineCounts(t *testing.T) {
	simulate(t, one(Heal{}), func(r *rig) {
		r.phase(AllHealthy)
		for range 4 {
			r.kill("db")
			r.after(20 * time.Second)
		}
		r.taken()
		began := time.Now()
		r.leave(0)
		r.after(time.Minute)
		r.locked(func() {
			for i, a := range r.engine.done {
				if gone := r.engine.issued[i].Sub(began); a.Kind == ActionStart && gone < 4*time.Second {
					r.t.Errorf("started after %v", gone)
				}
			}
		})
		r.want("start db")
	})
}
