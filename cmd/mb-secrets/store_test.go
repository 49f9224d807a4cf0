package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/agefile"
	"minibot/stack"
)

func TestDaemonThatHoldsTheStoreAndIsMute(t *testing.T) {
	home := makeHome(t, true)
	release, err := control.AcquireLock(t.Context(), filepath.Join(home, "run", "minibotd.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}()
	a := &app{io: console.New(strings.NewReader(""), os.Stdout, os.Stderr), homeFlag: home, patience: 300 * time.Millisecond}
	_, err = a.list(t.Context())
	if control.ExitCode(err) != 6 || !strings.Contains(hint.Of(err), "minibotd status") {
		t.Errorf("got %v (hint %q), exit code %d", err, hint.Of(err), control.ExitCode(err))
	}
}

func TestPassphraseIsAskedForOnce(t *testing.T) {
	home := makeHome(t, false)
	ask := func() (string, error) { return "canary passphrase", nil }
	if _, err := agefile.Open(t.Context(), agefile.Options{
		Path: filepath.Join(home, "store.age"), Passphrase: ask, Create: true, WithPassphrase: true, WorkFactor: 4,
	}); err != nil {
		t.Fatal(err)
	}
	p := start(t, home, "set", "API_KEY").sees("passphrase of the store (not shown): ").types("canary passphrase\r").
		sees("API_KEY (not shown): ").types("canary-value-1\r").sees("again: ").types("canary-value-1\r").sees("API_KEY is set")
	p.ends(0)
	if n := strings.Count(p.text(), "passphrase of"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	piped(t, home, "", 7, "get", "API_KEY") // nobody to ask
	start(t, home, "get", "API_KEY").sees("passphrase of").types("\x03").sees("interrupted").ends(130)
}

// TestLocalStoresOnlyUnderTheLock checks that each operation is inside the lock and each opening of the store is not.
func TestLocalStoresOnlyUnderTheLock(t *testing.T) {
	held := false
	memory := secrets.NewMemory()
	l := &local{
		lock: func(_ context.Context, do func() error) error {
			held = true
			defer func() { held = false }()
			return do()
		},
		open: func(context.Context) (secrets.Store, error) {
			if held {
				t.Error("the store, which may ask for a passphrase, is opened under the lock")
			}
			return lockedStore{t, &held, memory}, nil
		},
		project: func(context.Context) (*stack.Project, error) {
			return &stack.Project{Requirements: []secrets.Requirement{{Name: "DB", Rotate: secrets.Rotation{Driver: "postgres", Service: "pg"}}}}, nil
		},
	}
	ctx := t.Context()
	report := func(control.Progress) {}
	for _, v := range []string{"canary-1", "canary-2"} {
		if err := l.Change(ctx, control.ChangeOrder{Changes: []control.Change{{Name: "DB", Value: []byte(v)}}}, report); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := l.Reveal(ctx, "DB"); err != nil || string(v.Reveal()) != "canary-1" {
		t.Errorf("current is not the first value: %v", err)
	}
	if item, err := memory.Get(ctx, "DB", secrets.Pending); err != nil || string(item.Value.Reveal()) != "canary-2" {
		t.Errorf("pending is not the second value: %v", err)
	}
	if err := l.Delete(ctx, "DB"); err != nil {
		t.Error(err)
	}
	for _, slot := range secrets.Slots {
		if _, err := memory.Get(ctx, "DB", slot); !errors.Is(err, secrets.ErrNotFound) {
			t.Errorf("%v is left: %v", slot, err)
		}
	}
}

// lockedStore fails the test for every call outside the lock.
type lockedStore struct {
	t    *testing.T
	held *bool
	secrets.Store
}

func (s lockedStore) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	if !*s.held {
		s.t.Error("Put outside the lock")
	}
	return s.Store.Put(ctx, name, slot, value)
}

func (s lockedStore) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if !*s.held {
		s.t.Error("Delete outside the lock")
	}
	return s.Store.Delete(ctx, name, slot)
}
