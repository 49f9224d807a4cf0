//go:build darwin && !ios && cgo && keychaincanary

package keychain_test

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"minibot/secrets"
	"minibot/secrets/keychain"
	"minibot/secrets/storetest"
)

// The temporary keychain's path, which must be the default keychain, and the password that unlocks it. What makes
// and removes it is in the continuous integration's workflow.
const (
	keychainVariable = "MINIBOT_TEST_KEYCHAIN"
	keychainPassword = "canary"
)

// harness opens a store of its own service. It refuses to run unless the default keychain is the temporary one.
func harness(t testing.TB) storetest.Harness {
	t.Helper()
	path := os.Getenv(keychainVariable)
	if path == "" {
		t.Fatalf("%s is not set: this test writes to the default keychain, which must be a temporary one", keychainVariable)
	}
	is := strings.Trim(security(t, "default-keychain"), " \t\n\"")
	if resolved(t, is) != resolved(t, path) {
		t.Fatalf("the default keychain is not the one that %s names: make it so, or this test would write to yours", keychainVariable)
	}
	security(t, "unlock-keychain", "-p", keychainPassword, path)
	options := keychain.Options{Service: "minibot.test." + rand.Text()}
	store := open(t, options)
	t.Cleanup(func() { empty(t, store) })
	return storetest.Harness{
		Store:              store,
		Reopen:             func() secrets.Store { return open(t, options) },
		AttributesReadable: true,
		Lock: func(locked bool) {
			if locked {
				security(t, "lock-keychain", path)
			} else {
				security(t, "unlock-keychain", "-p", keychainPassword, path)
			}
		},
	}
}

func empty(t testing.TB, s secrets.Store) {
	ctx := context.WithoutCancel(t.Context())
	entries, err := s.List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if err := s.Delete(ctx, e.Name, e.Slot); err != nil {
			t.Error(err)
		}
	}
}

func security(t testing.TB, arguments ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "/usr/bin/security", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("security %s: %v: %s", arguments[0], err, out)
	}
	return string(out)
}

func resolved(t testing.TB, path string) string {
	t.Helper()
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return target
}
