package control

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minibot/hint"
)

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// dialVariable makes this program dial the socket it names and say what it read there, as another user.
const dialVariable = "CONTROL_TEST_DIAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialVariable); path != "" {
		conn, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println("dial:", err)
			os.Exit(1)
		}
		_, _ = io.WriteString(conn, "GET /v1/secrets/A HTTP/1.1\r\nHost: x\r\nMinibot-Wire: 1\r\n\r\n") // refused or not, what is read counts
		b, _ := io.ReadAll(conn)
		fmt.Printf("read %d bytes\n", len(b))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

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

func TestOtherUserIsRefused(t *testing.T) {
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
	t.Run("daemon", func(t *testing.T) {
		c, _ := serve(t, &Server{Backend: f})
		c.peer = func(net.Conn) (peer, error) { return peer{uid: os.Geteuid() + 1}, nil }
		if _, err := c.Reveal(t.Context(), "A"); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "runs as uid") {
			t.Errorf("%v", err)
		}
	})
	if os.Geteuid() != 0 {
		return // only root can run a program as another user
	}
	t.Run("real", func(t *testing.T) {
		c, _ := serve(t, &Server{Backend: f, Logger: textLogger(log)})
		dir := filepath.Dir(c.Socket)
		program := filepath.Join(dir, "dial")
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		binary, err := os.ReadFile(self) // copied: the other user cannot enter the folder it lies in
		if err == nil {
			err = os.WriteFile(program, binary, 0o755)
		}
		err = errors.Join(err, os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Chmod(c.Socket, 0o666))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Dir, cmd.Env = "/", []string{dialVariable + "=" + c.Socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "read 0 bytes\n" {
			t.Errorf("%s, %v", out, err)
		}
		if want := fmt.Sprintf("uid=65534 pid=%d", cmd.Process.Pid); !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s: %s", want, log)
		}
	})
}
