package security_test

import (
	"slices"
	"testing"

	"minibot/secrets/security"
	"minibot/secrets/security/securitytest/standin"
)

// TestAddresses lists every program's items, without a value, while the keychain is locked.
func TestAddresses(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	want := []security.Address{{Service: "other", Account: "you"}, {Service: "täg \"x\"", Account: ""}, {Service: "minibot", Account: "A"}}
	for _, a := range want {
		s.Add(standin.Item{Service: a.Service, Account: a.Account, Partition: "teamid:X", Value: []byte("canary-addresses")})
	}
	s.Add(standin.Item{Class: "inet", Service: "web", Account: "you"})
	s.Add(standin.Item{Account: "without a service"})
	s.Lock(true)
	got, err := store.Addresses(t.Context())
	if err != nil || !slices.Equal(got, want) || s.Reads() != 0 {
		t.Errorf("got %q, %v, after %d reads; want %q", got, err, s.Reads(), want)
	}
	s.Set(func(state *standin.State) { state.Fault = "garbage" })
	if got, err := store.Addresses(t.Context()); len(got) > 0 {
		t.Errorf("of garbage: %q, %v", got, err)
	}
}
