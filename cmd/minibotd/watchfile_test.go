package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/secrets"
)

// A file is watched from before it is there, over its removal and its replacement.
func TestWatchFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "record")
	if err := watchFile(t.Context(), path, func() { t.Error("told of what is not watched") }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Dir(path), 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan bool), make(chan error, 1)
	go func() {
		ended <- watchFile(ctx, path, func() {
			_, err := os.Stat(path)
			select {
			case told <- err == nil:
			case <-ctx.Done():
			}
		})
	}()
	expect := func(what string, there bool) {
		t.Helper()
		for end := time.After(20 * time.Second); ; {
			select {
			case is := <-told: // of the step before, perhaps, once more
				if is == there {
					return
				}
			case <-end:
				t.Fatalf("%s: not told", what)
			}
		}
	}
	replace := func() {
		must(os.WriteFile(path+".tmp", []byte("x"), 0o600))
		must(os.Rename(path+".tmp", path))
	}
	expect("at first", false)
	replace()
	expect("renamed into place", true)
	must(os.Remove(path))
	expect("removed", false)
	replace()
	expect("there again", true)
	home := filepath.Dir(filepath.Dir(path))
	must(os.Rename(home, home+"-away"))
	expect("its home was moved", false)
	cancel()
	t.Cleanup(func() { must(os.RemoveAll(home + "-away")) })
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A record that a command wrote without reaching the daemon is noticed when the watch tells of it, and on the beat without one.
func TestARecordIsNoticed(t *testing.T) {
	for what, tells := range map[string]bool{"told": true, "not told": false} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := testDaemon(t, func(context.Context, string) (secrets.Store, error) { return nil, secrets.ErrLocked })
				d.world.host = "unix:///nowhere/docker.sock"
				said := make(chan func(), 1)
				d.watch = func(ctx context.Context, path string, tell func()) error {
					if path != filepath.Join(d.paths.StateDir, "lockdown.json") {
						t.Errorf("%s is watched", path)
					}
					said <- tell
					if !tells {
						return errors.New("nothing can be watched here")
					}
					<-ctx.Done()
					return nil
				}
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- d.Serve(ctx, nil) }()
				<-time.After(7 * time.Second)
				if _, err := d.lock.file.Begin(t.Context(), "a test"); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if notice := <-said; tells {
					notice()
				}
				synctest.Wait()
				for d.lockedDown() == nil && time.Since(began) < time.Hour {
					<-time.After(time.Second)
				}
				if took := time.Since(began); (took == 0) != tells || took > noticeInterval+time.Second {
					t.Errorf("noticed after %v", took)
				}
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A daemon whose lock is gone ends before a second one has its place for long.
func TestTheLockIsMissed(t *testing.T) {
	for what, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
		"moved away with its folder": func(path string) error {
			return os.Rename(filepath.Dir(path), filepath.Dir(path)+"-away")
		},
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "lock")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			held, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- watchLock(ctx, path, held, slog.New(slog.DiscardHandler)) }()
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "removed or replaced while minibotd ran") {
				t.Errorf("%v", err)
			}
		})
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := watchLock(cancelled, filepath.Join(t.TempDir(), "lock"), nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
