package lockdown

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

func newFile(t *testing.T) File {
	t.Helper()
	paths, err := config.NewPaths(t.TempDir())
	if err == nil {
		err = config.EnsureHome(paths)
	}
	if err != nil {
		t.Fatal(err)
	}
	return In(paths)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f File) begin(t *testing.T, reason string) *Record {
	t.Helper()
	r, err := f.Begin(t.Context(), reason)
	must(t, err)
	return r
}

func TestALockdownFromBeginningToEnd(t *testing.T) {
	f := newFile(t)
	if r := f.Read(); r != nil || r.Locked() || r.Err() != nil || len(r.Awaiting()) > 0 {
		t.Errorf("before: %+v", r)
	}
	for name, call := range map[string]func() error{
		"unlock": func() error { return f.Unlock(t.Context(), nil, false) },
		"skip":   func() error { return f.Unlock(t.Context(), nil, true) },
		"update": func() error { return f.Update(t.Context(), func(*Record) error { return nil }) },
	} {
		if err := call(); !errors.Is(err, ErrNone) {
			t.Errorf("%s before: %v", name, err)
		}
	}
	must(t, f.End(t.Context()))
	first := f.begin(t, "the first reason")
	if again := f.begin(t, "another reason"); !reflect.DeepEqual(again, first) || !reflect.DeepEqual(f.Read(), first) {
		t.Errorf("a second lockdown changes the first: %+v, %+v", again, first)
	}
	err := f.Read().Err()
	if !errors.Is(err, control.ErrLockedDown) || hint.Of(err) != "minibotd unlock" || !strings.Contains(err.Error(), "the first reason") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	if err := f.End(t.Context()); !errors.Is(err, control.ErrLockedDown) {
		t.Errorf("ended without an unlock: %v", err)
	}
	must(t, f.Unlock(t.Context(), nil, false))
	if r := f.Read(); r == nil || r.Locked() || r.Err() != nil {
		t.Errorf("unlocked: %+v", r)
	}
	if r := f.begin(t, "again"); !r.Locked() || r.Reason != "again" {
		t.Errorf("locked down while it was ending: %+v", r)
	}
	must(t, f.Unlock(t.Context(), nil, false))
	must(t, f.End(t.Context()))
	if r := f.Read(); r != nil {
		t.Errorf("after: %+v", r)
	}
}

func TestUnlockRefusesWhatIsNotReplaced(t *testing.T) {
	f := newFile(t)
	f.begin(t, "")
	must(t, f.Update(t.Context(), func(r *Record) error { r.list([]secrets.Name{"A", "B", "C"}); r.set("C", Replaced); return nil }))
	err := f.Unlock(t.Context(), nil, false)
	if !errors.Is(err, control.ErrLockedDown) || err.Error() != "the stack is locked down: A is still the compromised one; B is still the compromised one" ||
		hint.Of(err) != "mb-secrets rotate --compromised A B, or minibotd unlock --skip A --skip B" {
		t.Errorf("%v\nhint: %s", err, hint.Of(err))
	}
	if err := f.Unlock(t.Context(), []secrets.Name{"D"}, false); !errors.Is(err, control.ErrUsage) {
		t.Errorf("a name that is not on the list is skipped: %v", err)
	}
	err = f.Unlock(t.Context(), []secrets.Name{"B", "C"}, false)
	if err == nil || err.Error() != "the stack is locked down: A is still the compromised one" {
		t.Errorf("with B skipped: %v", err)
	}
	if r := f.Read(); !r.Locked() || r.Secrets["B"] != Skipped || r.Secrets["C"] != Replaced {
		t.Errorf("with B skipped: %+v", r)
	}
	must(t, f.Unlock(t.Context(), nil, true))
	must(t, f.End(t.Context()))
	for name, refused := range map[secrets.Name]bool{"A": true, "B": true, "C": false, "D": false} {
		if err := f.RefuseRollback(name, true); (err != nil) != refused {
			t.Errorf("a rollback of %s to a previous value: %v", name, err)
		}
	}
	if f.RefuseRollback("C", false) == nil || f.RefuseRollback("D", false) != nil {
		t.Error("only of C it is known why there is no previous value")
	}
}

func TestADamagedRecordIsALockdown(t *testing.T) {
	for what, text := range map[string]string{"empty": "", "half": `{"version":1,"si`, "of a newer program": `{"version":2}`, "other": "null"} {
		f := newFile(t)
		must(t, os.WriteFile(f.path, []byte(text), 0o600))
		r := f.Read()
		if !r.Locked() || r.Damaged == nil || !errors.Is(r.Err(), control.ErrLockedDown) {
			t.Errorf("%s: %+v", what, r)
		}
		if err := f.Unlock(t.Context(), nil, false); !errors.Is(err, control.ErrLockedDown) || !strings.Contains(hint.Of(err), "--skip-all") {
			t.Errorf("%s: unlocked: %v", what, err)
		}
		must(t, f.Unlock(t.Context(), nil, true))
		must(t, f.End(t.Context()))
	}
	f := newFile(t)
	must(t, os.Mkdir(f.path, 0o700)) // cannot be read for another reason
	if !f.Read().Locked() {
		t.Error("what cannot be read does not lock")
	}
}

func TestManyAtOnce(t *testing.T) {
	f := newFile(t)
	f.begin(t, "first")
	var all sync.WaitGroup
	names := []secrets.Name{"A", "B", "C", "D", "E", "F"}
	for _, name := range names {
		all.Go(func() {
			if err := f.Update(t.Context(), func(r *Record) error { r.list([]secrets.Name{name}); return nil }); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, err := f.Begin(t.Context(), "second"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if r := f.Read(); r.Reason != "first" || !reflect.DeepEqual(r.Awaiting(), names) {
		t.Errorf("%+v", r)
	}
}

// A command that hangs while it holds the lock does not keep a lockdown from its beginning.
func TestBeginDoesNotWaitForAnotherCommand(t *testing.T) {
	f := newFile(t)
	err := control.WithLock(t.Context(), f.lock, func() error {
		f.begin(t, "now")
		return nil
	})
	if err != nil || !f.Read().Locked() {
		t.Errorf("%v, %+v", err, f.Read())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other := newFile(t)
	must(t, control.WithLock(t.Context(), other.lock, func() error {
		if _, err := other.Begin(ended, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		return nil
	}))
}

func TestProjectIsNoted(t *testing.T) {
	f := newFile(t)
	for _, want := range []string{"", "one", "one", "two"} {
		if want != "" {
			must(t, f.NoteProject(want))
		}
		if got, err := f.lastProject(); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
}
