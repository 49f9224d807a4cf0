package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minibot/hint"
)

// TestFolderOfDefinitionsThatCannotBeWritten has it on a disk of its own, full at an upgrade and read-only at an uninstall.
func TestFolderOfDefinitionsThatCannotBeWritten(t *testing.T) {
	m, i := at(t)
	dir := filepath.Dir(m.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Fatalf("mount a small disk, as only root can: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if _, err := outcomes(t, false, i.Install); err != nil {
		t.Fatal(err)
	}
	ballast, old := filepath.Join(dir, "ballast"), m.want
	if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	m.want += "second\n"
	if _, err := outcomes(t, false, i.Install); !errors.Is(err, unix.ENOSPC) || !strings.Contains(hint.Of(err), dir) || m.running != old {
		t.Errorf("full: %v, hint %q, runs %q", err, hint.Of(err), m.running)
	}
	if left, err := others(dir, "ballast", filepath.Base(m.path)); err != nil || len(left) > 0 {
		t.Errorf("full: left behind %v, %v", left, err)
	}
	m.login()
	if m.running != old {
		t.Errorf("full: a login starts %q", m.running)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, err := outcomes(t, false, i.Install); err != nil || m.running != m.want {
		t.Errorf("with room again: %v, runs %q", err, m.running)
	}
	r := &Removal{Paths: i.Paths, Manager: m, Keep: true}
	for _, readOnly := range []uintptr{unix.MS_RDONLY, 0} {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|readOnly, ""); err != nil {
			t.Fatal(err)
		}
		_, err := outcomes(t, false, r.Uninstall)
		if readOnly != 0 && (!errors.Is(err, unix.EROFS) || !strings.Contains(hint.Of(err), dir)) {
			t.Errorf("read-only: %v, hint %q", err, hint.Of(err))
		}
		if readOnly == 0 && err != nil {
			t.Errorf("with a disk that can be written again: %v", err)
		}
	}
	if _, err := os.Lstat(m.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the definition: %v", err)
	}
}
