package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/hint"
)

func TestTwoDaemons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.lock")
	release, err := AcquireLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = AcquireLock(t.Context(), path)
	if !errors.Is(err, ErrDaemonHolds) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) || hint.Of(err) == "" {
		t.Errorf("second daemon: %v", err)
	}
	err = WithLock(t.Context(), path, func() error { t.Error("called"); return nil })
	if !errors.Is(err, ErrDaemonHolds) {
		t.Errorf("command beside a daemon: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	want := errors.New("of f")
	if err := WithLock(t.Context(), path, func() error { return want }); !errors.Is(err, want) {
		t.Errorf("with the lock: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestStartingDaemonWaitsForACommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.lock")
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		go func() {
			err := WithLock(t.Context(), path, func() error {
				close(held)
				<-time.After(9 * time.Second)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}()
		<-held
		begin := time.Now()
		release, err := AcquireLock(t.Context(), path)
		if err != nil || time.Since(begin) < 8*time.Second {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
	})
}

func TestWaitingForALockIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.lock")
	synctest.Test(t, func(t *testing.T) {
		err := WithLock(t.Context(), path, func() error {
			begin := time.Now()
			_, err := AcquireLock(t.Context(), path)
			if err == nil || errors.Is(err, ErrDaemonHolds) || time.Since(begin) != lockPatience || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := AcquireLock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with a deadline: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestLockOfADeadDaemonIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.lock")
	if err := os.WriteFile(path, []byte("minibotd 1\n"), 0o600); err != nil { // left by a kill; pid 1 lives
		t.Fatal(err)
	}
	if err := WithLock(t.Context(), path, func() error { return nil }); err != nil {
		t.Error(err)
	}
}
