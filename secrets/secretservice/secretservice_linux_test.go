package secretservice_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/secretservice"
	"minibot/secrets/secretservice/keyringtest"
	"minibot/secrets/storetest"
)

func on(k *keyringtest.Session) secretservice.Options {
	return secretservice.Options{BusAddress: k.BusAddress()}
}

func mustOpen(t testing.TB, o secretservice.Options) *secretservice.Store {
	t.Helper()
	s, err := secretservice.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// either calls the first function for true and the second for false.
func either(yes, no func()) func(bool) {
	return func(is bool) {
		if is {
			yes()
		} else {
			no()
		}
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) storetest.Harness {
		k := keyringtest.Start(t)
		return storetest.Harness{
			Store:  mustOpen(t, on(k)),
			Reopen: func() secrets.Store { return mustOpen(t, on(k)) },
			Lock:   either(k.Lock, k.Unlock),
			Deny:   k.Deny,
			Block:  either(k.PauseKeyring, k.ResumeKeyring),
			Reads:  k.Reads,
		}
	})
}

func value(t testing.TB, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t testing.TB, s secrets.Store, name secrets.Name, plain string) {
	t.Helper()
	if err := s.Put(t.Context(), name, secrets.Current, value(t, plain)); err != nil {
		t.Fatal(err)
	}
}

func mustHold(t testing.TB, s secrets.Store, name secrets.Name, want ...string) {
	t.Helper()
	item, err := s.Get(t.Context(), name, secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(item.Value.Reveal()); !slices.Contains(want, got) {
		t.Errorf("%s holds %q, want one of %q", name, got, want)
	}
}

// mustBe checks an error that a person can mend.
func mustBe(t testing.TB, what string, err, want error, inHint string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	} else if !strings.Contains(hint.Of(err), inHint) || hint.Of(err) == "" {
		t.Errorf("%s: %v: hint %q does not name %q", what, err, hint.Of(err), inHint)
	}
}

// A store waits for itself: only another one can see a gap, and whoever is killed in it leaves it.
func TestAnotherStoreSeesNoGap(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	writer, reader := mustOpen(t, on(k)), mustOpen(t, on(k))
	put(t, writer, "A", "canary")
	ctx, v, done := t.Context(), value(t, "canary"), make(chan struct{})
	go func() {
		defer close(done)
		for range 40 {
			if err := writer.Put(ctx, "A", secrets.Current, v); err != nil {
				t.Errorf("Put: %v", err)
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			if _, err := reader.Get(ctx, "A", secrets.Current); err != nil {
				t.Errorf("Get while it is replaced: %v", err)
				<-done
				return
			}
		}
	}
}
