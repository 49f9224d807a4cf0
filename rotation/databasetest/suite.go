package databasetest

import (
	"errors"
	"testing"

	"minibot/database"
	"minibot/rotation"
	"minibot/secrets"
)

// Suite checks a database that lets first in and that nobody else uses. restart starts it anew with a delivered
// credential and returns when it answers. The database has another credential afterwards.
func Suite(t *testing.T, db rotation.Database, first database.Credential, restart func(database.Credential)) {
	t.Helper()
	if !db.Live() {
		t.Fatal("a database that is not live has nothing to do")
	}
	now := first
	forth := func(password string) database.Change {
		return database.Change{Current: now, Next: database.Credential{User: db.Successor(now.User), Password: value(t, password)}}
	}
	none := database.Credential{User: now.User, Password: value(t, "canary-suite-nobodys")}
	t.Run("proves the right one and refuses others", func(t *testing.T) {
		mustBe(t, "the first", db.Prove(t.Context(), now), nil)
		mustBe(t, "another", db.Prove(t.Context(), none), database.ErrRefused)
	})
	t.Run("there and back", func(t *testing.T) {
		c := forth("canary-suite-back")
		for range 2 { // each step may be repeated
			mustBe(t, "accept", replace(t, db, c), nil)
		}
		mustBe(t, "the next", db.Prove(t.Context(), c.Next), nil)
		if db.Overlaps() {
			mustBe(t, "the current beside it", db.Prove(t.Context(), c.Current), nil)
			restart(c.Current)
			mustBe(t, "the current after a restart", db.Prove(t.Context(), c.Current), nil)
			mustBe(t, "the next after a restart", db.Prove(t.Context(), c.Next), nil)
			mustBe(t, "accept after a restart", replace(t, db, c), nil)
		}
		for range 2 {
			mustBe(t, "revert", back(t, db, c), nil)
		}
		mustBe(t, "the current", db.Prove(t.Context(), c.Current), nil)
		mustBe(t, "the next after it was taken back", db.Prove(t.Context(), c.Next), database.ErrRefused)
	})
	t.Run("there", func(t *testing.T) {
		for _, password := range []string{"canary-suite-one", "canary-suite-two", "canary-suite-three"} {
			c := forth(password)
			mustBe(t, "accept", replace(t, db, c), nil)
			for range 2 {
				mustBe(t, "retire", db.Retire(t.Context(), c), nil)
			}
			mustBe(t, "the next", db.Prove(t.Context(), c.Next), nil)
			mustBe(t, "the former", db.Prove(t.Context(), c.Current), database.ErrRefused)
			restart(c.Next)
			mustBe(t, "the next after a restart", db.Prove(t.Context(), c.Next), nil)
			mustBe(t, "the former after a restart", db.Prove(t.Context(), c.Current), database.ErrRefused)
			now = c.Next
		}
	})
	t.Run("asserts what neither knows", func(t *testing.T) {
		c := database.Credential{User: now.User, Password: value(t, "canary-suite-asserted")}
		err := db.Assert(t.Context(), c)
		if errors.Is(err, database.ErrNoEntrance) {
			restart(c)
			err = nil
		}
		mustBe(t, "assert", err, nil)
		mustBe(t, "what was asserted", db.Prove(t.Context(), c), nil)
		mustBe(t, "what was before", db.Prove(t.Context(), now), database.ErrRefused)
	})
}

// replace makes Next good in the way that suits the database.
func replace(t *testing.T, db rotation.Database, c database.Change) error {
	t.Helper()
	switcher, can := db.(rotation.Switcher)
	if db.Overlaps() || !can {
		return db.Accept(t.Context(), c)
	}
	first, err := switcher.Prepare(t.Context(), c)
	if err != nil {
		return err
	}
	first.Abort()
	second, err := switcher.Prepare(t.Context(), c)
	if err != nil {
		return err
	}
	return second.Commit(t.Context())
}

func back(t *testing.T, db rotation.Database, c database.Change) error {
	t.Helper()
	if db.Overlaps() {
		return db.Revert(t.Context(), c)
	}
	return replace(t, db, database.Change{Current: c.Next, Next: c.Current})
}

func value(t *testing.T, s string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustBe(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}
