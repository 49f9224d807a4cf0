package rotation_test

import (
	"errors"
	"testing"

	"minibot/database"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
)

func TestCheckKnowsWhereTheValueGoes(t *testing.T) {
	one := secrets.Requirement{Name: "DB", Rotate: secrets.Rotation{Driver: "postgres"}}
	if err := rotation.Check(one, val("canary with a space behind ")); err != nil {
		t.Error(err)
	}
	pair := one
	pair.Rotate.Roles = []string{"a", "b"}
	if err := rotation.Check(pair, val("canary with a space behind ")); !errors.Is(err, database.ErrUnfit) || hint.Of(err) == "" {
		t.Errorf("it does not go into a connection service file: %v", err)
	}
	if err := rotation.Check(pair, val("canary")); err != nil {
		t.Error(err)
	}
}
