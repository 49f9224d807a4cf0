package agefile_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/agefile"
)

// The test binary plays other processes: the variables say which part, and on which directory.
const (
	partVariable = "AGEFILE_TEST_PART"
	dirVariable  = "AGEFILE_TEST_DIR"
)

func TestMain(m *testing.M) {
	parts := map[string]func(string) error{"writer": writerPart, "endless": endlessPart, "disk": diskPart}
	part, ok := parts[os.Getenv(partVariable)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := part(os.Getenv(dirVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func play(t *testing.T, part, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), partVariable+"="+part, dirVariable+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

var background = context.Background()

const writes = 10

func writerPart(dir string) error {
	s, err := agefile.Open(background, inDir(dir)) // they all create it at once
	if err != nil {
		return err
	}
	for i := range writes {
		v, err := secrets.NewValue([]byte("canary"))
		if err != nil {
			return err
		}
		if err := s.Put(background, secrets.Name(fmt.Sprintf("P%d_%d", os.Getpid(), i)), secrets.Current, v); err != nil {
			return err
		}
	}
	return s.Close()
}

func TestManyProcessesWriteAtOnceAndNothingIsLost(t *testing.T) {
	const processes = 5
	dir := t.TempDir()
	var running []*exec.Cmd
	for range processes {
		cmd := play(t, "writer", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	entries, err := mustOpen(t, inDir(dir)).List(t.Context())
	if err != nil || len(entries) != processes*writes {
		t.Errorf("%d entries, want %d: %v", len(entries), processes*writes, err)
	}
}

// endlessPart says after each write what it has written.
func endlessPart(dir string) error {
	s, err := agefile.Open(background, inDir(dir))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		v, err := secrets.NewValue(fmt.Appendf(nil, "canary-%d", i))
		if err != nil {
			return err
		}
		if err := s.Put(background, "A", secrets.Current, v); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestKilledWriterLeavesTheOldValueOrTheNewOne(t *testing.T) {
	dir := t.TempDir()
	for round := range 8 {
		cmd := play(t, "endless", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if last = lines.Text(); last == fmt.Sprint(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("it was not killed")
		}
		var n int
		if _, err := fmt.Sscan(last, &n); err != nil {
			t.Fatal(err)
		}
		item, err := mustOpen(t, inDir(dir)).Get(t.Context(), "A", secrets.Current)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(item.Value.Reveal()); got != fmt.Sprintf("canary-%d", n) && got != fmt.Sprintf("canary-%d", n+1) {
			t.Errorf("killed after write %d: the store holds %s", n, got)
		}
	}
}

func TestDiskFullAndReadOnly(t *testing.T) {
	cmd := play(t, "disk", t.TempDir())
	// A mount namespace of its own: what it mounts goes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
	}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}

func diskPart(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	s, err := agefile.Open(background, inDir(dir))
	if err != nil {
		return err
	}
	small, err := secrets.NewValue([]byte("canary-small"))
	if err != nil {
		return err
	}
	large, err := secrets.NewValue([]byte(strings.Repeat("x", secrets.MaxValueSize)))
	if err != nil {
		return err
	}
	if err := s.Put(background, "A", secrets.Current, small); err != nil {
		return err
	}
	before, err := os.ReadFile(filepath.Join(dir, "store.age"))
	if err != nil {
		return err
	}
	unchanged := func(what string, err, want error) error {
		after, readErr := os.ReadFile(filepath.Join(dir, "store.age"))
		left, globErr := filepath.Glob(filepath.Join(dir, ".*.tmp-*"))
		if !errors.Is(err, want) || hint.Of(err) == "" || readErr != nil || globErr != nil || len(left) > 0 || string(before) != string(after) {
			return fmt.Errorf("%s: %w, hint %q; left behind: %q", what, errors.Join(err, readErr, globErr), hint.Of(err), left)
		}
		item, err := s.Get(background, "A", secrets.Current)
		if err != nil || !item.Value.Equal(small) {
			return fmt.Errorf("%s: the old value is gone: %w", what, err)
		}
		return nil
	}
	if err := unchanged("full", s.Put(background, "A", secrets.Current, large), unix.ENOSPC); err != nil {
		return err
	}
	if err := s.Put(background, "A", secrets.Current, small); err != nil {
		return fmt.Errorf("put after a full disk: %w", err)
	}
	if before, err = os.ReadFile(filepath.Join(dir, "store.age")); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	return unchanged("read-only", s.Put(background, "A", secrets.Current, small), unix.EROFS)
}

// asNobody runs f with the file permissions of another user; a test that does not run as root has those of its own.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread() // permissions belong to the thread
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setfsuid(0); err != nil {
			t.Fatal(err) // the thread stays locked and ends with this goroutine
		}
		runtime.UnlockOSThread()
	}()
	f()
}

func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := inDir(dir)
	s := mustOpen(t, o)
	before := tree(t, dir)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		err := s.Put(t.Context(), "A", secrets.Current, canary(t))
		if !errors.Is(err, os.ErrPermission) || hint.Of(err) == "" {
			t.Errorf("Put: got %v, hint %q", err, hint.Of(err))
		}
	})
	if err := os.Chmod(o.Path, 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if _, err := agefile.Open(t.Context(), o); !errors.Is(err, secrets.ErrDenied) || hint.Of(err) == "" {
			t.Errorf("Open: got %v, hint %q", err, hint.Of(err))
		}
	})
	if err := errors.Join(os.Chmod(o.Path, 0o600), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if tree(t, dir) != before {
		t.Error("something changed")
	}
}
