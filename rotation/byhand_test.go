package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"minibot/database"
	"minibot/rotation"
	"minibot/secrets"
)

// changedByHand is a world whose store somebody wrote to, and what was in force before.
func changedByHand(t *testing.T) (w *world, was map[secrets.Name]secrets.Value) {
	t.Helper()
	w, was = newWorld(t, true), map[secrets.Name]secrets.Value{}
	for name, value := range newValues() {
		was[name] = w.slot(name, secrets.Current)
		if err := w.Put(t.Context(), name, secrets.Current, value); err != nil {
			t.Fatal(err)
		}
	}
	return w, was
}

func found(was map[secrets.Name]secrets.Value) func(context.Context) (map[secrets.Name]secrets.Value, error) {
	return func(context.Context) (map[secrets.Name]secrets.Value, error) { return was, nil }
}

func TestByHand(t *testing.T) {
	w, was := changedByHand(t)
	if err := w.rotator().ByHand(t.Context(), found(was), silent); err != nil {
		t.Fatal(err)
	}
	w.agree(t, true)
	if !w.live.Equal(newValues()[pg]) || !w.restarted.Equal(newValues()[rd]) {
		t.Error("a database has not taken the new password")
	}
	writes := w.steps
	if err := w.rotator().ByHand(t.Context(), found(newValues()), silent); err != nil {
		t.Fatal(err)
	}
	if n := w.steps - writes; n != len(was) { // one read each
		t.Errorf("%d operations with nothing to do", n)
	}
}

func TestByHandFailsAtEveryStep(t *testing.T) {
	for _, crash := range []bool{true, false} {
		for _, after := range []bool{false, true} {
			total := 1
			for at := 1; at <= total; at++ {
				t.Run(fmt.Sprintf("crash=%v/after=%v/step=%d", crash, after, at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, was := changedByHand(t)
						w.at, w.after, w.crash = at, after, crash
						err := w.rotator().ByHand(t.Context(), found(was), silent)
						if w.steps >= at {
							total = at + 1
						}
						if errors.Is(err, rotation.ErrRolledBack) {
							w.agree(t, false)
							if !w.live.Equal(was[pg]) || !w.slot(pg, secrets.Current).Equal(was[pg]) {
								t.Error("rolled back, but not to what was in force")
							}
						}
						w.restart(t)
						w.agree(t, false)
						for name := range was {
							slots := []secrets.Value{w.slot(name, secrets.Current), w.slot(name, secrets.Previous)}
							// Before its first writes nobody else has known of what was in force.
							if at > 2*len(was) && !slices.ContainsFunc(slots, was[name].Equal) {
								t.Errorf("%s: what was in force is lost", name)
							}
						}
					})
				})
			}
			if total < 20 {
				t.Errorf("only %d steps were tried", total)
			}
		}
	}
}

func TestByHandRefused(t *testing.T) {
	w, was := changedByHand(t)
	w.reject = true
	if err := w.rotator().ByHand(t.Context(), found(was), silent); !errors.Is(err, rotation.ErrRolledBack) {
		t.Fatal(err)
	}
	w.agree(t, false)
	w, was = changedByHand(t)
	if err := w.Put(t.Context(), pg, secrets.Current, val("two\nlines")); err != nil {
		t.Fatal(err)
	}
	err := w.rotator().ByHand(t.Context(), found(was), silent)
	if !errors.Is(err, database.ErrUnfit) || !errors.Is(err, rotation.ErrRolledBack) {
		t.Error(err)
	}
	w.agree(t, false)
	for name := range maps.Keys(was) {
		if !w.slot(name, secrets.Current).Equal(was[name]) {
			t.Errorf("%s is not what was in force", name)
		}
	}
}

func TestByHandLooksWhileNoChangeIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		w.held = make(chan struct{})
		r := w.rotator()
		done := make(chan error, 2)
		go func() { done <- r.Change(t.Context(), newValues(), silent) }()
		synctest.Wait()
		go func() {
			done <- r.ByHand(t.Context(), func(context.Context) (map[secrets.Name]secrets.Value, error) {
				if !w.slot(pg, secrets.Current).Equal(newValues()[pg]) {
					t.Error("looked in the middle of a change")
				}
				return nil, errInjected
			}, silent)
		}()
		synctest.Wait()
		close(w.held)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, errInjected) {
			t.Errorf("what the look failed with is not passed on: %v", err)
		}
	})
}

func TestByHandDeleted(t *testing.T) {
	w, was := changedByHand(t)
	if err := w.Delete(t.Context(), key, secrets.Current); err != nil {
		t.Fatal(err)
	}
	delete(was, pg)
	delete(was, rd)
	if err := w.rotator().ByHand(t.Context(), found(was), silent); err != nil || !w.slot(key, secrets.Current).IsZero() {
		t.Errorf("got %v", err)
	}
}
