package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/database"
	"minibot/hint"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

// each runs f for every kind of database alone, and for all at once.
func each(t *testing.T, f func(t *testing.T, kinds ...databasetest.Kind)) {
	t.Helper()
	for _, kind := range databasetest.Kinds {
		t.Run(string(kind), func(t *testing.T) { f(t, kind) })
	}
	t.Run("none", func(t *testing.T) { f(t) })
	t.Run("all", func(t *testing.T) { f(t, databasetest.Kinds...) })
}

func TestChange(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		w := newWorld(t, kinds...)
		if _, err := w.change(); err != nil {
			t.Fatal(err)
		}
		w.agree()
		if !w.isNew() {
			t.Error("nothing changed")
		}
		r := w.receipt()
		if r.Outcome != rotation.OutcomeDone || r.Kind != rotation.KindSet || r.By != "a test" || len(r.Secrets) != len(w.names()) || len(r.Steps) == 0 {
			t.Errorf("receipt: %+v", r)
		}
		w.again()
	})
}

// backwards makes a change fail late, so that its rollback is what dies.
func backwards(w *world) {
	for _, n := range w.names() {
		w.sick[n] = newOf(n)
	}
}

// scenarios are the ways by which a process comes to a crash point.
var scenarios = []struct {
	name  string
	setUp func(w *world)
	run   func(w *world) (bool, error)
}{
	{"forward", func(*world) {}, (*world).change},
	{"rolling back", backwards, (*world).change},
	{"stored without a daemon", func(w *world) {
		for _, n := range w.names() {
			w.put(n, secrets.Pending, newOf(n))
		}
	}, (*world).restart},
	{"by hand", func(w *world) {
		w.overwritten = true
		for _, n := range w.names() {
			w.put(n, secrets.Current, newOf(n))
		}
	}, (*world).byHand},
	{"resumed", func(w *world) {
		w.dieAt, w.dieOn = rotation.Point{Step: rotation.StepAdopt, Moment: rotation.BeforeEffect}, 1
		_, _ = w.change() // dies
		w.dieOn = 0
		clear(w.points)
	}, (*world).restart},
	{"rollback resumed", func(w *world) {
		backwards(w)
		w.dieAt, w.dieOn = rotation.Point{Step: rotation.StepSwitchBack, Moment: rotation.BeforeEffect}, 1
		_, _ = w.change() // dies
		w.dieOn = 0
		clear(w.points)
	}, (*world).restart},
}

func (w *world) byHand() (died bool, err error) {
	was := map[secrets.Name]secrets.Value{}
	for _, n := range w.names() {
		was[n] = oldOf(n)
	}
	return w.run(func(r *rotation.Rotator) error {
		return r.ByHand(w.t.Context(), func(context.Context) (map[secrets.Name]secrets.Value, error) { return was, nil }, w.note)
	})
}

// TestKilledAtEveryPoint dies at every crash point that a scenario passes, at each of its passages, and looks at what the
// next process makes of it. It fails for a point that no scenario passed.
func TestKilledAtEveryPoint(t *testing.T) {
	passed := map[rotation.Point]bool{}
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		for _, s := range scenarios {
			clean := newWorld(t, kinds...)
			s.setUp(clean)
			clear(clean.points)
			_, _ = s.run(clean)
			for _, p := range rotation.Points() {
				for n := 1; n <= clean.points[p]; n++ {
					passed[p] = true
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, kinds...)
						s.setUp(w)
						clear(w.points)
						w.dieAt, w.dieOn = p, n
						if died, err := s.run(w); !died {
							t.Fatalf("%s, %v %d: did not die: %v", s.name, p, n, err)
						}
						w.calm()
						w.recovers(s.name, p, n)
					})
				}
			}
		}
	})
	for _, p := range rotation.Points() {
		t.Log(p, passed[p])
		if !passed[p] {
			t.Errorf("%v was never exercised", p)
		}
	}
}

// recovers checks what the next process makes of a crash.
func (w *world) recovers(where ...any) {
	w.t.Helper()
	_, err := w.restart()
	if err != nil && !errors.Is(err, rotation.ErrRolledBack) {
		w.t.Fatalf("%v: the next start: %v", where, err)
	}
	for n := range w.sick { // well again, whatever it has
		delete(w.sick, n)
	}
	if _, err := w.restart(); err != nil {
		w.t.Fatalf("%v: the start after it: %v", where, err)
	}
	w.agree()
	if w.t.Failed() {
		w.t.Fatalf("after %v\n%v", where, w.notes)
	}
	w.again()
}

// TestFailureAtEveryStep makes every operation fail, before or after its effect, once.
func TestFailureAtEveryStep(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		for _, after := range []bool{false, true} {
			met := true
			for at := 1; met; at++ {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, kinds...)
					w.failAt, w.after = at, after
					_, err := w.change()
					met = w.ops >= at
					w.calm()
					where := fmt.Sprintf("after=%v step=%d: %v", after, at, err)
					switch {
					case errors.Is(err, rotation.ErrRolledBack):
						w.agree()
						if w.isNew() {
							t.Error(where, "but the new values are in force")
						}
					case errors.Is(err, rotation.ErrUnfinished):
						if hint.Of(err) == "" {
							t.Error(where, "says nothing of what to do")
						}
					case err == nil:
						w.agree()
					}
					if strings.Contains(fmt.Sprint(err), "canary") {
						t.Error("the error holds a value:", err)
					}
					w.recovers(where)
				})
			}
		}
	})
}

