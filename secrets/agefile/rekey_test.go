package agefile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/agefile"
)

func saying(answer string) func() (string, error) {
	return func() (string, error) { return answer, nil }
}

// mustHold checks that s has the canary, and can be written.
func mustHold(t testing.TB, s *agefile.Store) {
	t.Helper()
	item, err := s.Get(t.Context(), "A", secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	if !item.Value.Equal(canary(t)) {
		t.Error("another value")
	}
	if err := s.Put(t.Context(), "B", secrets.Current, canary(t)); err != nil {
		t.Error(err)
	}
}

func filled(t testing.TB, o agefile.Options) *agefile.Store {
	t.Helper()
	s := mustOpen(t, o)
	if err := s.Put(t.Context(), "A", secrets.Current, canary(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRekey(t *testing.T) {
	o := inDir(t.TempDir())
	s := filled(t, o)
	asked := 0
	toPassphrase := func(answer string) agefile.RekeyOptions {
		return agefile.RekeyOptions{WithPassphrase: true, Passphrase: func() (string, error) { asked++; return answer, nil }}
	}
	first := read(t, o.KeyFile)
	for _, step := range []struct {
		name    string
		options agefile.RekeyOptions
		opens   string // the passphrase afterwards
	}{
		{"key to key", agefile.RekeyOptions{}, ""},
		{"key to passphrase", toPassphrase("canary one"), "canary one"},
		{"passphrase to passphrase", toPassphrase("canary two"), "canary two"},
		{"the same passphrase", toPassphrase("canary two"), "canary two"},
		{"passphrase to key", agefile.RekeyOptions{}, ""},
	} {
		if err := s.Rekey(t.Context(), step.options); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		mustHold(t, s)
		fresh := o
		fresh.Passphrase = saying(step.opens)
		mustHold(t, mustOpen(t, fresh))
		key, err := os.ReadFile(o.KeyFile)
		if step.opens != "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the key is left behind: %v", step.name, err)
		}
		if step.opens == "" && (err != nil || strings.Count(string(key), "AGE-SECRET-KEY-") != 1 || strings.Contains(string(first), string(key))) {
			t.Errorf("%s: not one new key: %v", step.name, err)
		}
		if info, err := os.Stat(o.KeyFile); err == nil && info.Mode() != 0o600 {
			t.Errorf("%s: the key has mode %v", step.name, info.Mode())
		}
		if strings.Contains(tree(t, dirOf(o)), strings.TrimSpace(string(first[strings.Index(string(first), "AGE-SECRET"):]))) {
			t.Errorf("%s: the old key is left behind", step.name)
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times for a new passphrase", asked)
	}
}

func TestRekeyRefused(t *testing.T) {
	foreign := func(t *testing.T, o agefile.Options) {
		other := inDir(t.TempDir())
		mustOpen(t, other)
		write(t, o.KeyFile, read(t, other.KeyFile))
	}
	nothing := func(*testing.T, agefile.Options) {}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context
		before func(dir string) agefile.Options
		spoil  func(*testing.T, agefile.Options)
		to     agefile.RekeyOptions
		want   error
	}{
		"nobody to ask":                  {t.Context(), inDir, nothing, agefile.RekeyOptions{WithPassphrase: true}, secrets.ErrLocked},
		"empty":                          {t.Context(), inDir, nothing, agefile.RekeyOptions{WithPassphrase: true, Passphrase: saying("")}, secrets.ErrLocked},
		"another's key":                  {t.Context(), inDir, foreign, agefile.RekeyOptions{}, fs.ErrExist},
		"another's key, to a passphrase": {t.Context(), inDir, foreign, agefile.RekeyOptions{WithPassphrase: true, Passphrase: saying("x")}, fs.ErrExist},
		"a key is there":                 {t.Context(), withPassphraseAndKey, foreign, agefile.RekeyOptions{}, fs.ErrExist},
		"no key file named":              {t.Context(), withPassphrase, nothing, agefile.RekeyOptions{}, nil},
		"store damaged":                  {t.Context(), inDir, func(t *testing.T, o agefile.Options) { write(t, o.Path, nil) }, agefile.RekeyOptions{}, secrets.ErrDamaged},
		"cancelled":                      {cancelled, inDir, nothing, agefile.RekeyOptions{}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			o := test.before(t.TempDir())
			s := filled(t, o)
			test.spoil(t, o)
			before := tree(t, dirOf(o))
			err := s.Rekey(test.ctx, test.to)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || hint.Of(err) == "" && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v; hint %q", err, test.want, hint.Of(err))
			}
			if tree(t, dirOf(o)) != before {
				t.Error("something changed")
			}
		})
	}
}

