package secretservice_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"minibot/secrets"
	"minibot/secrets/secretservice"
	"minibot/secrets/secretservice/keyringtest"
)

// write is what another process does: it writes names of its own, and one that the others write too.
func write(part string) error {
	ctx := context.Background()
	s, err := secretservice.Open(ctx, secretservice.Options{})
	if err != nil {
		return err
	}
	for i := range writes {
		v, err := secrets.NewValue(fmt.Appendf(nil, "canary-%s-%d", part, i))
		if err != nil {
			return err
		}
		for _, name := range []secrets.Name{secrets.Name(fmt.Sprintf("%s_%02d", part, i)), "SHARED"} {
			if err := s.Put(ctx, name, secrets.Current, v); err != nil {
				return err
			}
		}
	}
	return s.Close()
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// settled waits until goroutines that are about to end have ended, and returns how many are left beyond most.
func settled(most int) int {
	late := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > most && time.Now().Before(late) {
		runtime.Gosched()
	}
	return runtime.NumGoroutine() - most
}

func TestTwoThousandOperationsLeaveNothingBehind(t *testing.T) {
	k := keyringtest.Start(t)
	before, files := runtime.NumGoroutine(), descriptors(t)
	s, err := secretservice.Open(t.Context(), on(k))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "A", "canary-a")
	goroutines, opened := runtime.NumGoroutine(), descriptors(t)
	for i := range 400 {
		mustHold(t, s, "A", "canary-a")
		if _, err := s.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "B", secrets.Current); err == nil {
			t.Fatal("there is a B")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Microsecond)
		_, _ = s.Get(ctx, "A", secrets.Current) // ends anywhere
		cancel()
		if i%8 == 0 {
			put(t, s, "A", "canary-a")
		} else {
			mustHold(t, s, "A", "canary-a")
		}
	}
	if n := settled(goroutines); n > 0 {
		t.Errorf("%d goroutines more after 2,000 operations", n)
	}
	if n := descriptors(t); n > opened {
		t.Errorf("%d descriptors after 2,000 operations, %d before", n, opened)
	}
	for range 5 { // each with a connection that is made anew
		k.RestartBus()
		k.RestartKeyring()
		mustHold(t, s, "A", "canary-a")
		secretservice.Offered(t.Context(), on(k))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for range 30 {
		s, err := secretservice.Open(t.Context(), on(k))
		if err != nil {
			t.Fatal(err)
		}
		mustHold(t, s, "A", "canary-a")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := settled(before); n > 0 {
		buffer := make([]byte, 1<<20)
		t.Errorf("%d goroutines more after everything is closed: %s", n, buffer[:runtime.Stack(buffer, true)])
	}
	if n := descriptors(t); n > files {
		t.Errorf("%d descriptors after everything is closed, %d before", n, files)
	}
}
