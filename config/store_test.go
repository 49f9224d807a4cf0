package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"minibot/hint"
)

func TestSetStore(t *testing.T) {
	for name, test := range map[string]struct{ before, after string }{
		"written": {"# mine\nstore = \"age\" # here\nlog_level='debug'\n[env]\nstore = 'not this'\n", "# mine\nstore = \"keychain\" # here\nlog_level='debug'\n[env]\nstore = 'not this'\n"},
		"quotes":  {"  store='age'\n", "  store=\"keychain\"\n"},
		"absent":  {"# mine\n[env]\nstore = 'not this'\n", "store = \"keychain\"\n# mine\n[env]\nstore = 'not this'\n"},
		"empty":   {"", "store = \"keychain\"\n"},
		"comment": {"# store = 'age'\n", "store = \"keychain\"\n# store = 'age'\n"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			path := filepath.Join(home, "config.toml")
			write(t, path, test.before)
			for range 2 { // the second time nothing is left to do
				if err := SetStore(path, StoreKeychain); err != nil {
					t.Fatal(err)
				}
				if got := read(t, path); got != test.after {
					t.Errorf("got %q, want %q", got, test.after)
				}
			}
			if c, err := Load(home); err != nil || c.Store != StoreKeychain {
				t.Errorf("%v, %v", c.Store, err)
			}
		})
	}
}

func TestSetStoreLeavesWhatItCannotChange(t *testing.T) {
	for name, text := range map[string]string{
		"broken":     "store = ",
		"long":       "store = \"\"\"age\"\"\"\n",
		"quoted key": "\"store\" = 'age'\n",
		"in a text":  "compose_file = '''\nstore = \"age\"\n'''\n",
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		write(t, path, text)
		if err := SetStore(path, StoreKeychain); !errors.Is(err, ErrInvalid) || hint.Of(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, hint.Of(err))
		}
		if got := read(t, path); got != text {
			t.Errorf("%s: the file is changed to %q", name, got)
		}
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := SetStore(path, "vault"); !errors.Is(err, ErrInvalid) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestSetStoreWithoutAFile(t *testing.T) {
	home := t.TempDir()
	if err := SetStore(filepath.Join(home, "config.toml"), StoreSecurity); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(home); err != nil || c.Store != StoreSecurity || c.ComposeFile != Default().ComposeFile {
		t.Errorf("%+v, %v", c, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
