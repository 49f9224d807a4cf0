package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/control"
)

// blind is an installation with a secret in force in the daemon's memory, and no engine: none is needed to crash.
func blind(t *testing.T) *installation {
	t.Helper()
	in := install(t, "unix:///no/such/engine.sock", tinyCompose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	return in
}

// loaded waits until the daemon has read its values.
func (in *installation) loaded() {
	in.t.Helper()
	in.until("loaded", 60*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseWaitingForEngine })
}

var traced = regexp.MustCompile(`(?m)^goroutine \d+ \[.*\]:\n(?:[^\t\n].*\n\t.*\.go:\d+)`)

// TestNoValueInACrash ends the daemon by a dump and by a panic that shows every value, under the worst settings for it.
func TestNoValueInACrash(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]struct {
		signal syscall.Signal
		reason string
	}{
		"a dump by SIGQUIT":              {syscall.SIGQUIT, "SIGQUIT: quit"},
		"a panic in a foreign goroutine": {syscall.SIGUSR1, "panic: [message withheld]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, level := range []string{"", "crash"} {
				in := blind(t)
				in.start("GOTRACEBACK=" + level)
				in.loaded()
				if err := in.daemon.Process.Signal(crash.signal); err != nil {
					t.Fatal(err)
				}
				err := <-in.exited
				ended := in.daemon.ProcessState
				in.daemon = nil
				log := in.log.String()
				if ended.Success() {
					t.Errorf("GOTRACEBACK=%s: launchd would not start it again: %v", level, err)
				}
				if !strings.Contains(log, "minibotd crashed") || !strings.Contains(log, crash.reason) || !traced.MatchString(log) || !strings.Contains(log, "main.runDaemon") {
					t.Errorf("GOTRACEBACK=%s: the log does not show why and where", level)
				}
				if strings.Contains(log, "canary") || strings.Contains(log, fmt.Sprintf("%x", "canary")) {
					t.Errorf("GOTRACEBACK=%s: the value shows", level)
				}
				if status, ok := ended.Sys().(syscall.WaitStatus); !ok || status.CoreDump() {
					t.Errorf("GOTRACEBACK=%s: it left a core", level)
				}
				for _, dir := range []string{".", in.home} {
					if cores, err := filepath.Glob(filepath.Join(dir, "core*")); err != nil || len(cores) > 0 {
						t.Errorf("GOTRACEBACK=%s: %v, %v", level, cores, err)
					}
				}
			}
		})
	}
}

// TestBothProgramsAreHardened looks at them while they run: no cores, private files, and no other user's process, nor one
// of the same, may look inside.
func TestBothProgramsAreHardened(t *testing.T) {
	t.Parallel()
	in := blind(t)
	in.start()
	in.loaded()
	asking := exec.Command(filepath.Join(programs, "mb-secrets"), "set", "K")
	asking.Env = in.environ()
	var said bytes.Buffer
	asking.Stderr = &said
	stdin, err := asking.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := asking.Start(); err != nil {
		t.Fatal(err)
	}
	for name, pid := range map[string]int{"minibotd": in.daemon.Process.Pid, "mb-secrets": asking.Process.Pid} {
		in.poll(name+" hardened", 60*time.Second, func() bool {
			return has(t, pid, "limits", `(?m)^Max core file size +0 `) && has(t, pid, "status", `(?m)^Umask:\t0077$`)
		}, func() string { return "its limits or its umask are not" })
		if environ := fmt.Sprintf("/proc/%d/environ", pid); os.Geteuid() != 0 {
			if _, err := os.ReadFile(environ); err == nil {
				t.Errorf("%s: %s can be read", name, environ)
			}
		}
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := asking.Wait(); err == nil {
		t.Error("no value was taken for one")
	}
}

// has reports whether a file of /proc/PID fits.
func has(t *testing.T, pid int, file, pattern string) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(pattern).Match(text)
}
