package databasetest_test

import (
	"testing"

	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

func TestFakesPassTheSuite(t *testing.T) {
	for _, kind := range databasetest.Kinds {
		if kind == databasetest.Reload {
			continue // nothing is asked of it
		}
		t.Run(string(kind), func(t *testing.T) {
			password, err := secrets.NewValue([]byte("canary-suite-first"))
			if err != nil {
				t.Fatal(err)
			}
			first := database.Credential{Password: password}
			if kind == databasetest.Roles {
				first.User = databasetest.UserA
			}
			fake := databasetest.NewFake(kind, first)
			var db rotation.Database = fake
			if kind == databasetest.Single {
				db = databasetest.Preparing{Fake: fake}
			}
			databasetest.Suite(t, db, first, fake.Restart)
		})
	}
}
