package agefile

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"minibot/secrets"
)

func TestWriterWaitsForTheLockUntilItsDeadline(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.age")
	s, err := Open(t.Context(), Options{Path: path, KeyFile: filepath.Join(dir, "age.key"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	unlockFile, err := lockFile(t.Context(), system{}, path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := secrets.NewValue([]byte("canary"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "A", secrets.Current, v); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put under a held lock: %v", err)
	}
	if entries, err := s.List(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("a reader waits for the lock, or something was written: %v, %v", entries, err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), "A", secrets.Current, v) }()
	unlockFile()
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Error(err)
	}
}

func TestScryptIsNotWaitedForBeyondTheDeadline(t *testing.T) {
	s := &sealer{working: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	started, finish := make(chan struct{}), make(chan struct{})
	go func() { <-started; cancel() }()
	if _, err := s.compute(ctx, func() ([]byte, error) { close(started); <-finish; return nil, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// What nobody waits for any more still counts: a second one does not start beside it.
	if _, err := s.compute(ctx, func() ([]byte, error) { t.Error("two at once"); return nil, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(finish)
	if out, err := s.compute(t.Context(), func() ([]byte, error) { return []byte("x"), nil }); err != nil || string(out) != "x" {
		t.Errorf("got %q, %v", out, err)
	}
}
