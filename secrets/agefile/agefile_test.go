package agefile_test

import (
	"os"
	"path/filepath"
	"testing"

	"minibot/secrets"
	"minibot/secrets/agefile"
	"minibot/secrets/storetest"
)

func inDir(dir string) agefile.Options {
	return agefile.Options{Path: filepath.Join(dir, "store.age"), KeyFile: filepath.Join(dir, "age.key"), Create: true, WorkFactor: 1}
}

func withPassphrase(dir string) agefile.Options {
	o := inDir(dir)
	o.KeyFile, o.WithPassphrase = "", true
	o.Passphrase = func() (string, error) { return "canary-passphrase", nil }
	return o
}

// withPassphraseAndKey names a key file as well, as a store has it whose kind is read from the file.
func withPassphraseAndKey(dir string) agefile.Options {
	o := withPassphrase(dir)
	o.KeyFile = inDir(dir).KeyFile
	return o
}

func dirOf(o agefile.Options) string { return filepath.Dir(o.Path) }

func mustOpen(t testing.TB, o agefile.Options) *agefile.Store {
	t.Helper()
	s, err := agefile.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestStore leaves two handles of the harness nil: nothing beneath the store answers late, but for the lock among writers, which
// TestWriterWaitsForTheLockUntilItsDeadline holds; and the file is one piece, of which List decrypts as much as Get does.
func TestStore(t *testing.T) {
	for name, options := range map[string]func(string) agefile.Options{"key file": inDir, "passphrase": withPassphrase} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t testing.TB) storetest.Harness {
				o := options(t.TempDir())
				s := mustOpen(t, o)
				h := storetest.Harness{
					Store:    s,
					Reopen:   func() secrets.Store { return mustOpen(t, o) },
					Deny:     func(denied bool) { exchange(t, o, foreign(t, options), denied) },
					SetClock: s.SetClock,
				}
				if o.Passphrase == nil { // a passphrase that came after Open is the only one that an open store lacks
					h.Lock = func(locked bool) { exchange(t, o, foreign(t, withPassphrase), locked) }
				}
				return h
			})
		})
	}
}

// foreign returns the content of a store that another key or passphrase opens.
func foreign(t testing.TB, options func(string) agefile.Options) []byte {
	t.Helper()
	o := options(t.TempDir())
	if o.Passphrase != nil {
		o.Passphrase = saying("canary of another store")
	}
	mustOpen(t, o)
	return read(t, o.Path)
}

// exchange puts content in the place of the store file, or the store file back.
func exchange(t testing.TB, o agefile.Options, content []byte, away bool) {
	t.Helper()
	aside := o.Path + ".aside"
	if !away {
		if err := os.Rename(aside, o.Path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.Rename(o.Path, aside); err != nil {
		t.Fatal(err)
	}
	write(t, o.Path, content)
}
