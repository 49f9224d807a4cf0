// Package launchdtest gives tests a launchd and a launchctl of their own, on any system.
//
// It owns the folder of each, with a home folder of a user in it. It guarantees that they are independent of one another and of
// the machine's own, and that no agent outlives its test. What is emulated is told in package emulation, whose
// [emulation.Server] does it. It is for tests only.
package launchdtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"minibot/launchd/launchdtest/emulation"
)

// Build compiles the program that stands in into dir and returns its path. Build it once for all the tests of a package.
func Build(dir string) (string, error) {
	program := filepath.Join(dir, "launchd-standin")
	cmd := exec.Command("go", "build", "-o", program, "minibot/launchd/launchdtest/standin") //nolint:noctx // ends by itself
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in for launchd: %w: %s", err, out)
	}
	return program, nil
}

// Options say what the Mac is like. The zero value has launchd's behaviour, sped up.
type Options struct {
	Program   string        // what Build returned; "" builds it, which takes a second or two
	UserHome  string        // "" is a new folder, which begins with a character that needs quoting
	UID       int           // 0 is os.Getuid(), whose files the property lists must be
	Speed     float64       // divides every ThrottleInterval: 10 s become 10 s/Speed; 0 is 20
	ExitSpeed float64       // divides every ExitTimeOut; 0 is 1
	Settle    time.Duration // how long a label stays after its process ended in a bootout (on a Mac up to 5 s); 0 is 100 ms
	Gentle    bool          // kickstart -k sends SIGTERM and waits, not SIGKILL at once
	LoggedOut bool          // begin without a desktop session
}

// Faults that are no exit status, for [Launchd.Fault].
const (
	Hang    = emulation.FaultHang    // launchctl does not answer
	Garbage = emulation.FaultGarbage // it exits 0 and prints what nobody knows
)

// Event is something that happened.
type Event = emulation.Event

// Launchd is a running launchd with its launchctl. Its methods fail the test where something is wrong with the emulation.
type Launchd struct {
	t      testing.TB
	config emulation.Config
	stop   func()
}

// Start starts a launchd whose user is logged in, and ends it with the test.
func Start(t testing.TB, options ...Options) *Launchd {
	t.Helper()
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	l := &Launchd{t: t}
	dir, err := os.MkdirTemp("", "ld") // t.TempDir() is too long for a socket
	l.check(err)
	t.Cleanup(func() { l.check(os.RemoveAll(dir)) })
	if o.Program == "" {
		o.Program, err = Build(t.TempDir())
		l.check(err)
	}
	for _, name := range []string{"launchctl", "launchd", "xpcproxy"} {
		l.check(link(o.Program, filepath.Join(dir, name)))
	}
	if o.UserHome == "" {
		o.UserHome = filepath.Join(dir, "Jörg's & Home")
	}
	l.check(os.MkdirAll(filepath.Join(o.UserHome, "Library", "LaunchAgents"), 0o700))
	l.config = emulation.Config{
		Dir: dir, UID: o.UID, UserHome: o.UserHome, UserName: "you", Shell: "/bin/zsh",
		Speed: o.Speed, ExitSpeed: o.ExitSpeed, Settle: o.Settle, Gentle: o.Gentle,
	}
	if o.UID == 0 {
		l.config.UID = os.Getuid()
	}
	if o.Speed == 0 {
		l.config.Speed = 20
	}
	if o.Settle == 0 {
		l.config.Settle = 100 * time.Millisecond
	}
	l.check(l.config.Save())
	l.start()
	t.Cleanup(func() { l.stop() })
	if !o.LoggedOut {
		l.Login()
	}
	return l
}

// start runs the server and waits until it can be called.
func (l *Launchd) start() {
	l.t.Helper()
	cmd := exec.Command(filepath.Join(l.config.Dir, "launchd")) //nolint:gosec,noctx // ends with its stdin
	stdin, err := cmd.StdinPipe()
	l.check(err)
	stdout, err := cmd.StdoutPipe()
	l.check(err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	l.check(cmd.Start())
	l.stop = func() {
		l.check(stdin.Close())
		if err := cmd.Wait(); err != nil {
			l.t.Errorf("launchd failed: %v: %s", err, stderr.String())
		}
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		l.t.Fatalf("launchd did not start: %q %v", line, err)
	}
}

// link makes a second name of a file, or copies it where that cannot be done.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o700)
}

func (l *Launchd) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// Launchctl returns the path of the program that stands in for /bin/launchctl. It finds its launchd by lying beside it.
func (l *Launchd) Launchctl() string { return filepath.Join(l.config.Dir, "launchctl") }

// UID returns the user's id, which the domain gui/UID is named for.
func (l *Launchd) UID() int { return l.config.UID }

// UserHome returns the user's home folder.
func (l *Launchd) UserHome() string { return l.config.UserHome }

// AgentsDir returns the folder whose property lists a login loads.
func (l *Launchd) AgentsDir() string {
	return filepath.Join(l.config.UserHome, "Library", "LaunchAgents")
}

// Target returns gui/UID/label.
func (l *Launchd) Target(label string) string { return fmt.Sprintf("gui/%d/%s", l.config.UID, label) }

// call gives an order and fails the test unless it is carried out.
func (l *Launchd) call(args ...string) {
	l.t.Helper()
	response, err := emulation.Call(l.config.Dir, emulation.Request{Args: args})
	l.check(err)
	if response.Exit != 0 {
		l.t.Fatalf("%q: %s", args, response.Stderr)
	}
}

// Login begins the desktop session and loads what lies in AgentsDir. It does nothing in a session.
func (l *Launchd) Login() { l.t.Helper(); l.call("@login") }

// Logout ends the session: SIGTERM to every agent, SIGKILL after its exit timeout. It returns when all have ended.
func (l *Launchd) Logout() { l.t.Helper(); l.call("@logout") }

// Reboot logs out and starts launchd anew. Nobody is logged in afterwards; disabled labels stay disabled.
func (l *Launchd) Reboot() {
	l.t.Helper()
	l.Logout()
	l.stop()
	l.start()
}

// PowerCut kills every agent at once and starts launchd anew. Nobody is logged in afterwards.
func (l *Launchd) PowerCut() {
	l.t.Helper()
	l.call("@powercut")
	l.stop()
	l.start()
}

// Fault makes the next times calls of a verb of launchctl, such as "bootstrap", end with an exit status, such as 5, or [Hang], or
// [Garbage]. Nothing happens in such a call, but for bootout with 36, as on a Mac. Times 0 takes back what is left of them.
func (l *Launchd) Fault(verb string, exit, times int) {
	l.t.Helper()
	l.call("@fault", verb, strconv.Itoa(exit), strconv.Itoa(times))
}

// Run runs launchctl as a person types it.
func (l *Launchd) Run(arguments ...string) (stdout, stderr string, exit int) {
	l.t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(l.t.Context(), l.Launchctl(), arguments...) //nolint:gosec // the stand-in
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		l.t.Fatalf("launchctl %q: %v", arguments, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Log returns what happened since Start, in order.
func (l *Launchd) Log() []Event {
	l.t.Helper()
	events, err := emulation.Events(l.config.Dir)
	l.check(err)
	return events
}

// Wait returns the first event after the first n of the log that is of a kind and a label ("" is any). It fails the test when none
// comes within 20 s.
func (l *Launchd) Wait(n int, kind, label string) Event {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		for _, e := range l.Log()[n:] {
			if e.Kind == kind && (label == "" || e.Label == label) {
				return e
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			l.t.Fatalf("no event %s of %q after the first %d of %+v", kind, label, n, l.Log())
		}
	}
}
