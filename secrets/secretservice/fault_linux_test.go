package secretservice_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/secretservice"
	"minibot/secrets/secretservice/keyringtest"
)

// mustFail checks every operation of s, and Open.
func mustFail(t *testing.T, s secrets.Store, o secretservice.Options, want error, inHint string) {
	t.Helper()
	if s != nil {
		_, err := s.Get(t.Context(), "A", secrets.Current)
		mustBe(t, "Get", err, want, inHint)
		_, err = s.List(t.Context())
		mustBe(t, "List", err, want, inHint)
		mustBe(t, "Put", s.Put(t.Context(), "A", secrets.Current, value(t, "canary-new")), want, inHint)
		mustBe(t, "Delete", s.Delete(t.Context(), "A", secrets.Current), want, inHint)
	}
	_, err := secretservice.Open(t.Context(), o)
	mustBe(t, "Open", err, want, inHint)
}

func TestLockedAtStartAndInBetween(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	put(t, s, "A", "canary-a")
	k.Lock()
	mustFail(t, s, on(k), secrets.ErrLocked, "gnome-keyring-daemon")
	k.Unlock()
	mustHold(t, s, "A", "canary-a")
	k.RestartKeyringLocked()
	mustFail(t, s, on(k), secrets.ErrLocked, "gnome-keyring-daemon")
	k.Unlock()
	mustHold(t, s, "A", "canary-a")
	mustHold(t, mustOpen(t, on(k)), "A", "canary-a")
}

func TestAServiceWithoutADefaultCollection(t *testing.T) {
	t.Parallel()
	k := keyringtest.StartBus(t)
	k.RestartKeyringLocked() // it was never unlocked, so nothing was ever made
	mustFail(t, nil, on(k), secrets.ErrNoStore, "gnome-keyring-daemon --replace --unlock")
}

func TestABusWithoutAService(t *testing.T) {
	t.Parallel()
	k := keyringtest.StartBus(t)
	mustFail(t, nil, on(k), secrets.ErrUnavailable, "apt-get install gnome-keyring")
}

// No bus is an answer, and no reason to start one.
func TestNoBus(t *testing.T) {
	dir := t.TempDir()
	script := []byte("#!/bin/sh\n: >" + filepath.Join(dir, "launched") + "\n")
	if err := os.WriteFile(filepath.Join(dir, "dbus-launch"), script, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("DISPLAY", ":99")
	for _, address := range []string{"", "autolaunch:", "unixexec:path=" + filepath.Join(dir, "dbus-launch"), "unix:path=" + filepath.Join(dir, "none"), "tcp:host=127.0.0.1,port=9"} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
		mustFail(t, nil, secretservice.Options{}, secrets.ErrUnavailable, "export DBUS_SESSION_BUS_ADDRESS=")
		if secretservice.Offered(t.Context(), secretservice.Options{}) {
			t.Errorf("%q offers a keyring", address)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "launched")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a bus was started: %v", err)
	}
}

func TestTheEnvironmentNamesTheBus(t *testing.T) {
	k := keyringtest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", k.BusAddress())
	put(t, mustOpen(t, secretservice.Options{}), "A", "canary-a")
	staging := mustOpen(t, secretservice.Options{Service: "minibot-staging"})
	if entries, err := staging.List(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("another service lists %v, %v", entries, err)
	}
	put(t, staging, "A", "canary-staging")
	mustHold(t, mustOpen(t, on(k)), "A", "canary-a")
}

// hammer writes canary-1, canary-2, … until until has returned. Every error must be ErrUnavailable with a hint. It returns
// the values of which the store may hold any.
func hammer(t *testing.T, s secrets.Store, until func()) (possible []string) {
	t.Helper()
	ctx, begun, stop, done := t.Context(), make(chan struct{}), make(chan struct{}), make(chan []string)
	go func() {
		possible, failed := []string{"canary-0"}, 0
		for i := 1; ; i++ {
			select {
			case <-stop:
				if failed > 0 {
					done <- possible
					return
				}
			default:
			}
			plain := fmt.Sprint("canary-", i)
			v, err := secrets.NewValue([]byte(plain))
			if err == nil {
				err = s.Put(ctx, "A", secrets.Current, v)
			}
			switch {
			case err == nil && failed == 0:
				possible = []string{plain}
			case err == nil:
				t.Error("a Put succeeds on a keyring that was killed")
			case !errors.Is(err, secrets.ErrUnavailable) || hint.Of(err) == "":
				t.Errorf("Put: got %v, want ErrUnavailable with a hint", err)
				fallthrough
			default:
				if failed++; failed == 1 {
					possible = append(possible, plain)
				}
			}
			if i == 3 {
				close(begun)
			}
		}
	}()
	<-begun
	until()
	close(stop)
	return <-done
}

func TestAKeyringThatDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	for range 5 {
		put(t, s, "A", "canary-0")
		possible := hammer(t, s, k.KillKeyring)
		mustFail(t, s, on(k), secrets.ErrUnavailable, "gnome-keyring")
		k.RestartKeyring()
		mustHold(t, s, "A", possible...)
		entries, err := s.List(t.Context())
		if err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	}
}

// A keyring that was started anew between two calls is no error: sessions are opened again.
func TestAKeyringThatWasStartedAnew(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	put(t, s, "A", "canary-a")
	for range 3 {
		k.RestartKeyring()
		mustHold(t, s, "A", "canary-a")
		k.RestartKeyring()
		put(t, s, "A", "canary-a")
	}
}

func TestABusThatDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	for range 3 {
		put(t, s, "A", "canary-0")
		possible := hammer(t, s, k.KillBus)
		mustFail(t, s, on(k), secrets.ErrUnavailable, "")
		k.RestartBus()
		k.RestartKeyring()
		mustHold(t, s, "A", possible...)
	}
	k.RestartBus() // between two calls it is no error
	k.RestartKeyring()
	put(t, s, "A", "canary-after")
}

// A bus that stands still takes no more bytes than fit into its socket. What was not sent must not come late.
func TestABusThatStandsStill(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	put(t, s, "A", "canary-0")
	large := value(t, strings.Repeat("canary-late ", secrets.MaxValueSize/12))
	for range 3 {
		k.PauseBus()
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			mustBe(t, "Put", s.Put(ctx, "A", secrets.Current, large), secrets.ErrDenied, "")
			cancel()
		}
		k.ResumeBus()
		put(t, s, "A", "canary-after")
		mustHold(t, s, "A", "canary-after")
	}
	// The same beneath a writer in full swing: the socket fills up in the middle of a message.
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began, failed := make(chan struct{}), make(chan error)
		go func() {
			for i := 0; ; i++ {
				if err := s.Put(ctx, "A", secrets.Current, large); err != nil {
					failed <- err
					return
				}
				if i == 0 {
					close(began)
				}
			}
		}()
		select {
		case <-began:
			k.PauseBus()
			if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Put: got %v", err)
			}
			k.ResumeBus()
		case <-failed: // the machine is busy: not one Put in that time
		}
		cancel()
		put(t, s, "A", "canary-after")
		mustHold(t, s, "A", "canary-after")
	}
}

func TestTimeoutWithoutADeadline(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	o := on(k)
	o.Timeout = time.Second
	s := mustOpen(t, o)
	k.PauseKeyring()
	defer k.ResumeKeyring()
	_, err := s.Get(t.Context(), "A", secrets.Current)
	mustBe(t, "Get", err, secrets.ErrDenied, "dialog")
	mustBe(t, "Get", err, context.DeadlineExceeded, "dialog")
}

func TestClose(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	k.PauseKeyring()
	failed := make(chan error)
	go func() {
		_, err := s.Get(context.WithoutCancel(t.Context()), "A", secrets.Current)
		failed <- err
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Get beneath Close: got %v", err)
	}
	k.ResumeKeyring()
	if err := s.Put(t.Context(), "A", secrets.Current, value(t, "canary")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Put after Close: got %v", err)
	}
}

func TestOffered(t *testing.T) {
	t.Parallel()
	k := keyringtest.StartBus(t)
	offered := func(what string, want bool) {
		t.Helper()
		if got := secretservice.Offered(t.Context(), on(k)); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	offered("no service", false)
	k.RestartKeyringLocked()
	offered("no default collection", false)
	k.RestartKeyring()
	offered("unlocked", true)
	k.Lock()
	offered("locked", true)
	k.PauseKeyring()
	began := time.Now()
	offered("no answer", false)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to see that nothing answers", took)
	}
	k.ResumeKeyring()
	k.KillKeyring()
	offered("service killed", false)
	k.MakeActivatable()
	offered("started by the bus", true)
	mustFail(t, nil, on(k), secrets.ErrLocked, "")
	k.Unlock()
	put(t, mustOpen(t, on(k)), "A", "canary")
	k.KillBus()
	offered("no bus", false)
}

func TestNothingOfAValueShows(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	seen := k.Listen(func() {
		put(t, s, "A", "canary-in-the-clear")
		mustHold(t, s, "A", "canary-in-the-clear")
	})
	if !bytes.Contains(seen, []byte("GetSecret")) || !bytes.Contains(seen, []byte("minibot: A")) {
		t.Error("nothing was heard of what went over the bus")
	}
	if bytes.Contains(seen, []byte("canary")) {
		t.Error("the value crossed the bus in the clear")
	}
}
