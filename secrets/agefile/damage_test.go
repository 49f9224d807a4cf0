package agefile_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/agefile"
)

func canary(t testing.TB) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte("canary-POSTGRES-value"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// seal encrypts plain to the key in o.
func seal(t testing.TB, o agefile.Options, plain string) []byte {
	t.Helper()
	ids, err := age.ParseIdentities(bytes.NewReader(read(t, o.KeyFile)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, ids[0].(*age.X25519Identity).Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatCannotBeReadIsNamedAndNotChanged(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, o *agefile.Options)
		want  error
		names string // what the error names, by base
	}{
		{"empty", func(t *testing.T, o *agefile.Options) { write(t, o.Path, nil) }, secrets.ErrDamaged, "store.age"},
		{"foreign", func(t *testing.T, o *agefile.Options) { write(t, o.Path, []byte("NAME=value\n")) }, secrets.ErrDamaged, "store.age"},
		{"truncated header", func(t *testing.T, o *agefile.Options) { write(t, o.Path, read(t, o.Path)[:60]) }, secrets.ErrDamaged, "store.age"},
		{"truncated payload", func(t *testing.T, o *agefile.Options) { b := read(t, o.Path); write(t, o.Path, b[:len(b)-1]) }, secrets.ErrDamaged, "store.age"},
		{"flipped bit", func(t *testing.T, o *agefile.Options) {
			b := read(t, o.Path)
			b[len(b)-5] ^= 1
			write(t, o.Path, b)
		}, secrets.ErrDamaged, "store.age"},
		{"not JSON", func(t *testing.T, o *agefile.Options) { write(t, o.Path, seal(t, *o, "canary-POSTGRES")) }, secrets.ErrDamaged, "store.age"},
		{"other JSON", func(t *testing.T, o *agefile.Options) { write(t, o.Path, seal(t, *o, `{"format":"x","version":1}`)) }, secrets.ErrDamaged, "store.age"},
		{"bad name", func(t *testing.T, o *agefile.Options) {
			write(t, o.Path, seal(t, *o, `{"format":"minibot-store","version":1,"secrets":{"a":{"current":{"value":"eA=="}}}}`))
		}, secrets.ErrDamaged, "store.age"},
		{"unknown slot", func(t *testing.T, o *agefile.Options) {
			write(t, o.Path, seal(t, *o, `{"format":"minibot-store","version":1,"secrets":{"A":{"next":{"value":"eA=="}}}}`))
		}, secrets.ErrDamaged, "store.age"},
		{"newer version", func(t *testing.T, o *agefile.Options) {
			write(t, o.Path, seal(t, *o, `{"format":"minibot-store","version":2,"new":{}}`))
		}, nil, "store.age"},
		{"directory", func(_ *testing.T, o *agefile.Options) { o.Path = filepath.Dir(o.Path) }, nil, ""},
		{"symbolic link", func(t *testing.T, o *agefile.Options) {
			link := o.Path + ".link-store.age"
			if err := os.Symlink(o.Path, link); err != nil {
				t.Fatal(err)
			}
			o.Path = link
		}, nil, "link-store.age"},
		{"key missing", func(_ *testing.T, o *agefile.Options) { o.KeyFile += "x" }, secrets.ErrDenied, "age.keyx"},
		{"key readable for others", func(t *testing.T, o *agefile.Options) {
			if err := os.Chmod(o.KeyFile, 0o640); err != nil {
				t.Fatal(err)
			}
		}, secrets.ErrDenied, "age.key"},
		{"key damaged", func(t *testing.T, o *agefile.Options) { write(t, o.KeyFile, []byte("AGE-SECRET-KEY-1CANARY\n")) }, secrets.ErrDenied, "age.key"},
		{"key empty", func(t *testing.T, o *agefile.Options) { write(t, o.KeyFile, nil) }, secrets.ErrDenied, "age.key"},
		{"key a directory", func(_ *testing.T, o *agefile.Options) { o.KeyFile = filepath.Dir(o.KeyFile) }, nil, ""},
		{"key too large", func(t *testing.T, o *agefile.Options) {
			write(t, o.KeyFile, append(bytes.Repeat([]byte("#\n"), 40<<10), read(t, o.KeyFile)...))
		}, secrets.ErrDenied, "age.key"},
		{"two keys", func(t *testing.T, o *agefile.Options) {
			write(t, o.KeyFile, bytes.Repeat(read(t, o.KeyFile), 2))
		}, secrets.ErrDenied, "age.key"},
		{"key not named", func(_ *testing.T, o *agefile.Options) { o.KeyFile = "" }, secrets.ErrDenied, ""},
		{"store not named", func(_ *testing.T, o *agefile.Options) { o.Path = "" }, nil, ""},
		{"one name for both", func(_ *testing.T, o *agefile.Options) { o.KeyFile = filepath.Dir(o.Path) + "/./store.age" }, nil, "store.age"},
		{"key a symbolic link", func(t *testing.T, o *agefile.Options) {
			link := o.KeyFile + ".link-age.key"
			if err := os.Symlink(o.KeyFile, link); err != nil {
				t.Fatal(err)
			}
			o.KeyFile = link
		}, nil, "link-age.key"},
		{"key amid a rekey, of another store", func(t *testing.T, o *agefile.Options) {
			other := inDir(t.TempDir())
			mustOpen(t, other)
			write(t, o.KeyFile, append([]byte("# the store is being sealed anew: the old key comes first, the new one last\n"), read(t, other.KeyFile)...))
		}, secrets.ErrDenied, "age.key"},
		{"another key", func(t *testing.T, o *agefile.Options) {
			other := inDir(t.TempDir())
			mustOpen(t, other)
			o.KeyFile = other.KeyFile
		}, secrets.ErrDenied, "age.key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := inDir(t.TempDir())
			s := mustOpen(t, o)
			if err := s.Put(t.Context(), "A", secrets.Current, canary(t)); err != nil {
				t.Fatal(err)
			}
			spoilt := o
			test.spoil(t, &spoilt)
			before := tree(t, filepath.Dir(o.Path))
			got, err := agefile.Open(t.Context(), spoilt)
			if err == nil {
				_ = got.Close()
				t.Fatal("it opens")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if hint.Of(err) == "" || !strings.Contains(err.Error(), test.names) || strings.Contains(strings.ToLower(err.Error()+hint.Of(err)), "canary") {
				t.Errorf("error %q, hint %q", err, hint.Of(err))
			}
			if errors.Is(test.want, secrets.ErrDamaged) { // an open store refuses to write, too
				if err := s.Put(t.Context(), "B", secrets.Current, canary(t)); !errors.Is(err, secrets.ErrDamaged) {
					t.Errorf("Put: got %v", err)
				}
			}
			if after := tree(t, filepath.Dir(o.Path)); after != before {
				t.Errorf("something changed:\n%q\n%q", before, after)
			}
		})
	}
}

// tree shows the content of every file in dir.
func tree(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(e.Name() + "=" + string(read(t, filepath.Join(dir, e.Name()))) + "\n")
	}
	return out.String()
}

func TestNoStoreYet(t *testing.T) {
	o := inDir(filepath.Join(t.TempDir(), "home"))
	o.Create = false
	if _, err := agefile.Open(t.Context(), o); !errors.Is(err, secrets.ErrNoStore) || hint.Of(err) != "mb-secrets init" {
		t.Errorf("got %v, hint %q", err, hint.Of(err))
	}
	if _, err := os.Stat(filepath.Dir(o.Path)); err == nil {
		t.Error("something was made")
	}
}

func TestCreateIsPrivateAndKeepsAnExistingKey(t *testing.T) {
	o := inDir(t.TempDir())
	s := mustOpen(t, o)
	key := read(t, o.KeyFile)
	for _, path := range []string{o.Path, o.KeyFile, o.Path + ".lock"} {
		if info, err := os.Stat(path); err == nil && info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	if err := os.Remove(o.Path); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "A", secrets.Current, canary(t)); !errors.Is(err, secrets.ErrNoStore) {
		t.Errorf("Put without a file: %v", err)
	}
	leftover := filepath.Join(filepath.Dir(o.Path), ".store.age.tmp-123")
	write(t, leftover, []byte("torn"))
	if again := mustOpen(t, o); again.Put(t.Context(), "A", secrets.Current, canary(t)) != nil || !bytes.Equal(read(t, o.KeyFile), key) {
		t.Error("the key was replaced, or the new store does not work")
	}
	if _, err := os.Stat(leftover); err == nil {
		t.Error("a temporary file stays")
	}
	if strings.Contains(string(read(t, o.Path)), "canary") {
		t.Error("plaintext in the file")
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s := mustOpen(t, inDir(t.TempDir()))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := s.Put(t.Context(), "A", secrets.Current, canary(t)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkGetUnchanged(b *testing.B) {
	s := mustOpen(b, inDir(b.TempDir()))
	if err := s.Put(b.Context(), "A", secrets.Current, canary(b)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Get(b.Context(), "A", secrets.Current); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzOpenStoreFile(f *testing.F) {
	o := inDir(f.TempDir())
	s := mustOpen(f, o)
	if err := s.Put(f.Context(), "A", secrets.Current, canary(f)); err != nil {
		f.Fatal(err)
	}
	good := read(f, o.Path)
	f.Add(good, false)
	f.Add(good[:len(good)/2], false)
	f.Add([]byte{}, false)
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAA 18\nAAAA\n--- AAAA\n"), false)
	f.Add([]byte(`{"format":"minibot-store","version":1,"secrets":{"A":{"current":{"value":"eA==","changed":"2026-01-01T00:00:00Z"}}}}`), true)
	f.Add([]byte(`{"format":"minibot-store","version":99}`), true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		o := o
		if sealed {
			data = seal(t, o, string(data))
		}
		o.Path = filepath.Join(t.TempDir(), "store.age")
		write(t, o.Path, data)
		before := time.Unix(1e9, 0)
		if err := os.Chtimes(o.Path, before, before); err != nil {
			t.Fatal(err)
		}
		s, err := agefile.Open(t.Context(), o)
		if err == nil {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		} else if !strings.Contains(err.Error(), o.Path) {
			t.Errorf("%v does not name the file", err)
		}
		if info, err := os.Stat(o.Path); err != nil || !info.ModTime().Equal(before) || !bytes.Equal(read(t, o.Path), data) {
			t.Error("the file was touched")
		}
	})
}
