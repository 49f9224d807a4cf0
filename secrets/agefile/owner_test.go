package agefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minibot/hint"
	"minibot/secrets"
)

// stranger is a file system on which another user owns the files of this name.
type stranger struct {
	fileSystem
	name string
}

type strangerFile struct{ file }

func (f strangerFile) stat() (stat, error) {
	st, err := f.file.stat()
	st.uid++
	return st, err
}

func (f stranger) open(name string) (file, error) {
	h, err := f.fileSystem.open(name)
	if err == nil && filepath.Base(name) == f.name {
		h = strangerFile{h}
	}
	return h, err
}

func (f stranger) lstat(name string) (stat, error) {
	st, err := f.fileSystem.lstat(name)
	if filepath.Base(name) == f.name {
		st.uid++
	}
	return st, err
}

// Whoever may read another user's files, as root may, does not take them over by writing: the owner could not read the store any more.
func TestAnotherUsersStoreIsReadAndNotWritten(t *testing.T) {
	c := scenario{passphrase: oldPassphrase}
	d := c.setUp(t)
	before := d.print()
	s, err := place{stranger{d, "store.age"}, simulated}.open(oldPassphrase, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := contents(s); err != nil || len(got) != len(held) {
		t.Errorf("%d values, %v", len(got), err)
	}
	for name, act := range map[string]func(*Store) error{"put": putting("C", "canary"), "delete": deleting("A"), "promote": promoting, "rekey": rekeyTo("")} {
		if err := act(s); !errors.Is(err, secrets.ErrDenied) || !strings.Contains(hint.Of(err), "user") {
			t.Errorf("%s: got %v, hint %q", name, err, hint.Of(err))
		}
	}
	check(t, "Close", s.Close())
	if d.print() != before {
		t.Error("something changed")
	}
	c = scenario{}
	if _, err := (place{stranger{c.setUp(t), "age.key"}, simulated}).open("", false); !errors.Is(err, secrets.ErrDenied) || !strings.Contains(hint.Of(err), "chown") {
		t.Errorf("another user's key: %v, hint %q", err, hint.Of(err))
	}
}

// What is written is the owner's alone, whatever the umask and the mode before. 0115 is what comes of 77 where a number is taken for decimal.
func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o177, 0o115} {
		p := place{system{}, t.TempDir()}
		err := os.Mkdir(filepath.Dir(p.key()), 0o700)
		if umask&0o700 != 0 { // a directory that its owner cannot enter is for the owner to mend
			err = errors.Join(err, os.Mkdir(filepath.Dir(p.store()), 0o700))
		}
		before := unix.Umask(umask)
		var s *Store
		if err == nil {
			s, err = p.open("", true)
		}
		if err == nil {
			err = errors.Join(os.Chmod(p.store(), 0o644), putting("A", "canary")(s), rekeyTo("")(s), s.Close())
		}
		unix.Umask(before)
		if err != nil {
			t.Fatalf("umask %04o: %v", umask, err)
		}
		for _, name := range []string{p.store(), p.key(), p.store() + ".lock", filepath.Dir(p.store())} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			want := os.FileMode(0o600)
			if info.IsDir() {
				want = 0o700
			}
			if info.Mode().Perm() != want {
				t.Errorf("umask %04o: %s has mode %v", umask, filepath.Base(name), info.Mode())
			}
		}
	}
}

// The lock file is opened without following a link, and what cannot be a lock is reported.
func TestLockFileThatIsNone(t *testing.T) {
	for name, spoil := range map[string]func(lock string) error{
		"symbolic link": func(lock string) error { return os.Symlink("elsewhere", lock) },
		"directory":     func(lock string) error { return os.Mkdir(lock, 0o700) },
	} {
		p := place{system{}, t.TempDir()}
		check(t, name, os.Mkdir(filepath.Dir(p.key()), 0o700))
		s, err := p.open("", true)
		if err != nil {
			t.Fatal(err)
		}
		lock := p.store() + ".lock"
		check(t, name, errors.Join(os.Remove(lock), spoil(lock)))
		if err := putting("A", "canary")(s); err == nil || hint.Of(err) == "" || !strings.Contains(err.Error(), "store.age.lock") {
			t.Errorf("%s: got %v, hint %q", name, err, hint.Of(err))
		}
		if _, err := os.Lstat(filepath.Join(filepath.Dir(lock), "elsewhere")); err == nil {
			t.Error("the link was followed")
		}
		check(t, name, s.Close())
	}
}
