package logfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAFullDiskStopsNobody(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatalf("mount a small disk, as only root can: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var trouble bytes.Buffer
	l, err := Open(dir, Options{MaxSizeMB: 1, MaxFiles: 1}, &trouble)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, l, 0, 100)
	if text := trouble.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "no space left") {
		t.Errorf("told %q", text)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	write(t, l, 1000, 1002)
	text, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil || !bytes.HasSuffix(text, append(append([]byte("\n"), record(1000)...), record(1001)...)) {
		t.Errorf("the last records are not there: %d bytes, %v", len(text), err)
	}
	fillAndTrim(t, dir)
}

// fillAndTrim holds that a start wins room back from a stream that filled the disk, even if its end has no room at first.
func fillAndTrim(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, Stderr)
	stream, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for err == nil {
		_, err = stream.WriteString("a line\n")
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Trim(stream, path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
	if kept, err := os.ReadFile(path + ".1"); err != nil || !bytes.Equal(kept, before) {
		t.Errorf("kept %d bytes of %d, %v", len(kept), len(before), err)
	}
}