// Whoever has the store open meanwhile goes on by itself where a key follows, and says what to do where a passphrase does.
func TestRekeyUnderARunningProcess(t *testing.T) {
	o := withPassphraseAndKey(t.TempDir())
	o.WithPassphrase = false
	running, s := filled(t, o), mustOpen(t, o)
	denied := func(step string, want error) {
		t.Helper()
		_, err := running.Get(t.Context(), "A", secrets.Current)
		puts := running.Put(t.Context(), "A", secrets.Current, canary(t))
		for _, err := range []error{err, puts} {
			if !errors.Is(err, want) || !strings.Contains(hint.Of(err), "anew") {
				t.Errorf("%s: got %v, hint %q", step, err, hint.Of(err))
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Rekey(t.Context(), agefile.RekeyOptions{}))
	mustHold(t, running)
	must(s.Rekey(t.Context(), agefile.RekeyOptions{}))
	must(running.Put(t.Context(), "A", secrets.Current, canary(t))) // a write, without a read before
	mustHold(t, s)
	must(s.Rekey(t.Context(), agefile.RekeyOptions{WithPassphrase: true, Passphrase: saying("canary one")}))
	denied("a passphrase", secrets.ErrLocked)
	must(s.Rekey(t.Context(), agefile.RekeyOptions{}))
	mustHold(t, running)
	must(s.Rekey(t.Context(), agefile.RekeyOptions{WithPassphrase: true, Passphrase: saying("canary one")}))
	o.Passphrase = saying("canary one")
	running = mustOpen(t, o)
	must(s.Rekey(t.Context(), agefile.RekeyOptions{WithPassphrase: true, Passphrase: saying("canary two")}))
	denied("another passphrase", secrets.ErrDenied)
	must(s.Rekey(t.Context(), agefile.RekeyOptions{}))
	mustHold(t, running)
}

// TestRekeyUnderReadersAndWriters seals the store anew again and again while others open, read and write it.
func TestRekeyUnderReadersAndWriters(t *testing.T) {
	o := inDir(t.TempDir())
	s := filled(t, o)
	const rekeys, writers = 10, 3
	ctx, done := t.Context(), make(chan struct{})
	var wg sync.WaitGroup
	repeat := func(what string, do func(n int) error) {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if err := do(n); err != nil {
					t.Errorf("%s %d: %v", what, n, err)
					return
				}
			}
		})
	}
	written := make([]int, writers)
	for i := range writers {
		own := mustOpen(t, o)
		repeat("write", func(n int) error {
			written[i] = min(n+1, 50)
			return own.Put(ctx, secrets.Name(fmt.Sprintf("W%d_%d", i, n%50)), secrets.Current, canary(t))
		})
	}
	repeat("open", func(int) error {
		fresh, err := agefile.Open(ctx, o)
		if err != nil {
			return err
		}
		_, err = fresh.Get(ctx, "A", secrets.Current)
		return errors.Join(err, fresh.Close())
	})
	for i := range rekeys {
		if err := s.Rekey(ctx, agefile.RekeyOptions{}); err != nil {
			t.Errorf("rekey %d: %v", i, err)
		}
	}
	close(done)
	wg.Wait()
	want := 1 // A
	for _, n := range written {
		want += n
	}
	if entries, err := s.List(ctx); err != nil || len(entries) != want {
		t.Errorf("%d entries, want %d: %v", len(entries), want, err)
	}
	mustHold(t, s)
}
