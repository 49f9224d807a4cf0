package rotation_test

import (
	"errors"
	"testing"

	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

// A rollback was cut short; until it goes on, somebody overwrites what was in force. A database without an entrance then has neither value of
// the change, and is restarted with the stored one.
func TestRollbackGoesOnWhereTheFormerValueWasOverwritten(t *testing.T) {
	w := newWorld(t, databasetest.Overlap)
	name := nameOf(databasetest.Overlap)
	w.sick = map[secrets.Name]secrets.Value{name: newOf(name)}
	w.failing = "db revert"
	if _, err := w.change(); !errors.Is(err, rotation.ErrUnfinished) {
		t.Fatalf("the change: %v", err)
	}
	w.failing = ""
	byHand := val("canary-by-hand")
	w.put(name, secrets.Current, byHand)
	w.dbs[name].Set(database.Credential{Password: oldOf(name)}) // it was restarted before anything was delivered
	if _, err := w.restart(); !errors.Is(err, rotation.ErrRolledBack) || errors.Is(err, rotation.ErrUnfinished) {
		t.Errorf("the rollback: %v", err)
	}
	if !w.dbs[name].Lets(database.Credential{Password: byHand}) {
		t.Error("the database has another password than the store")
	}
}

// A change was cut short at its last step, and before it goes on somebody sets the secret anew, as during a lockdown, where that only waits in
// pending: the open change is the one of the two that the store holds as current.
func TestAChangeGoesOnBesideALaterOneThatWaits(t *testing.T) {
	for _, kind := range databasetest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t, kind)
			name := nameOf(kind)
			w.failing = "db retire"
			if _, err := w.change(); !errors.Is(err, rotation.ErrUnfinished) {
				t.Fatalf("the change: %v", err)
			}
			w.failing = ""
			later := val("canary-later")
			w.put(name, secrets.Pending, later)
			if _, err := w.restart(); err != nil {
				t.Errorf("the start: %v", err)
			}
			if _, err := w.restart(); err != nil {
				t.Errorf("the start after it: %v", err)
			}
			current := w.slot(name, secrets.Current)
			if !current.Equal(later) || !w.slot(name, secrets.Pending).IsZero() {
				t.Errorf("the later value is in force: %v", current.Equal(later))
			}
			if user := w.user(name); !w.dbs[name].Lets(database.Credential{User: user, Password: current}) {
				t.Error("the database has another password than the store")
			}
		})
	}
}
