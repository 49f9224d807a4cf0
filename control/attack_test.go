package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"minibot/hint"
)

// asRoot says whether the test can be another user; only the parts of it that need one are left out otherwise.
func asRoot() bool { return os.Geteuid() == 0 }

func TestAttackOtherUserOnTheSocket(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary"
	log := &logBuffer{}
	t.Run("claimed", func(t *testing.T) {
		c, _ := serve(t, &Server{Backend: f, Logger: textLogger(log), peer: func(net.Conn) (peer, error) {
			return peer{uid: os.Geteuid() + 1, pid: 42}, nil
		}})
		if _, err := c.Reveal(t.Context(), "A"); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%v", err)
		}
		if want := fmt.Sprintf("uid=%d pid=42", os.Geteuid()+1); !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s: %s", want, log)
		}
	})
	if !asRoot() {
		return
	}
	t.Run("real", func(t *testing.T) {
		c, _ := serve(t, &Server{Backend: f, Logger: textLogger(log)})
		dir := filepath.Dir(c.Socket)
		if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Chmod(c.Socket, 0o666)); err != nil {
			t.Fatal(err)
		}
		a := startAttacker(t, otherUID, "dial "+c.Socket)
		a.says("read 0 bytes")
		if want := fmt.Sprintf("uid=%d pid=%d", otherUID, a.Process.Pid); !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s: %s", want, log)
		}
	})
	t.Run("closed doors", func(t *testing.T) { // the modes alone keep it out, too
		c, _ := serve(t, &Server{Backend: f})
		if err := os.Chmod(filepath.Dir(filepath.Dir(c.Socket)), 0o755); err != nil {
			t.Fatal(err)
		}
		a := startAttacker(t, otherUID, "dial "+c.Socket)
		a.says("dial unix " + c.Socket + ": connect: permission denied")
	})
}

// A client tells its secrets to no daemon of another user, wherever its path leads.
func TestAttackSocketOfAnotherUser(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary"
	t.Run("claimed", func(t *testing.T) {
		c, _ := serve(t, &Server{Backend: f})
		c.peer = func(net.Conn) (peer, error) { return peer{uid: os.Geteuid() + 1}, nil }
		if _, err := c.Reveal(t.Context(), "A"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "runs as uid") {
			t.Errorf("%v", err)
		}
	})
	if !asRoot() {
		return
	}
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	a := startAttacker(t, otherUID, "listen "+filepath.Join(dir, "d.sock"))
	a.says("ready")
	home := shortDir(t)
	if err := os.Symlink(dir, filepath.Join(home, "run")); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"squatted path": filepath.Join(dir, "d.sock"), "symlinked directory": filepath.Join(home, "run", "d.sock")} {
		t.Run(name, func(t *testing.T) {
			c := &Client{Socket: path}
			err := c.Change(t.Context(), ChangeOrder{Changes: []Change{{Name: "A", Value: []byte("canary-typed")}}}, nil)
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), fmt.Sprintf("runs as uid %d", otherUID)) || hint.Of(err) == "" {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
			a.says("read 0 bytes")
		})
	}
}

// refusesToListen makes sure that Listen fails with these words and with advice, and leaves what is at path.
func refusesToListen(t *testing.T, path, want string) {
	t.Helper()
	before, statErr := os.Lstat(path)
	ln, err := Listen(path)
	if err == nil {
		_ = ln.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
		t.Errorf("%s: %v, hint %q", path, err, hint.Of(err))
	}
	if after, err := os.Lstat(path); statErr == nil && (err != nil || !os.SameFile(before, after)) {
		t.Errorf("%s was touched: %v", path, err)
	}
}

