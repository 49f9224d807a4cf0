package rotation_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/rotation"
	"minibot/secrets"
)

// frozen is a store whose promotion never happens: the process died after the database had accepted.
type frozen struct{ secrets.Store }

func (frozen) Put(_ context.Context, _ secrets.Name, slot secrets.Slot, _ secrets.Value) error {
	if slot == secrets.Pending {
		return nil // staged before
	}
	return errInjected
}
func (frozen) List(context.Context) ([]secrets.Entry, error) { return nil, errInjected }
func (f frozen) Get(ctx context.Context, n secrets.Name, s secrets.Slot) (secrets.Item, error) {
	return f.Store.Get(ctx, n, s)
}

// once lets Postgres accept one password; the process is dead afterwards.
type once struct {
	database.Postgres
	used *bool
}

func (o once) Accept(ctx context.Context, c database.Change) error {
	if *o.used {
		return errInjected
	}
	*o.used = true
	return o.Postgres.Accept(ctx, c)
}

func TestCrashBetweenAcceptAndPromoteOnPostgres(t *testing.T) {
	old, next := val("old-"+string(pg)), val("new-"+string(pg))
	name := enginetest.Start(t, "-e", "POSTGRES_PASSWORD="+string(old.Reveal()), enginetest.Image("MINIBOT_POSTGRES_IMAGE", "minibot/postgres:local"))
	w := newWorld(t, true)
	p := database.Postgres{Container: enginetest.Engine{}, Service: name}
	reqs := func() []secrets.Requirement {
		return []secrets.Requirement{{Name: pg, Rotate: secrets.Rotation{Driver: "postgres", Service: name}}}
	}
	log := slog.New(slog.DiscardHandler)
	first := rotation.New(w.Store, reqs, func(secrets.Requirement) rotation.Database { return p }, w, log)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := first.AfterStart(ctx, silent); err != nil { // waits for the server
		t.Fatal(err)
	}
	if err := w.Put(ctx, pg, secrets.Pending, next); err != nil {
		t.Fatal(err)
	}
	dying := rotation.New(frozen{w.Store}, reqs, func(secrets.Requirement) rotation.Database { return once{p, new(bool)} }, w, log)
	if err := dying.Change(ctx, map[secrets.Name]secrets.Value{pg: next}, silent); !errors.Is(err, rotation.ErrUnfinished) {
		t.Fatal(err)
	}
	if err := p.Prove(ctx, database.Credential{Password: next}); err != nil || !w.slot(pg, secrets.Current).Equal(old) {
		t.Fatal("want the new password in the database and the old one in the store:", err)
	}
	after := rotation.New(w.Store, reqs, func(secrets.Requirement) rotation.Database { return p }, w, log)
	if err := errors.Join(after.BeforeDelivery(ctx), after.AfterStart(ctx, silent)); err != nil {
		t.Fatal(err)
	}
	if err := p.Prove(ctx, database.Credential{Password: w.slot(pg, secrets.Current)}); err != nil {
		t.Error(err)
	}
	if err := p.Prove(ctx, database.Credential{Password: old}); !errors.Is(err, database.ErrRefused) {
		t.Error("the old password:", err)
	}
	if !w.slot(pg, secrets.Current).Equal(next) || !w.slot(pg, secrets.Previous).Equal(old) || !w.slot(pg, secrets.Pending).IsZero() {
		t.Error("the store is not where it should be")
	}
}
