// Package storetest is what every secrets.Store passes.
//
// It owns the meaning of the Store contract: where the words of secrets.Store leave room, what is tested here holds. It
// touches only names that begin with STORETEST_, in stores that the caller opens for it.
package storetest

import (
	"testing"
	"time"

	"minibot/secrets"
)

// Harness is a store under test and the handles on what lies beneath it. A nil handle leaves its checks out.
type Harness struct {
	Store secrets.Store // empty

	// Reopen returns another store on the same content, as another process would have it. Both are then in use.
	Reopen func() secrets.Store
	// Lock makes the store locked (true) or usable again (false).
	Lock func(locked bool)
	// Deny makes the store deny access (true) or allow it again (false).
	Deny func(denied bool)
	// Block makes what lies beneath answer nothing, as a dialog that waits for a person does (true), or go on (false).
	Block func(blocked bool)
	// Reads tells how many values were read from what lies beneath so far.
	Reads func() int
	// SetClock sets the clock that dates what is written, for good.
	SetClock func(time.Time)

	// AttributesReadable says that names and dates stay readable while values are locked, denied or blocked, as in the
	// macOS keychain: then List goes on, and what is not there may be ErrNotFound all the same.
	AttributesReadable bool
}

// Run runs every check, each on a new store from open.
func Run(t *testing.T, open func(t testing.TB) Harness) {
	t.Helper()
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) { check.run(t, open(t)) })
	}
}

// checks take a testing.TB so that they can be run on broken stores and be seen to fail.
var checks = []struct {
	name string
	run  func(testing.TB, Harness)
}{
	{"round trip", checkRoundTrip},
	{"update keeps one entry", checkUpdate},
	{"update never shows nothing", checkNoGap},
	{"not found", checkNotFound},
	{"delete", checkDelete},
	{"list", checkList},
	{"slots are independent", checkSlots},
	{"list reads no values", checkListReads},
	{"dates", checkDates},
	{"date of the last change", checkClock},
	{"bad addresses and values", checkBadInput},
	{"concurrent use", checkConcurrent},
	{"context", checkContext},
	{"locked", checkLocked},
	{"denied", checkDenied},
	{"blocked", checkBlocked},
	{"cancelled while blocked", checkBlockedCancel},
	{"promote", checkPromote},
	{"promote killed", checkPromoteKilled},
	{"reopen", checkReopen},
}
