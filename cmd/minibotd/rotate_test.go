package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
)

const toRotate = `name: test
services:
  s:
    image: example/s
    secrets: [MADE, GIVEN]
    depends_on: { db: { condition: service_started } }
  db:
    image: example/db
    secrets: [MADE]
    x-minibot: { on_change: none }
secrets:
  MADE: { environment: MADE, x-minibot: { generate: { length: 40 } } }
  GIVEN: { environment: GIVEN, x-minibot: { revoke_url: "https://example.com/k" } }
`

const journal = `{"v":1,"id":"1","time":"2026-01-02T03:04:05Z","step":"begin","kind":"rotate","by":"ops","items":[{"name":"MADE"}]}
{"v":1,"id":"1","time":"2026-01-02T03:04:05.5Z","step":"stage","secret":"MADE"}
{"v":1,"id":"1","time":"2026-01-02T03:04:07Z","step":"end","outcome":"done"}
{"v":1,"id":"2","time":"2030-01-03T03:04:05Z","step":"begin","kind":"set","items":[{"name":"GIVEN"}]}
{"v":1,"id":"2","time":"2030-01-03T03:04:06.5Z","step":"end","outcome":"rolled-back","reason":"nobody took it"}
`

// rotatable is a daemon that is ready to rotate, but for an engine.
func rotatable(t *testing.T) (*daemon, *secrets.Memory) {
	t.Helper()
	store := secrets.NewMemory()
	d := testDaemon(t, nil)
	err := errors.Join(os.WriteFile(d.paths.Compose, []byte(toRotate), 0o600), os.WriteFile(d.paths.Rotation, []byte(journal), 0o600))
	reread, unread := rotation.OpenJournal(d.paths.Rotation)
	t.Cleanup(func() { _ = reread.Close() }) // of this test alone
	err = errors.Join(err, unread)
	d.rotator = rotation.New(d.store, reread, d.requirements, d.database, d, d.log)
	for name, slot := range map[secrets.Name]secrets.Slot{"MADE": secrets.Current, "GIVEN": secrets.Current, "": secrets.Previous} {
		if name == "" {
			name = "GIVEN"
		}
		value, bad := secrets.NewValue(fmt.Appendf(nil, "canary-%s-%v", name, slot))
		err = errors.Join(err, bad, store.Put(t.Context(), name, slot, value))
	}
	d.store.set(store, nil)
	if _, _, failed := d.refresh(t.Context()); errors.Join(err, failed) != nil {
		t.Fatal(err, failed)
	}
	close(d.started)
	return d, store
}

