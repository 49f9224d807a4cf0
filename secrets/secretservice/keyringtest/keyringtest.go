//go:build linux

// Package keyringtest starts, for a test, a session of its own: a private dbus-daemon and on it a real gnome-keyring-daemon.
//
// It owns their processes and files, and ends and removes both with the test, each process by its id. Nothing of the
// session that the test itself runs in is used or touched; no display is needed. What it cannot do fails the test. The
// password of the keyring is known to whoever reads this file: only made-up secrets belong in it.
package keyringtest

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keybase/dbus"
)

const (
	password = "canary-keyring-password"
	patience = 30 * time.Second // for a step of a machine that is busy
)

// Session is a bus and, unless it was made by [StartBus], a keyring on it. Its methods are for the test's own goroutine.
type Session struct {
	t       testing.TB
	dir     string
	address string

	bus, keyring *process
	conn         *dbus.Conn
	owners       chan *dbus.Signal
	reads        *monitor
}

// Start starts a bus and a keyring whose default collection is empty and unlocked.
func Start(t testing.TB) *Session {
	t.Helper()
	s := StartBus(t)
	s.RestartKeyring()
	return s
}

// StartBus starts a bus that nobody keeps secrets on. A keyring may be started on it later.
func StartBus(t testing.TB) *Session {
	t.Helper()
	for _, program := range []string{"dbus-daemon", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: scripts/prepare installs it", err)
		}
	}
	// Not t.TempDir: the path of a socket has 107 bytes at most.
	dir, err := os.MkdirTemp("/tmp", "keyring")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &Session{t: t, dir: dir, address: "unix:path=" + filepath.Join(dir, "bus")}
	for _, sub := range []string{"home", "data", "run", "services"} {
		s.must(os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	t.Cleanup(s.close)
	s.RestartBus()
	return s
}

// BusAddress is the address of the bus, as in DBUS_SESSION_BUS_ADDRESS.
func (s *Session) BusAddress() string { return s.address }

// Env is what a program has to find in its environment to be in this session: add it to what else it needs.
func (s *Session) Env() []string {
	return []string{
		"DBUS_SESSION_BUS_ADDRESS=" + s.address,
		"HOME=" + filepath.Join(s.dir, "home"),
		"XDG_DATA_HOME=" + filepath.Join(s.dir, "data"),
		"XDG_RUNTIME_DIR=" + filepath.Join(s.dir, "run"),
	}
}

// Dir is the folder in which the keyring keeps its files.
func (s *Session) Dir() string { return filepath.Join(s.dir, "data", "keyrings") }

// KeyringPID is the process id of the keyring.
func (s *Session) KeyringPID() int { return s.keyring.cmd.Process.Pid }

// PauseKeyring stops the keyring in its tracks: it answers nothing, as if a dialog waited, until [Session.ResumeKeyring].
func (s *Session) PauseKeyring() { s.must(s.keyring.signal(syscall.SIGSTOP)) }

// ResumeKeyring ends [Session.PauseKeyring].
func (s *Session) ResumeKeyring() { s.must(s.keyring.signal(syscall.SIGCONT)) }

// PauseBus stops the bus in its tracks until [Session.ResumeBus].
func (s *Session) PauseBus() { s.must(s.bus.signal(syscall.SIGSTOP)) }

// ResumeBus ends [Session.PauseBus].
func (s *Session) ResumeBus() { s.must(s.bus.signal(syscall.SIGCONT)) }

// KillKeyring ends the keyring by SIGKILL; the bus stays. It returns when the bus knows.
func (s *Session) KillKeyring() {
	s.t.Helper()
	s.keyring.kill()
	s.awaitOwner(false)
}

// KillBus ends the bus by SIGKILL. The keyring ends with it.
func (s *Session) KillBus() {
	s.t.Helper()
	s.close()
}

// RestartKeyring starts the keyring, or ends it first, with the content that it had, unlocked.
func (s *Session) RestartKeyring() {
	s.t.Helper()
	s.startKeyring(true)
	if s.locked() {
		s.t.Fatal("the keyring that was started is locked")
	}
}

// RestartKeyringLocked is RestartKeyring for a keyring that nobody has unlocked, as after a login without a password.
// It has a default collection only if it was unlocked before.
func (s *Session) RestartKeyringLocked() {
	s.t.Helper()
	s.startKeyring(false)
}

func (s *Session) startKeyring(unlock bool) {
	s.t.Helper()
	if s.keyring.alive() {
		s.KillKeyring()
	}
	cmd := exec.CommandContext(s.ctx(), "gnome-keyring-daemon", "--foreground", "--components=secrets")
	if unlock {
		cmd.Args = append(cmd.Args, "--unlock")
		cmd.Stdin = strings.NewReader(password)
	}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, s.Env()...)
	s.keyring = s.start(cmd)
	s.awaitOwner(true)
}

// RestartBus starts the bus, or ends it first, at the same address. The keyring is then to be started anew.
func (s *Session) RestartBus() {
	s.t.Helper()
	if s.bus.alive() {
		s.KillBus()
	}
	_ = os.Remove(filepath.Join(s.dir, "bus")) // a killed bus leaves its socket behind
	s.configure(false)
	cmd := exec.CommandContext(s.ctx(), "dbus-daemon", "--config-file="+s.config(), "--nofork", "--nopidfile", "--print-address=1")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, s.Env()...)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.bus = s.start(cmd)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.t.Fatalf("the bus does not start: %v", err)
	}
	s.connect()
}

// MakeActivatable lets the bus start the keyring, locked, when a message for it arrives: how it is on a desktop.
func (s *Session) MakeActivatable() {
	s.t.Helper()
	program, err := exec.LookPath("gnome-keyring-daemon")
	s.must(err)
	service := "[D-BUS Service]\nName=" + name + "\nExec=" + program + " --foreground --components=secrets\n"
	s.must(os.WriteFile(filepath.Join(s.dir, "services", name+".service"), []byte(service), 0o600))
	s.must(s.conn.BusObject().Call("org.freedesktop.DBus.ReloadConfig", 0).Err)
}

// Deny makes the bus deny every message to the keyring (true), as the policy of a confined program does, or pass them (false).
func (s *Session) Deny(denied bool) {
	s.t.Helper()
	s.configure(denied)
	s.must(s.conn.BusObject().Call("org.freedesktop.DBus.ReloadConfig", 0).Err)
}

func (s *Session) config() string { return filepath.Join(s.dir, "bus.conf") }

func (s *Session) configure(denied bool) {
	s.t.Helper()
	deny := ""
	if denied {
		deny = `<deny send_destination="` + name + `"/>`
	}
	path := (&url.URL{Path: filepath.Join(s.dir, "bus")}).EscapedPath()
	config := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <servicedir>%s</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    %s
  </policy>
</busconfig>
`, path, filepath.Join(s.dir, "services"), deny)
	s.must(os.WriteFile(s.config(), []byte(config), 0o600))
}

// ctx outlives the test: what runs under it is ended by close.
func (s *Session) ctx() context.Context { return context.WithoutCancel(s.t.Context()) }

func (s *Session) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Session) close() {
	activated := s.activated()
	s.disconnect()
	s.keyring.kill()
	s.bus.kill()
	activated()
}
