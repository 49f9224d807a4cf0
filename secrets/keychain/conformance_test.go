//go:build secemu || (darwin && !ios && cgo && keychaincanary)

package keychain_test

import (
	"testing"

	"minibot/secrets/keychain"
	"minibot/secrets/storetest"
)

// TestConformance runs on the emulation (tag secemu, see TestEmulation) and, with the tag keychaincanary, on a Mac.
func TestConformance(t *testing.T) { storetest.Run(t, harness) }

func open(t testing.TB, options keychain.Options) *keychain.Store {
	t.Helper()
	s, err := keychain.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
