package security_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/secrets/security/securitytest"
	"minibot/secrets/security/securitytest/standin"
)

// TestNoValue: missing, empty and impossible are different answers, and each of them can be mended by a Put or a Delete.
func TestNoValue(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	for name, c := range map[secrets.Name]struct {
		value []byte
		want  error
	}{"EMPTY": {nil, secrets.ErrEmptyValue}, "NUL": {[]byte("canary\x00"), secrets.ErrNUL}} {
		for what, mend := range map[string]func() error{
			"Delete": func() error { return store.Delete(t.Context(), name, secrets.Current) },
			"Put":    func() error { return store.Put(t.Context(), name, secrets.Current, value(t, "canary-new")) },
		} {
			s.Set(func(state *standin.State) { state.Keychains[0].Items = nil })
			s.Add(standin.Item{Service: "minibot", Account: string(name), Partition: standin.Tool, Value: c.value})
			_, err := store.Get(t.Context(), name, secrets.Current)
			mustFail(t, string(name), err, c.want)
			if err := mend(); err != nil {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	_, err := store.Get(t.Context(), "MISSING", secrets.Current)
	mustFail(t, "MISSING", err, secrets.ErrNotFound)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	put(t, store, "SET", "canary-set")
	put(t, store, "LONG", strings.Repeat("canary-long\n", 1000))
	get := func(name secrets.Name) error { _, err := store.Get(t.Context(), name, secrets.Current); return err }
	for status, want := range map[int]error{
		-128: secrets.ErrDenied, -25293: secrets.ErrDenied, -25308: secrets.ErrLocked, -25315: secrets.ErrLocked, -25292: secrets.ErrDenied,
		-25294: secrets.ErrNoStore, -25307: secrets.ErrNoStore, -25295: secrets.ErrDamaged, -50: secrets.ErrUnavailable, 2: secrets.ErrUnavailable,
		1: secrets.ErrUnavailable, -25299: secrets.ErrDenied,
	} {
		s.Refuse(status)
		mustFail(t, fmt.Sprint("Get with ", status), get("SET"), want)
		mustFail(t, fmt.Sprint("Get of parts with ", status), get("LONG"), want)
		mustFail(t, fmt.Sprint("Put with ", status), store.Put(t.Context(), "SET", secrets.Current, value(t, "canary-new")), want)
		mustFail(t, fmt.Sprint("Put of a new one with ", status), store.Put(t.Context(), "NEW", secrets.Current, value(t, "canary-new")), want)
		mustFail(t, fmt.Sprint("Put of parts with ", status), store.Put(t.Context(), "NEW", secrets.Current, value(t, strings.Repeat("ü", 5000))), want)
		mustFail(t, fmt.Sprint("Delete with ", status), store.Delete(t.Context(), "SET", secrets.Current), want)
	}
	s.Refuse(0)
	// A refused update falls through to adding an item that is there: the program answers 45.
	s.Set(func(state *standin.State) { state.RefuseWrites = standin.StatusCancelled })
	mustFail(t, "Put that is refused", store.Put(t.Context(), "SET", secrets.Current, value(t, "canary-new")), secrets.ErrDenied)
	mustHold(t, store, "SET", "canary-set")
}

// TestForgets: a write that is answered and does not happen is no success.
func TestForgets(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	put(t, store, "SET", "canary-set")
	s.Set(func(state *standin.State) { state.Forgets = true })
	mustFail(t, "Put", store.Put(t.Context(), "SET", secrets.Current, value(t, "canary-new")), secrets.ErrDamaged)
	mustFail(t, "Put of parts", store.Put(t.Context(), "SET", secrets.Current, value(t, strings.Repeat("ü", 5000))), secrets.ErrDamaged)
	if err := store.Put(t.Context(), "NEW", secrets.Current, value(t, "canary-new")); err == nil {
		t.Error("Put of a new one succeeds")
	}
	mustHold(t, store, "SET", "canary-set")
}

// TestMisbehaviour: whatever the program does, the answer is an error, and never another value.
func TestMisbehaviour(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	put(t, store, "SET", "canary-set")
	for _, how := range []string{"exit", "crash", "silent", "garbage", "flood"} {
		s.Set(func(state *standin.State) { state.Fault = how })
		if how == "flood" { // once is slow enough
			_, err := store.List(t.Context())
			mustFail(t, how, err, secrets.ErrUnavailable)
			continue
		}
		_, err := store.Get(t.Context(), "SET", secrets.Current)
		mustFail(t, how+": Get", err, secrets.ErrUnavailable)
		mustFail(t, how+": Put", store.Put(t.Context(), "SET", secrets.Current, value(t, "canary-new")), secrets.ErrUnavailable)
		mustFail(t, how+": Delete", store.Delete(t.Context(), "SET", secrets.Current), secrets.ErrUnavailable)
		if _, err := store.List(t.Context()); how == "exit" || how == "crash" {
			mustFail(t, how+": List", err, secrets.ErrUnavailable)
		} else if err != nil && !errors.Is(err, secrets.ErrUnavailable) {
			t.Errorf("%s: List: %v", how, err)
		}
	}
	s.Set(func(state *standin.State) { state.Fault = "" })
	mustHold(t, store, "SET", "canary-set")
}

// TestKilled: a child that does not answer is gone, with what it has started, when the call returns.
func TestKilled(t *testing.T) {
	store, s := open(t)
	put(t, store, "SET", "canary-set")
	s.Block(true)
	v := value(t, "canary-late")
	for what, call := range map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, "SET", secrets.Current); return err },
		"Put":    func(ctx context.Context) error { return store.Put(ctx, "SET", secrets.Current, v) },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "SET", secrets.Current) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		mustFail(t, what, call(ctx), secrets.ErrDenied)
		cancel()
		if !s.Idle() {
			t.Errorf("%s: a process is left", what)
		}
	}
	s.Set(func(state *standin.State) { state.Blocked, state.Fault = false, "forks" })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	left := make(chan error, 1)
	go func() { _, err := store.Get(ctx, "SET", secrets.Current); left <- err }()
	for s.State().Forked == 0 { // whoever asked leaves when there is a child of the child to be killed
		runtime.Gosched()
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a child with a child: %v", err)
	}
	for soon := time.Now().Add(2 * time.Second); !s.Idle(); { // what was killed may still be ending
		if time.Now().After(soon) {
			t.Fatal("what the child has started was not killed")
		}
	}
	short := mustOpenWhile(t, s, security.Options{Program: s.Program, Timeout: 30 * time.Millisecond})
	s.Block(true)
	_, err := short.Get(t.Context(), "SET", secrets.Current)
	mustFail(t, "the store's own deadline", err, context.DeadlineExceeded)
}

func mustOpenWhile(t testing.TB, s *securitytest.Standin, o security.Options) *security.Store {
	t.Helper()
	s.Set(func(state *standin.State) { state.Fault = "" })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	store, err := security.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
