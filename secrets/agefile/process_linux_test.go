package agefile_test

import (
	"bufio"
	"bytes"
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

// 8 processes with 8 writers each, all at once on one store.
const processes, writers, names = 8, 8, 2

// writerPart is one of the processes. Its writers have a store each, and they all create it at once.
func writerPart(dir string) error {
	failed := make(chan error, writers)
	for w := range writers {
		go func() { failed <- writeAll(dir, fmt.Sprintf("P%d_%d", os.Getpid(), w)) }()
	}
	var all error
	for range writers {
		all = errors.Join(all, <-failed)
	}
	return all
}

// writeAll sets the slots of some names, all but previous, and takes a further name away again.
func writeAll(dir, prefix string) error {
	s, err := agefile.Open(background, inDir(dir))
	if err != nil {
		return err
	}
	for i := range names {
		name := secrets.Name(fmt.Sprintf("%s_%d", prefix, i))
		for _, slot := range []secrets.Slot{secrets.Current, secrets.Pending} {
			v, err := secrets.NewValue(fmt.Appendf(nil, "canary-%s-%v", name, slot))
			if err == nil {
				err = s.Put(background, name, slot, v)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := s.Delete(background, secrets.Name(prefix+"_0"), secrets.Pending); err != nil {
		return err
	}
	return errors.Join(s.Promote(background, secrets.Name(prefix+"_1")), s.Close())
}

func TestManyProcessesWriteAtOnceAndNothingIsLost(t *testing.T) {
	dir := t.TempDir()
	var running []*exec.Cmd
	for range processes {
		cmd := play(t, "writer", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	s := mustOpen(t, inDir(dir))
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		for w := range writers {
			prefix := fmt.Sprintf("P%d_%d", cmd.Process.Pid, w)
			for _, want := range []struct {
				name, value string
				slot        secrets.Slot
			}{
				{prefix + "_0", prefix + "_0-current", secrets.Current},
				{prefix + "_1", prefix + "_1-pending", secrets.Current},
				{prefix + "_1", prefix + "_1-current", secrets.Previous},
			} {
				item, err := s.Get(t.Context(), secrets.Name(want.name), want.slot)
				if err != nil || string(item.Value.Reveal()) != "canary-"+want.value {
					t.Errorf("%s (%v) is lost: %v", want.name, want.slot, err)
				}
			}
		}
	}
	entries, err := s.List(t.Context())
	if err != nil || len(entries) != processes*writers*3 {
		t.Errorf("%d entries, want %d: %v", len(entries), processes*writers*3, err)
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

// diskPart fills and write-protects a disk of its own.
func diskPart(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		return err
	}
	ballast, full := filepath.Join(dir, "ballast"), bytes.Repeat([]byte("x"), 1<<20)
	o := inDir(dir)
	if err := os.WriteFile(ballast, full, 0o600); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("the disk does not get full: %w", err)
	}
	if _, err := agefile.Open(background, o); !reported(err, unix.ENOSPC) {
		return fmt.Errorf("create: %w", err)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	s, err := agefile.Open(background, o)
	if err != nil {
		return err
	}
	small, err := secrets.NewValue([]byte("canary-small"))
	if err != nil {
		return err
	}
	large, err := secrets.NewValue(bytes.Repeat([]byte("x"), secrets.MaxValueSize))
	if err != nil {
		return err
	}
	if err := errors.Join(s.Put(background, "A", secrets.Current, small), s.Put(background, "B", secrets.Current, small)); err != nil {
		return err
	}
	operations := map[string]func() error{
		"put":     func() error { return s.Put(background, "A", secrets.Current, large) },
		"delete":  func() error { return s.Delete(background, "B", secrets.Current) },
		"promote": func() error { return secrets.Promote(background, s, "A") },
		"rekey":   func() error { return s.Rekey(background, agefile.RekeyOptions{}) },
		"rekey to a passphrase": func() error {
			return s.Rekey(background, agefile.RekeyOptions{WithPassphrase: true, Passphrase: saying("canary")})
		},
	}
	if err := s.Put(background, "A", secrets.Pending, small); err != nil {
		return err
	}
	if err := os.WriteFile(ballast, full, 0o600); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("the disk does not get full: %w", err)
	}
	if err := allRefused(dir, s, operations, unix.ENOSPC); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(ballast), s.Delete(background, "B", secrets.Current), s.Put(background, "B", secrets.Current, small)); err != nil {
		return fmt.Errorf("after a full disk: %w", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	return allRefused(dir, s, operations, unix.EROFS)
}

func reported(err, want error) bool {
	return errors.Is(err, want) && strings.Contains(hint.Of(err), "disk that holds")
}

// allRefused checks that each operation fails with want, changes no file, leaves none behind, and that the store is still read.
func allRefused(dir string, s *agefile.Store, operations map[string]func() error, want error) error {
	hold := func() (string, error) {
		var all strings.Builder
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			content, readErr := os.ReadFile(filepath.Join(dir, e.Name()))
			err = errors.Join(err, readErr)
			fmt.Fprintf(&all, "%s %q\n", e.Name(), content)
		}
		return all.String(), err
	}
	for name, do := range operations {
		before, err := hold()
		if err != nil {
			return err
		}
		if err := do(); !reported(err, want) {
			return fmt.Errorf("%s: %w, hint %q", name, err, hint.Of(err))
		}
		if after, err := hold(); err != nil || before != after {
			return fmt.Errorf("%s: something changed: %w", name, err)
		}
		item, err := s.Get(background, "B", secrets.Current)
		if err != nil || string(item.Value.Reveal()) != "canary-small" {
			return fmt.Errorf("%s: the old value is gone: %w", name, err)
		}
	}
	return nil
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
