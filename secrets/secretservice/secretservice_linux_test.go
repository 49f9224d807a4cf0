package secretservice_test

import (
	"context"
	"testing"

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

// A bus that answers nothing at all is as bad as a keyring that does not.
func TestStoreOnABusThatHangs(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Harness {
		k := keyringtest.Start(t)
		return storetest.Harness{Store: mustOpen(t, on(k)), Block: either(k.PauseBus, k.ResumeBus)}
	})
}

var background = context.Background()
