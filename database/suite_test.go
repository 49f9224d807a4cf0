package database_test

import (
	"testing"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/rotation"
	"minibot/rotation/databasetest"
)

// TestSuite has the real databases do what the fakes of the rotation's own tests do.
func TestSuite(t *testing.T) {
	t.Parallel()
	again := func(service string, db rotation.Database) func(database.Credential) {
		return func(c database.Credential) {
			enginetest.Docker(t, "restart", service)
			until(t, "wait for "+service, func() error {
				if err := db.Prove(t.Context(), c); database.Transient(err) {
					return err
				}
				return nil
			})
		}
	}
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		p := startPostgres(t, "minibot")
		databasetest.Suite(t, p, as(value(t, firstPassword)), again(p.Service, p))
	})
	t.Run("Postgres' two roles", func(t *testing.T) {
		t.Parallel()
		p := startRoles(t)
		first := credential(t, p.Successor(""), "canary-suite-first")
		if err := p.Assert(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		databasetest.Suite(t, p, first, again(p.Admin.Service, p))
	})
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		r := startComposeRedis(t, "canary-suite-first")
		databasetest.Suite(t, r, as(value(t, "canary-suite-first")), func(c database.Credential) { crash(t, r, string(c.Password.Reveal())) })
	})
	t.Run("a command", func(t *testing.T) {
		t.Parallel()
		x := startVault(t, "canary-suite-first")
		databasetest.Suite(t, x, as(value(t, "canary-suite-first")), func(database.Credential) {})
	})
}
