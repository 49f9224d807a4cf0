package process_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minibot/process"
)

const (
	helperVariable = "PROCESS_TEST_HELPER"
	canary         = "canary-PROCESS-7f3a"
	uncommonMask   = 0o027
)

// helpers are what this test's program does as a child of itself.
var helpers = map[string]func(args []string) error{
	"limits":  limits,
	"release": release,
	"abort":   abort,
	"core":    func([]string) error { return show() },
	"filter":  filter,
	"crash":   crash,
}

func TestMain(m *testing.M) {
	if helper, ok := helpers[os.Getenv(helperVariable)]; ok {
		if err := helper(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// self is a command that runs a helper, with a core limit of one megabyte and an uncommon umask.
func self(t *testing.T, program, helper string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -c 2048; umask %04o; exec "$0" "$@"`, uncommonMask), program}, args...)...)
	cmd.Env = append(os.Environ(), helperVariable+"="+helper, "CANARY="+canary)
	return cmd
}

// state is what a helper sees of itself.
type state struct {
	Cores syscall.Rlimit
	Mask  int
}

func show() error {
	var s state
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &s.Cores); err != nil {
		return err
	}
	s.Mask = syscall.Umask(0)
	return json.NewEncoder(os.Stdout).Encode(s)
}

func limits([]string) error {
	if err := process.Harden(); err != nil {
		return err
	}
	return show()
}

func release([]string) error {
	release, err := process.HardenUntilExec()
	if err == nil {
		err = show()
	}
	if err == nil {
		err = release()
	}
	if err != nil {
		return err
	}
	path, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(path, []string{path}, []string{helperVariable + "=core"})
}

func abort([]string) error {
	if err := process.Harden(); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGABRT)
}

func states(t *testing.T, helper string) []state {
	t.Helper()
	cmd := self(t, os.Args[0], helper)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	var all []state
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var s state
		if err := decoder.Decode(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestHardenTurnsCoreFilesOffForGoodAndNewFilesPrivate(t *testing.T) {
	if got, want := states(t, "limits"), (state{Mask: 0o077}); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAnExecutedProgramHasItsUsersUmaskAndCoreLimit(t *testing.T) {
	before := states(t, "core")[0]
	got := states(t, "release")
	if before.Mask != uncommonMask || before.Cores.Cur == 0 {
		t.Fatalf("the test itself has %+v", before)
	}
	if len(got) != 2 || got[0].Mask != 0o077 || got[0].Cores.Cur != 0 || got[1] != before {
		t.Errorf("until then %+v, then %+v", got, before)
	}
}

func TestNoCoreFile(t *testing.T) {
	cmd := self(t, os.Args[0], "abort")
	cmd.Dir = t.TempDir()
	err := cmd.Run()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() && status.ExitStatus() == 0 || status.CoreDump() {
		t.Errorf("it ended with %v", err)
	}
	left, err := os.ReadDir(cmd.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// public copies this test's program to where every user may execute it.
func public(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "minibot-process-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "helper")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// line reads a child's first line.
func line(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}
