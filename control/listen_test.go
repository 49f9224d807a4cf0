package control

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minibot/hint"
)

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestListenIsPrivateUnderAnyUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		path := filepath.Join(shortDir(t), "run", "d.sock")
		old := syscall.Umask(mask)
		ln, err := Listen(path)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("umask %o: %s: %v, %v", mask, name, info.Mode(), err)
			}
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	dir := shortDir(t)
	at := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	for _, d := range []string{"open", "file"} {
		if err := os.Mkdir(at(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(at("open"), 0o750), os.WriteFile(at("file", "d.sock"), []byte("kept"), 0o600),
		os.Symlink(at("file"), at("link"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, want, hint string }{
		{"/tmp/" + strings.Repeat("x", 99), "at most 103", "MINIBOT_HOME"},
		{at("open", "d.sock"), "others can enter it", "chmod 700"},
		{at("file", "d.sock"), "is no socket", "move it away"},
		{at("link", "x.sock"), "not a directory", "move it away"},
	} {
		ln, err := Listen(test.path)
		if err == nil {
			_ = ln.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(hint.Of(err), test.hint) {
			t.Errorf("%s: %v, hint %q", test.path, err, hint.Of(err))
		}
	}
	if b, err := os.ReadFile(at("file", "d.sock")); err != nil || string(b) != "kept" {
		t.Errorf("the file in the socket's place: %q, %v", b, err)
	}
}

func TestListenLiveAndStale(t *testing.T) {
	path := filepath.Join(shortDir(t), "run", "d.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another minibotd is running (pid %d)", os.Getpid())) {
		t.Errorf("second daemon: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the live socket: %v", err)
	}
	if err := ln.(*listener).UnixListener.Close(); err != nil { // as a crash would: the socket stays
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the stale socket: %v", err)
	}
	again, err := Listen(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	// What took the socket's place is not the listener's to remove.
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600), again.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file in its place: %v", err)
	}
}