func TestAttackSymlinkedSocketDirectory(t *testing.T) {
	dir, target := shortDir(t), shortDir(t)
	if err := os.Symlink(target, filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	refusesToListen(t, filepath.Join(dir, "run", "d.sock"), "is not a directory")
	if entries, err := os.ReadDir(target); err != nil || len(entries) > 0 {
		t.Errorf("in the target: %v, %v", entries, err)
	}
}

func TestAttackStalePath(t *testing.T) {
	for name, test := range map[string]struct {
		put  func(path string) error
		want string // "" is replaced
	}{
		"socket left behind": {func(path string) error {
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				return err
			}
			ln.SetUnlinkOnClose(false)
			return ln.Close()
		}, ""},
		"file":             {func(path string) error { return os.WriteFile(path, []byte("kept"), 0o600) }, "is no socket"},
		"directory":        {func(path string) error { return os.Mkdir(path, 0o700) }, "is no socket"},
		"FIFO":             {func(path string) error { return unix.Mkfifo(path, 0o600) }, "is no socket"},
		"dangling symlink": {func(path string) error { return os.Symlink(path+".none", path) }, "is no socket"},
		"symlink to a file": {func(path string) error {
			return errors.Join(os.WriteFile(path+".victim", []byte("kept"), 0o600), os.Symlink(path+".victim", path))
		}, "is no socket"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shortDir(t), "d.sock")
			if err := test.put(path); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := (&Client{Socket: path}).Status(ctx); !errors.Is(err, ErrUnreachable) || hint.Of(err) == "" {
				t.Errorf("the client: %v", err)
			}
			if test.want != "" {
				refusesToListen(t, path, test.want)
				return
			}
			ln, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := ln.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAttackRunDirectoryWritableByOthers(t *testing.T) {
	for _, mode := range []os.FileMode{0o770, 0o707, 0o720, 0o702, 0o777, 0o777 | os.ModeSticky, 0o710} {
		dir := filepath.Join(shortDir(t), "run")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		refusesToListen(t, filepath.Join(dir, "d.sock"), "others can enter it")
	}
}

func TestAttackSquattedPath(t *testing.T) {
	if !asRoot() {
		return // only root can give a folder to somebody else
	}
	dir := filepath.Join(shortDir(t), "run")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, otherUID, otherUID)); err != nil {
		t.Fatal(err)
	}
	refusesToListen(t, filepath.Join(dir, "d.sock"), fmt.Sprintf("belongs to uid %d", otherUID))
}

// A lock is written to: nothing that a lock's path leads to may be.
func TestAttackLockThatIsAnothersFile(t *testing.T) {
	for name, test := range map[string]struct {
		put  func(victim, path string) error
		want string
	}{
		"hard link":        {os.Link, "has another name"},
		"symlink":          {os.Symlink, "is a symlink"},
		"dangling symlink": {func(victim, path string) error { return os.Symlink(victim+".none", path) }, "is a symlink"},
		"FIFO":             {func(_, path string) error { return unix.Mkfifo(path, 0o600) }, "is no file"},
		"directory":        {func(_, path string) error { return os.Mkdir(path, 0o700) }, "directory"},
		"of another user": {func(_, path string) error {
			if !asRoot() {
				return unix.Mkfifo(path, 0o600) // only root can give a file away
			}
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, otherUID, otherUID))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "d.lock")
			if err := errors.Join(os.WriteFile(victim, []byte("kept"), 0o600), test.put(victim, path)); err != nil {
				t.Fatal(err)
			}
			_, err := AcquireLock(t.Context(), path)
			if err == nil || !strings.Contains(err.Error(), test.want) || hint.Of(err) == "" {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
			if err := WithLock(t.Context(), path, func() error { return nil }); err == nil {
				t.Error("a command took it")
			}
			if b, err := os.ReadFile(victim); err != nil || string(b) != "kept" {
				t.Errorf("the victim: %q, %v", b, err)
			}
			if _, err := os.Lstat(victim + ".none"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what a symlink led to was made: %v", err)
			}
		})
	}
}

// Who is refused and comes back 10,000 times does not fill the log.
func TestAttackRefusedReconnectsFillTheLog(t *testing.T) {
	f := newFake(t)
	log := &logBuffer{}
	uid := 0
	synctest.Test(t, func(t *testing.T) {
		p, stop := bubble(t, &Server{Backend: f, Logger: textLogger(log), peer: func(net.Conn) (peer, error) {
			uid++
			switch {
			case uid%3 == 0:
				return peer{}, syscall.ENOTCONN
			case uid < 10_000:
				return peer{uid: otherUID, pid: 42}, nil
			}
			return peer{uid: 100_000 + uid, pid: 42}, nil
		}})
		for i := range 20_000 {
			if i == 9_000 {
				<-time.After(2 * tallyWindow)
			}
			conn, err := p.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Fatal("let in")
			}
		}
		stop()
	})
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) > 2*tallyMost+10 {
		t.Errorf("%d lines", len(lines))
	}
	count := 0
	for _, line := range lines {
		more := 0
		if _, text, ok := strings.Cut(line, "more="); ok {
			if _, err := fmt.Sscan(text, &more); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(line, "more connections") {
			more++
		}
		count += more
	}
	if count != 20_000 || !strings.Contains(log.String(), fmt.Sprintf("uid=%d pid=42 more=", otherUID)) {
		t.Errorf("the log counts %d: %.500s", count, log)
	}
}
