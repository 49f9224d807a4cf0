//go:build secemu

package keychain_test

import (
	"testing"
	"time"

	"minibot/secrets"
	"minibot/secrets/keychain"
	"minibot/secrets/keychain/internal/secemu"
	"minibot/secrets/storetest"
)

// service is what the tests use, not the default one: a store that ignores its option is seen.
const service = "minibot.test"

// patience is how long a test may take before what waits in the emulation is made to fail.
const patience = 5 * time.Second

// emulation empties the emulated keychain. When the test ends, no CoreFoundation object may be left.
func emulation(t testing.TB) {
	t.Helper()
	secemu.Reset()
	before := secemu.Live()
	watchdog := time.AfterFunc(patience, func() {
		t.Errorf("a call hangs for %v", patience)
		secemu.Reset()
	})
	t.Cleanup(func() {
		watchdog.Stop()
		secemu.Reset() // ends what waits
		keychain.Idle()
		secemu.Reset() // takes away what that may have written
		if n := secemu.Live() - before; n != 0 {
			t.Errorf("%d CoreFoundation objects were not released", n)
		}
	})
}

func harness(t testing.TB) storetest.Harness {
	t.Helper()
	emulation(t)
	store := open(t, keychain.Options{Service: service})
	lift := func() {}
	return storetest.Harness{
		Store:              store,
		Reopen:             func() secrets.Store { return open(t, keychain.Options{Service: service}) },
		Lock:               secemu.Lock,
		Reads:              secemu.Reads,
		SetClock:           secemu.Clock,
		AttributesReadable: true,
		Deny: func(denied bool) {
			lift()
			lift = func() {}
			if denied {
				a := secemu.Rule{Ops: secemu.Read | secemu.Add | secemu.Update}.Fail(-25293)
				b := secemu.Rule{Ops: secemu.Delete}.Fail(-25244)
				lift = func() { a(); b() }
			}
		},
		Block: func(blocked bool) {
			lift()
			lift = func() {}
			if blocked {
				lift = secemu.Rule{Ops: secemu.Secret}.Hang()
			}
		},
	}
}
