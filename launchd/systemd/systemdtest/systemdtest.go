// Package systemdtest runs a real systemd as a manager of user services, for tests on machines whose init is another one.
//
// It owns one manager with folders of its own, in a mount namespace in which /run/systemd/system exists. It ends all that the
// manager started. Managers take turns, across processes: they share a control group, and systemd kills by control group.
// It needs Debian's systemd, dbus and util-linux, and root or user namespaces.
package systemdtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Systemd is a manager of user services that runs until the test ends.
type Systemd struct {
	Env     []string // what systemctl --user needs to find it
	UnitDir string   // where the user's units lie
}

// patience is how long the manager may take to be there: 0.5 s on an idle machine.
const patience = 30 * time.Second

// Start starts a manager, once another one has ended; env is added to its environment, and so to that of its services. The test fails where it cannot be.
func Start(t testing.TB, env ...string) *Systemd {
	t.Helper()
	takeTurn(t)
	dir, err := os.MkdirTemp("", "mb-sd-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the temporary folder
	s := &Systemd{UnitDir: filepath.Join(dir, "config", "systemd", "user"), Env: []string{
		"XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"), "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"DBUS_SESSION_BUS_ADDRESS=",
	}}
	for _, path := range []string{s.UnitDir, filepath.Join(dir, "run"), filepath.Join(dir, "home")} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	arguments := []string{"-m", "sh", "-c", "mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec /lib/systemd/systemd --user --log-target=console"}
	if os.Geteuid() != 0 {
		arguments = append([]string{"-r"}, arguments...)
	}
	cmd := exec.Command("unshare", arguments...) //nolint:noctx // end asks it to leave
	cmd.Env = append(append(os.Environ(), s.Env...), env...)
	cmd.Env = append(cmd.Env, "HOME="+filepath.Join(dir, "home"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { s.end(t, cmd, exited, &out) })
	s.await(t, exited, &out)
	return s
}

// takeTurn blocks until no other manager runs, and lets the next one run when the test ends.
func takeTurn(t testing.TB) {
	t.Helper()
	turn, err := os.OpenFile(filepath.Join(os.TempDir(), "minibot-systemdtest.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = turn.Close() }) // nothing was written
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(turn.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Systemd) await(t testing.TB, exited chan error, out *bytes.Buffer) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; {
		if s.answers() {
			return
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("systemd ended: %v\n%s", err, out.String())
		case now := <-tick.C:
			if now.After(deadline) {
				t.Fatalf("no manager of user services within %v", patience)
			}
		}
	}
}

func (s *Systemd) answers() bool {
	cmd := exec.Command("systemctl", "--user", "show", "--property=Version") //nolint:noctx // it has a deadline of its own
	cmd.Env = append(os.Environ(), s.Env...)
	return cmd.Run() == nil
}

// end has the manager stop its services and leave.
func (s *Systemd) end(t testing.TB, cmd *exec.Cmd, exited chan error, out *bytes.Buffer) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-exited:
		exited <- err
	case <-late.C:
		_ = cmd.Process.Kill() // as above
		exited <- <-exited
		t.Error("systemd did not end by itself")
	}
	if t.Failed() {
		t.Logf("systemd said:\n%s", out.String())
	}
}
