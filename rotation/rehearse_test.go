package rotation_test

import (
	"context"
	"errors"
	"testing"

	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

// rehearsing is a database of the world that can make throwaway ones.
type rehearsing struct{ rotation.Database }

func (d rehearsing) Rehearsal(context.Context, database.Credential) (rotation.Database, database.Credential, func(context.Context) error, error) {
	fake, ok := d.Database.(*databasetest.Fake)
	if p, can := d.Database.(databasetest.Preparing); can {
		fake, ok = p.Fake, true
	}
	if !ok {
		return nil, database.Credential{}, nil, errors.New("not a fake")
	}
	first := database.Credential{User: fake.Any().User, Password: val("canary-throwaway")}
	other, end := fake.Throwaway(first)
	if fake.Kind == databasetest.Single {
		return databasetest.Preparing{Fake: other}, first, end, nil
	}
	return other, first, end, nil
}

func (w *world) rehearse() (died bool, err error) {
	w.wrap = func(db rotation.Database) rotation.Database {
		if !db.Live() {
			return db
		}
		return rehearsing{db}
	}
	return w.run(func(r *rotation.Rotator) error { return r.Rehearse(w.t.Context(), w.names(), "a test", w.note) })
}

// nothingIsLeft checks that a rehearsal, however it ended, changed nothing.
func (w *world) nothingIsLeft() {
	w.t.Helper()
	w.agree()
	if w.isNew() {
		w.t.Error("the rehearsal changed values")
	}
	for _, name := range []secrets.Name{"MINIBOT_REHEARSAL", "MINIBOT_REHEARSAL_USER"} {
		for _, slot := range secrets.Slots {
			if !w.slot(name, slot).IsZero() {
				w.t.Errorf("%s is left in %v", name, slot)
			}
		}
	}
}

func TestRehearsal(t *testing.T) {
	each(t, func(t *testing.T, kinds ...databasetest.Kind) {
		w := newWorld(t, kinds...)
		if _, err := w.rehearse(); err != nil {
			t.Fatal(err)
		}
		w.nothingIsLeft()
		steps := map[rotation.Step]bool{}
		receipts, err := rotation.Receipts(w.journal)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range receipts {
			if r.Kind != rotation.KindRehearse || len(r.Secrets) != 1 || w.dbs[r.Secrets[0]] == nil {
				t.Errorf("receipt: %+v", r)
			}
			for _, s := range r.Steps {
				steps[s.Step] = true
			}
		}
		for n, db := range w.dbs {
			if db.Throwaways() != 0 {
				t.Errorf("%s: %d throwaway credentials are left", n, db.Throwaways())
			}
			if db.Live() && (!steps[rotation.StepRetire] || !steps[rotation.StepSwitchBack]) {
				t.Errorf("%s: the sequence was not whole: %v", n, steps)
			}
		}
	})
}

func TestRehearsalFailsOrDies(t *testing.T) {
	for _, kind := range []databasetest.Kind{databasetest.Single, databasetest.Overlap, databasetest.Roles} {
		for at := 1; ; at++ {
			w := newWorld(t, kind)
			w.failAt = at
			_, _ = w.rehearse() // fails at most times
			met := w.ops >= at
			w.calm()
			if _, err := w.restart(); err != nil && !errors.Is(err, rotation.ErrRolledBack) {
				t.Fatal(err)
			}
			if _, err := w.rehearse(); err != nil {
				t.Fatalf("%s: after a failure at %d: %v", kind, at, err)
			}
			w.nothingIsLeft()
			if !met || t.Failed() {
				break
			}
		}
		clean := newWorld(t, kind)
		_, _ = clean.rehearse()
		for p, n := range clean.points {
			w := newWorld(t, kind)
			w.dieAt, w.dieOn = p, n
			if died, _ := w.rehearse(); !died {
				t.Fatal("did not die")
			}
			w.calm()
			if _, err := w.restart(); err != nil {
				t.Fatalf("%s: died at %v: %v", kind, p, err)
			}
			w.nothingIsLeft()
			if t.Failed() {
				t.Fatalf("%s: died at %v", kind, p)
			}
		}
	}
}
