//go:build secemu

package keychain_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"minibot/secrets"
	"minibot/secrets/keychain"
	"minibot/secrets/keychain/internal/secemu"
)

func brief(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func mustBeLate(t testing.TB, what string, err error) {
	t.Helper()
	mustBe(t, what, err, secrets.ErrDenied)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v does not wrap the context's error", what, err)
	}
}

// A write that hangs is done late, before the next one of the process begins; one that waited for its turn and gave up
// is never done.
func TestLateWriteNeverOvertakes(t *testing.T) {
	emulation(t)
	s, other := open(t, keychain.Options{Service: service}), open(t, keychain.Options{Service: service})
	put(t, s, secrets.Current, "canary-first")
	writes := secemu.Writes()
	lift := secemu.Rule{Ops: secemu.Update}.Hang()
	mustBeLate(t, "a Put that hangs", s.Put(brief(t), name, secrets.Current, value(t, "canary-late")))
	mustBeLate(t, "a Put that waits", other.Put(brief(t), name, secrets.Current, value(t, "canary-never")))
	done := make(chan error, 1)
	go func() { done <- other.Put(t.Context(), name, secrets.Current, value(t, canary)) }()
	lift()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustHold(t, s, secrets.Current, canary)
	keychain.Idle()
	if n := secemu.Writes() - writes; n != 2 {
		t.Errorf("%d writes were done, want the late one and the last", n)
	}
}

// Nobody waits for the second half of a write whose first half came late.
func TestLateUpdateAddsNothing(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	writes := secemu.Writes()
	lift := secemu.Rule{Ops: secemu.Update}.Hang()
	mustBeLate(t, "Put", s.Put(brief(t), name, secrets.Current, value(t, canary)))
	lift()
	keychain.Idle()
	_, err := s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get", err, secrets.ErrNotFound)
	if secemu.Writes() != writes {
		t.Error("the item was added")
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service, Timeout: 30 * time.Millisecond})
	put(t, s, secrets.Current, canary)
	lift := secemu.Rule{Ops: secemu.Secret | secemu.List}.Hang()
	_, err := s.List(t.Context())
	mustBeLate(t, "List", err)
	for what, err := range operations(t.Context(), t, s) {
		mustBeLate(t, what, err)
	}
	lift()
	keychain.Idle()
	hang := secemu.Rule{Ops: secemu.Status}.Hang()
	_, err = keychain.Open(brief(t), keychain.Options{Service: service})
	mustBeLate(t, "Open", err)
	hang()
}

func TestCancelled(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	put(t, s, secrets.Current, canary)
	lift := secemu.Rule{Ops: secemu.Read}.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := s.Get(ctx, name, secrets.Current); done <- err }()
	secemu.Await(1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, secrets.ErrDenied) {
		t.Errorf("got %v", err)
	}
	lift()
	mustHold(t, s, secrets.Current, canary)
}