func TestDaemonPlansAndRemembers(t *testing.T) {
	d, _ := rotatable(t)
	ctx := t.Context()
	p, err := d.Plan(ctx, control.Rotation{All: true})
	if err != nil || len(p.Secrets) != 2 || p.Secrets[0].Generated || len(p.Notes) != 1 || p.LastTookMS != 2000 {
		t.Errorf("%+v, %v", p, err)
	}
	if got := fmt.Sprint(p.Services); got != "[{db none [MADE]} {s restart [MADE]}]" || p.Steps[0].Step != "stage" || p.Steps[0].LastMS != 1500 {
		t.Errorf("services %s, steps %+v", got, p.Steps)
	}
	if p, err = d.Plan(ctx, control.Rotation{Due: true}); err != nil || len(p.Secrets) > 0 || len(p.Steps) > 0 {
		t.Errorf("due: %+v, %v", p, err)
	}
	if _, err = d.Plan(ctx, control.Rotation{Names: []secrets.Name{"GIVEN"}}); !errors.Is(err, control.ErrUsage) || hint.Of(err) == "" {
		t.Errorf("what cannot be made: %v", err)
	}
	receipts, err := d.History(ctx, "MADE")
	if err != nil || len(receipts) != 1 || receipts[0].By != "ops" || receipts[0].Outcome != control.OutcomeDone {
		t.Errorf("%+v, %v", receipts, err)
	}
	if receipts, err = d.History(ctx, ""); err != nil || len(receipts) != 2 {
		t.Errorf("%+v, %v", receipts, err)
	}
	rows, err := d.Secrets(ctx)
	if err != nil || rows[0].Failed != "nobody took it" || !rows[0].Previous || rows[1].Failed != "" || rows[1].Age != control.AgeOK {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestDaemonRefusesARotation(t *testing.T) {
	d, store := rotatable(t)
	for _, test := range []struct {
		rotation control.Rotation
		want     error
	}{
		{control.Rotation{Names: []secrets.Name{"GIVEN"}}, control.ErrUsage},
		{control.Rotation{Names: []secrets.Name{"NONE"}}, secrets.ErrNotFound},
		{control.Rotation{Names: []secrets.Name{"MADE"}, Rollback: true}, secrets.ErrNotFound},
	} {
		err := d.Rotate(t.Context(), test.rotation, func(control.Progress) {})
		if !errors.Is(err, test.want) || hint.Of(err) == "" {
			t.Errorf("%+v: %v, hint %q", test.rotation, err, hint.Of(err))
		}
	}
	var said []string
	if err := d.Rotate(t.Context(), control.Rotation{Due: true}, func(p control.Progress) { said = append(said, p.Message) }); err != nil || fmt.Sprint(said) != "[there is nothing to rotate]" {
		t.Errorf("nothing due: %v, %v", said, err)
	}
	d.changing(1) // somebody else's
	r := control.Rotation{Names: []secrets.Name{"MADE"}, Order: control.Order{NoWait: true}}
	if err := d.Rotate(t.Context(), r, func(control.Progress) {}); !errors.Is(err, control.ErrBusy) || hint.Of(err) == "" {
		t.Errorf("no wait: %v", err)
	}
	if err := d.Change(t.Context(), control.ChangeOrder{Changes: []control.Change{{Name: "MADE", Generate: true}}, Order: r.Order}, func(control.Progress) {}); !errors.Is(err, control.ErrBusy) {
		t.Errorf("no wait: %v", err)
	}
	d.changing(-1)
	item, err := store.Get(t.Context(), "MADE", secrets.Current)
	if err != nil || string(item.Value.Reveal()) != "canary-MADE-current" {
		t.Error("something was rotated", err)
	}
	if _, err := store.Get(t.Context(), "MADE", secrets.Pending); !errors.Is(err, secrets.ErrNotFound) {
		t.Error("something is staged", err)
	}
}

// TestDaemonRotatesBack lets a rotation go as far as it can without an engine: everything stays, and why is known.
func TestDaemonRotatesBack(t *testing.T) {
	d, store := rotatable(t)
	d.world.host = "unix://" + t.TempDir() + "/none.sock"
	err := d.Rotate(t.Context(), control.Rotation{All: true, Order: control.Order{By: "ops"}}, func(control.Progress) {})
	if !errors.Is(err, control.ErrRolledBack) || control.ExitCode(err) != 4 || strings.Contains(err.Error(), "canary") {
		t.Errorf("without an engine: %v, exit %d", err, control.ExitCode(err))
	}
	item, err := store.Get(t.Context(), "MADE", secrets.Current)
	if err != nil || string(item.Value.Reveal()) != "canary-MADE-current" {
		t.Errorf("another value is in force: %v", err)
	}
	receipts, err := d.History(t.Context(), "MADE")
	if err != nil || len(receipts) != 2 || receipts[1].Kind != control.KindRotate || receipts[1].By != "ops" || receipts[1].Outcome != control.OutcomeRolledBack {
		t.Fatalf("%+v, %v", receipts, err)
	}
	if rows, err := d.Secrets(t.Context()); err != nil || rows[1].Failed == "" || rows[1].Failed != receipts[1].Reason {
		t.Errorf("%+v, %v", rows, err)
	}
	if d.changes != 0 {
		t.Errorf("%d changes", d.changes)
	}
}

// TestRotationInTheStack rotates, looks and rolls back in a stack whose services merely read the secret.
func TestRotationInTheStack(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	file := func() string { return in.docker("exec", in.container("c"), "cat", "/run/secrets/K") }
	before, a := file(), in.started("a")
	var p control.Plan
	if err := json.Unmarshal([]byte(in.must("", "mb-secrets", "rotate", "K", "--plan", "--json")), &p); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Services); got != "[{a restart [K]} {b restart [K]} {c restart [K]}]" {
		t.Errorf("planned %s", got)
	}
	if in.started("a") != a || file() != before {
		t.Error("a plan changes something")
	}
	out := in.must("", "mb-secrets", "rotate", "K")
	rotated := file()
	if !strings.Contains(out, "rotated and in force: K") || len(rotated) != 32 || rotated == before || in.started("a") == a {
		t.Errorf("%d bytes after: %s", len(rotated), out)
	}
	out = in.must("", "mb-secrets", "rollback", "K")
	if file() != before || !strings.Contains(out, "the previous value is in force: K") {
		t.Errorf("another value than before after: %s", out)
	}
	if r := in.run("", "mb-secrets", "rotate", "NONE"); r.code != 3 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	in.healthy(time.Second)
}
