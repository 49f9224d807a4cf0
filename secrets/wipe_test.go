package secrets

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

const wiped = "canary-WIPED-7f3a"

// observed has the test told of each value that is wiped, once it is.
func observed(t *testing.T) <-chan []byte {
	t.Helper()
	before, gone := wipe, make(chan []byte, 16)
	wipe = func(plain []byte) { before(plain); gone <- plain }
	t.Cleanup(func() { wipe = before })
	return gone
}

// collected waits until what nobody holds was collected and cleaned up after.
func collected(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	runtime.AddCleanup(&struct{ p *int }{new(int)}, func(done chan struct{}) { close(done) }, done)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		runtime.GC()
		select {
		case <-done:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is cleaned up")
		}
	}
}

func TestTheBytesOfAValueAreClearedOnceNobodyHasIt(t *testing.T) {
	gone := observed(t)
	plain := []byte(wiped)
	value := newValue(plain)
	held := map[string]Value{"copy": value}
	value = Value{}
	collected(t)
	select {
	case <-gone:
		t.Fatal("it is cleared while a copy of it is held")
	default:
	}
	if held["copy"].text() != wiped {
		t.Fatal("it is another value")
	}
	delete(held, "copy")
	collected(t)
	select {
	case cleared := <-gone:
		if &cleared[0] != &plain[0] || !bytes.Equal(plain, make([]byte, len(wiped))) {
			t.Errorf("it still holds %q", plain)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is never cleared")
	}
}

// A value is last used by the method that reads it: it must not be cleared under its hands.
func TestAValueIsNotClearedWhileItIsRead(t *testing.T) {
	observed(t)
	newValue([]byte(wiped)).use(func(plain []byte) {
		collected(t)
		if string(plain) != wiped {
			t.Errorf("got %q", plain)
		}
	})
}
