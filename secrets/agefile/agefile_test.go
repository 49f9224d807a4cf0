package agefile_test

import (
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

func TestStore(t *testing.T) {
	for name, options := range map[string]func(string) agefile.Options{"key file": inDir, "passphrase": withPassphrase} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t testing.TB) storetest.Harness {
				o := options(t.TempDir())
				return storetest.Harness{Store: mustOpen(t, o), Reopen: func() secrets.Store { return mustOpen(t, o) }}
			})
		})
	}
}