// TestSimulated lets random things happen, one after the other, until all is calm.
func TestSimulated(t *testing.T) {
	runs := 300
	if s := os.Getenv("MINIBOT_SIMULATED_RUNS"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 4))
			var kinds []databasetest.Kind
			for _, kind := range databasetest.Kinds {
				if random.IntN(2) == 0 {
					kinds = append(kinds, kind)
				}
			}
			w := newWorld(t, kinds...)
			if random.IntN(4) == 0 {
				backwards(w)
			}
			first := true
			for range 1 + random.IntN(5) {
				w.delays, w.after = random, random.IntN(2) == 0
				points := rotation.Points()
				w.dieAt, w.dieOn = points[random.IntN(len(points))], w.points[w.dieAt]+1+random.IntN(2)
				w.failAt = w.ops + 1 + random.IntN(120)
				if first {
					first = false
					_, _ = w.change()
					continue
				}
				_, _ = w.restart()
			}
			w.calm()
			w.recovers("seed", seed)
		})
	}
}

func TestRollsBackWhenAUserDoesNotGetWell(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		w := newWorld(t, kinds...)
		w.sick[plain] = newOf(plain)
		_, err := w.change()
		if !errors.Is(err, rotation.ErrRolledBack) || !strings.Contains(err.Error(), "does not get healthy") {
			t.Fatal(err)
		}
		w.agree()
		for _, n := range w.names() {
			if n != plain && !w.slot(n, secrets.Previous).Equal(val("canary-older")) {
				t.Errorf("%s: previous is not what it was", n)
			}
		}
		r := w.receipt()
		if r.Outcome != rotation.OutcomeRolledBack || !strings.Contains(r.Reason, "does not get healthy") || w.isNew() {
			t.Errorf("receipt: %+v", r)
		}
		ops := w.ops
		if _, err := w.restart(); err != nil || w.isNew() {
			t.Errorf("the next start tries again: %v after %d operations", err, w.ops-ops)
		}
	})
}

func TestDatabaseThatIsDown(t *testing.T) {
	for _, kind := range []databasetest.Kind{databasetest.Single, databasetest.Overlap, databasetest.Roles, databasetest.Plain} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, kind)
			w.down = true
			if _, err := w.change(); !errors.Is(err, rotation.ErrRolledBack) && !errors.Is(err, rotation.ErrUnfinished) {
				t.Errorf("%s: %v", kind, err)
			}
			w.calm()
			w.recovers(kind)
		})
	}
}

func TestWrongStoredValue(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		for _, mend := range []func(w *world) (bool, error){(*world).change, (*world).restart} {
			w := newWorld(t, kinds...)
			for n, db := range w.dbs {
				if db.Live() {
					db.Set(database.Credential{User: w.user(n), Password: val("canary-of-an-old-volume")})
				}
			}
			if _, err := mend(w); err != nil {
				t.Fatal(err)
			}
			w.agree()
		}
	})
}

func TestNeitherValueLogsIn(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		for _, at := range []rotation.Step{rotation.StepPromote, rotation.StepAdopt} {
			w := newWorld(t, kinds...)
			w.dieAt, w.dieOn = rotation.Point{Step: at, Moment: rotation.BeforeRecord}, 1
			if died, _ := w.change(); !died {
				t.Fatal("did not die")
			}
			w.calm()
			for n, db := range w.dbs {
				if db.Live() {
					db.Set(database.Credential{User: w.user(n), Password: val("canary-restored-data")})
				}
			}
			w.recovers(at)
			if !w.isNewOrSecond() {
				t.Error("the change was not carried on")
			}
		}
	})
}

func (w *world) isNewOrSecond() bool { return !w.slot(plain, secrets.Current).Equal(oldOf(plain)) }

func TestSilentUsers(t *testing.T) {
	for _, kind := range []databasetest.Kind{databasetest.Overlap, databasetest.Roles} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, kind)
			w.silent = []string{"a-pool"}
			w.dbs[nameOf(kind)].Sessions(3)
			began := time.Now()
			_, err := w.change()
			if !errors.Is(err, rotation.ErrRolledBack) || !strings.Contains(err.Error(), "a-pool") || hint.Of(err) == "" {
				t.Errorf("%s: %v", kind, err)
			}
			if waited := time.Since(began); waited < time.Minute {
				t.Errorf("%s: waited %v only", kind, waited)
			}
			w.agree()
			go func() {
				<-time.After(20 * time.Second)
				w.dbs[nameOf(kind)].Sessions(0)
			}()
			if _, err := w.change(); err != nil {
				t.Errorf("%s: once they have ended: %v", kind, err)
			}
			w.agree()
		})
	}
}
