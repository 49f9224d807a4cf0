package rotation_test

import (
	"slices"

	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

// calm ends all faults.
func (w *world) calm() { w.failAt, w.failing, w.dieOn, w.down, w.delays = 0, "", 0, false, nil }

// agree is the invariant: store, databases and services have the same, nothing waits, and it is all new or all old.
func (w *world) agree() {
	w.t.Helper()
	fresh := 0
	for _, n := range w.names() {
		current := w.slot(n, secrets.Current)
		if !current.Equal(w.delivered[n]) || !current.Equal(w.taken[n]) {
			w.t.Errorf("%s: store, files and services disagree", n)
		}
		for _, name := range []secrets.Name{n, userOf(n)} {
			if !w.slot(name, secrets.Pending).IsZero() {
				w.t.Errorf("%s: pending is left", name)
			}
		}
		switch {
		case current.Equal(newOf(n)):
			fresh++
			if previous := w.slot(n, secrets.Previous); !previous.Equal(oldOf(n)) && !w.overwritten {
				w.t.Errorf("%s: the former value is not kept in previous", n)
			}
		case !current.Equal(oldOf(n)):
			w.t.Errorf("%s: neither the old nor the new value is current", n)
		}
		w.logsIn(n)
	}
	if fresh != 0 && fresh != len(w.names()) {
		w.t.Errorf("%d of %d secrets are new", fresh, len(w.names()))
	}
}

// logsIn checks that a database lets the store's credential in and no other one that there was.
func (w *world) logsIn(n secrets.Name) {
	w.t.Helper()
	db := w.dbs[n]
	if db == nil {
		return
	}
	current := w.slot(n, secrets.Current)
	if !db.Lets(database.Credential{User: w.user(n), Password: current}) {
		w.t.Errorf("%s: the database refuses what the store holds", n)
	}
	for _, v := range []secrets.Value{oldOf(n), newOf(n)} {
		for _, user := range []string{"", databasetest.UserA, databasetest.UserB} {
			if db.Lets(database.Credential{User: user, Password: v}) && (!v.Equal(current) || user != w.user(n)) {
				w.t.Errorf("%s: the database lets another credential in, of user %q", n, user)
			}
		}
	}
}

// isNew reports whether the change took place.
func (w *world) isNew() bool { return w.slot(plain, secrets.Current).Equal(newOf(plain)) }

// receipt is the last one.
func (w *world) receipt() rotation.Receipt {
	w.t.Helper()
	all, err := rotation.Receipts(w.journal)
	if err != nil || len(all) == 0 {
		w.t.Fatal("no receipt:", err)
	}
	return all[len(all)-1]
}

// again checks that a second rotation works, and goes back to where it began.
func (w *world) again() {
	w.t.Helper()
	values := map[secrets.Name]secrets.Value{}
	for _, n := range w.names() {
		values[n] = val("canary-second")
	}
	_, err := w.run(func(r *rotation.Rotator) error {
		return r.Change(w.t.Context(), rotation.Order{Kind: rotation.KindRotate, Values: values}, w.note)
	})
	if err != nil {
		w.t.Fatal("a second rotation:", err)
	}
	for _, n := range w.names() {
		if !w.taken[n].Equal(val("canary-second")) || w.dbs[n] != nil && !w.dbs[n].Lets(database.Credential{User: w.user(n), Password: w.taken[n]}) {
			w.t.Errorf("%s: the second rotation did not come into force", n)
		}
	}
	if got := w.receipt(); got.Outcome != rotation.OutcomeDone || slices.Contains(got.Secrets, userOf(nameOf(databasetest.Roles))) {
		w.t.Errorf("receipt: %+v", got)
	}
}
