package rotation_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, databasetest.Overlap)
		r := w.rotator()
		held, inside := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() { done <- r.Alone(t.Context(), func() error { close(inside); <-held; return nil }) }()
		<-inside
		order := rotation.Order{Values: map[secrets.Name]secrets.Value{plain: newOf(plain)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Change(ctx, order, w.note); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("a second change does not wait:", err)
		}
		order.NoWait = true
		if err := r.Change(t.Context(), order, w.note); !errors.Is(err, rotation.ErrBusy) {
			t.Error("with no wait:", err)
		}
		close(held)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Change(t.Context(), order, w.note); err != nil || !w.isNew() {
			t.Error("alone:", err)
		}
	})
}

func TestFirstValues(t *testing.T) {
	for _, kind := range []databasetest.Kind{databasetest.Single, databasetest.Overlap, databasetest.Reload} {
		w := newWorld(t, kind)
		name := nameOf(kind)
		for _, slot := range secrets.Slots {
			_ = w.store.Delete(t.Context(), name, slot) // some are empty
		}
		w.dbs[name].Restart(w.dbs[name].Any())
		w.sick[name] = newOf(name)
		_, err := w.run(func(r *rotation.Rotator) error {
			return r.Change(t.Context(), rotation.Order{Values: map[secrets.Name]secrets.Value{name: newOf(name)}}, w.note)
		})
		if err == nil || errors.Is(err, rotation.ErrRolledBack) || errors.Is(err, rotation.ErrUnfinished) {
			t.Errorf("%s: a user that does not get well: %v", kind, err)
		}
		if !w.slot(name, secrets.Current).Equal(newOf(name)) {
			t.Errorf("%s: the first value is lost", kind)
		}
	}
}

// First values that cannot be delivered are no reason to ask a person for them again. With one that had a value all goes back together.
func TestFirstValuesStayWhereNothingCanBeDelivered(t *testing.T) {
	for _, kind := range []databasetest.Kind{databasetest.Single, databasetest.Overlap, databasetest.Reload} {
		for _, others := range []bool{false, true} {
			w := newWorld(t, kind)
			name := nameOf(kind)
			values := map[secrets.Name]secrets.Value{name: newOf(name)}
			if others {
				values[plain] = newOf(plain)
			}
			for _, slot := range secrets.Slots {
				_ = w.store.Delete(t.Context(), name, slot) // some are empty
			}
			w.dbs[name].Restart(w.dbs[name].Any())
			w.failing, w.sick[name] = "deliver", newOf(name)
			_, err := w.run(func(r *rotation.Rotator) error { return r.Change(t.Context(), rotation.Order{Values: values}, w.note) })
			if errors.Is(err, rotation.ErrRolledBack) != others || errors.Is(err, rotation.ErrUnfinished) {
				t.Errorf("%s, with others %v: %v", kind, others, err)
			}
			if kept := w.slot(name, secrets.Current).Equal(newOf(name)); kept == others || !w.slot(name, secrets.Pending).IsZero() {
				t.Errorf("%s, with others %v: kept %v", kind, others, kept)
			}
		}
	}
}

// A first value that waits must be there before what needs it can start.
func TestFirstValueInPending(t *testing.T) {
	w := newWorld(t, databasetest.Single)
	name := nameOf(databasetest.Single)
	_ = w.store.Delete(t.Context(), name, secrets.Current)
	w.put(name, secrets.Pending, newOf(name))
	if err := w.rotator().BeforeDelivery(t.Context()); err != nil || !w.slot(name, secrets.Current).Equal(newOf(name)) {
		t.Error(err)
	}
}

func TestStopping(t *testing.T) {
	w := newWorld(t, databasetest.Overlap)
	ctx, cancel := context.WithCancel(t.Context())
	r := w.rotator()
	r.At = func(p rotation.Point) {
		if p.Step == rotation.StepAdopt && p.Moment == rotation.BeforeEffect {
			w.failing = "adopt"
			cancel()
		}
	}
	err := r.Change(ctx, rotation.Order{Values: map[secrets.Name]secrets.Value{nameOf(databasetest.Overlap): newOf(nameOf(databasetest.Overlap))}}, w.note)
	if !errors.Is(err, rotation.ErrUnfinished) || errors.Is(err, rotation.ErrRolledBack) {
		t.Fatal(err)
	}
	w.calm()
	if _, err := w.restart(); err != nil {
		t.Fatal(err)
	}
	if !w.slot(nameOf(databasetest.Overlap), secrets.Current).Equal(newOf(nameOf(databasetest.Overlap))) {
		t.Error("a stop of the daemon took the change back")
	}
}

// A rotation that ends every process that takes it up is taken back in the end.
func TestCutShortAgainAndAgain(t *testing.T) {
	w := newWorld(t, databasetest.Overlap)
	at := rotation.Point{Step: rotation.StepSee, Moment: rotation.BeforeEffect}
	run := w.change
	for range 4 {
		w.dieAt, w.dieOn = at, w.points[at]+1
		if died, _ := run(); !died {
			t.Fatal("did not die")
		}
		run = w.restart
	}
	w.dieOn = w.points[at] + 1
	if died, err := w.restart(); died || !errors.Is(err, rotation.ErrRolledBack) {
		t.Fatal(err, died)
	}
	w.agree()
	if w.isNew() {
		t.Error("it was not taken back")
	}
}

func TestStage(t *testing.T) {
	w := newWorld(t, databasetest.Single)
	db := secrets.Requirement{Name: "DB", Rotate: secrets.Rotation{Driver: "postgres", Service: "postgres"}}
	for _, c := range []struct {
		req   secrets.Requirement
		value secrets.Value
		want  secrets.Slot
	}{
		{db, val("canary-first"), secrets.Current}, {db, val("canary-next"), secrets.Pending}, {db, val("canary-first"), secrets.Current},
		{secrets.Requirement{Name: plain}, newOf(plain), secrets.Current},
	} {
		if got, err := rotation.Stage(t.Context(), w.store, c.req, c.value); err != nil || got != c.want {
			t.Errorf("%s: %v %v", c.req.Name, got, err)
		}
	}
	if !w.slot("DB", secrets.Pending).IsZero() || !w.slot(plain, secrets.Previous).Equal(oldOf(plain)) {
		t.Error("pending is left, or previous lost")
	}
}

// The store is locked in the middle, at any point, and unlocked later.
func TestStoreLockedInTheMiddle(t *testing.T) {
	clean := newWorld(t, databasetest.Kinds...)
	if _, err := clean.change(); err != nil {
		t.Fatal(err)
	}
	for p := range clean.points {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, databasetest.Kinds...)
			_, err := w.run(func(r *rotation.Rotator) error {
				r.At = func(at rotation.Point) {
					if at == p {
						w.store.Lock()
					}
				}
				values := map[secrets.Name]secrets.Value{}
				for _, n := range w.names() {
					values[n] = newOf(n)
				}
				return r.Change(t.Context(), rotation.Order{Values: values}, w.note)
			})
			if err != nil && !errors.Is(err, secrets.ErrLocked) {
				t.Errorf("locked at %v: %v", p, err)
			}
			w.store.Unlock()
			w.recovers("locked at", p)
		})
	}
}

// Somebody replaces every value in the store, and leaves nothing else there, while a rotation is open.
func TestReplacedWhileOpen(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		for _, sick := range []bool{false, true} {
			clean := newWorld(t, kinds...)
			if sick {
				backwards(clean)
			}
			_, _ = clean.change()
			for p := range clean.points {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, kinds...)
					if sick {
						backwards(w)
					}
					w.dieAt, w.dieOn = p, 1
					_, _ = w.change() // dies
					w.calm()
					for _, n := range w.names() {
						w.put(n, secrets.Current, val("canary-replaced"))
						for _, slot := range []secrets.Slot{secrets.Pending, secrets.Previous} {
							_ = w.store.Delete(t.Context(), n, slot) // some are empty
						}
					}
					if _, err := w.restart(); err != nil && !errors.Is(err, rotation.ErrRolledBack) {
						t.Fatalf("died at %v, sick %v: %v", p, sick, err)
					}
					if _, err := w.restart(); err != nil {
						t.Fatalf("died at %v, sick %v: the start after it: %v", p, sick, err)
					}
					for _, n := range w.names() {
						if !w.slot(n, secrets.Current).Equal(val("canary-replaced")) {
							t.Errorf("%s: the value that somebody stored is lost", n)
						}
						w.logsIn(n)
					}
					if t.Failed() {
						t.Fatalf("died at %v, sick %v: %v", p, sick, w.notes)
					}
				})
			}
		}
	})
}

// What others say may hold a value; the journal never does.
func TestReasonsAreRedacted(t *testing.T) {
	w := newWorld(t, databasetest.Overlap)
	w.sick[plain] = newOf(plain)
	_, err := w.run(func(r *rotation.Rotator) error {
		r.Redact = func(s string) string { return strings.ReplaceAll(s, "healthy", "[redacted]") }
		return r.Change(t.Context(), rotation.Order{Values: map[secrets.Name]secrets.Value{plain: newOf(plain)}}, w.note)
	})
	if !errors.Is(err, rotation.ErrRolledBack) {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.journal)
	if err != nil || strings.Contains(string(data), "healthy") || strings.Count(string(data), "[redacted]") != 2 {
		t.Errorf("%v: %s", err, data)
	}
}

// A rehearsal that died and cannot be cleared away yet stays open: what is left of it is no change that waits.
func TestRehearsalThatCannotBeCleared(t *testing.T) {
	w := newWorld(t, databasetest.Overlap)
	w.dieAt, w.dieOn = rotation.Point{Step: rotation.StepAccept, Moment: rotation.BeforeEffect}, 1
	if died, _ := w.rehearse(); !died {
		t.Fatal("did not die")
	}
	w.calm()
	w.failing = "store delete"
	if _, err := w.restart(); !errors.Is(err, rotation.ErrUnfinished) {
		t.Errorf("the start that cannot clear it: %v", err)
	}
	w.calm()
	if _, err := w.restart(); err != nil {
		t.Error(err)
	}
	w.nothingIsLeft()
}
