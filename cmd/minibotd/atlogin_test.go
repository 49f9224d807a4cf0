package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"minibot/control"
	"minibot/launchd"
	"minibot/launchd/launchdtest"
)

// launchdStandIn builds what stands in for launchd, once.
var launchdStandIn = sync.OnceValues(func() (string, error) { return launchdtest.Build(programs) })

// mac is an installation on a machine with a launchd, and a program of its own to install.
type mac struct {
	*installation
	*launchdtest.Launchd
	program string
	t       *testing.T
}

// onAMac gives an installation a launchd. That ends, with all that it runs, before the installation is removed.
func onAMac(t *testing.T, in *installation) *mac {
	t.Helper()
	program, err := launchdStandIn()
	if err != nil {
		t.Fatal(err)
	}
	ld := launchdtest.Start(t, launchdtest.Options{Program: program})
	m := &mac{in, ld, filepath.Join(ld.UserHome(), "bin", "minibotd"), t}
	in.env = append(in.env, "MINIBOT_MANAGER=launchd", "HOME="+ld.UserHome(), "PATH="+filepath.Dir(ld.Launchctl())+":"+os.Getenv("PATH"))
	m.update()
	return m
}

// update puts another file in place of the program, as an upgrade does.
func (m *mac) update() {
	m.t.Helper()
	data, err := os.ReadFile(m.built("minibotd"))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(m.program), 0o700)
	}
	if err == nil {
		err = os.WriteFile(m.program+".new", data, 0o700)
	}
	if err == nil {
		err = os.Rename(m.program+".new", m.program)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mac) plist() string { return filepath.Join(m.AgentsDir(), launchd.Label+".plist") }

// install runs minibotd install, which must work, and returns what it printed and the pid of the daemon that answers.
func (m *mac) install(args ...string) (out string, pid int) {
	m.t.Helper()
	r := m.run("", "minibotd", append([]string{"install", "--program", m.program}, args...)...)
	status, err := m.status()
	if r.code > 0 || err != nil {
		m.t.Fatalf("install: exit %d, then %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	return r.stdout + r.stderr, status.PID
}

// alone is an installation without an engine and without a store: its daemon answers and waits.
func alone(t *testing.T) *installation {
	t.Helper()
	return install(t, "unix:///nonexistent/docker.sock", tinyCompose, nil)
}

func TestLifeUnderLaunchd(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	if out := m.must("", "minibotd", "install", "--program", m.program, "--dry-run"); !strings.Contains(out, "definition  planned  write "+m.plist()) {
		t.Errorf("dry run:\n%s", out)
	}
	if left, err := os.ReadDir(m.AgentsDir()); err != nil || len(left) > 0 {
		t.Fatalf("a dry run leaves %v, %v", left, err)
	}
	if r := m.run("", "minibotd", "kickstart"); r.code != 1 || !strings.Contains(r.stderr, "not installed") || !strings.Contains(r.stderr, "minibotd install") {
		t.Errorf("kickstart of nothing: %+v", r)
	}
	_, first := m.install()
	if out, again := m.install(); again != first || !regexp.MustCompile(`start +already`).MatchString(out) {
		t.Errorf("a second install: pid %d, then %d\n%s", first, again, out)
	}
	out := m.must("", "minibotd", "kickstart")
	status, err := m.status()
	if err != nil || status.PID == first || !strings.Contains(out, fmt.Sprintf("runs (pid %d): waiting-for-store", status.PID)) {
		t.Errorf("kickstart: %v, pid %d, then %d\n%s", err, first, status.PID, out)
	}
	m.update()
	if _, pid := m.install(); pid == status.PID {
		t.Error("an upgrade leaves the old program running")
	}
	if stdout := m.run("", "minibotd", "install", "--program", m.program, "--json").stdout; !strings.HasPrefix(stdout, "{") || !strings.Contains(stdout, `"phase": "waiting-for-store"`) {
		t.Errorf("as JSON: %s", stdout)
	}
	if r := m.run("", "minibotd", "uninstall", "--purge"); r.code != 2 || !strings.Contains(r.stderr, "terminal") {
		t.Errorf("a purge without a terminal: %+v", r)
	}
	m.must("", "minibotd", "uninstall", "--keep-running", "--dry-run")
	if _, err := m.status(); err != nil {
		t.Errorf("after a dry run: %v", err)
	}
	for _, want := range []string{`stop +done`, `stop +already`} {
		if out := m.must("", "minibotd", "uninstall", "--keep-running"); !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("uninstall lacks %q:\n%s", want, out)
		}
	}
	if _, _, code := m.Run("print", m.Target(launchd.Label)); code != 113 {
		t.Errorf("launchctl print: exit %d", code)
	}
	if left, err := os.ReadDir(m.AgentsDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(m.home, "config.toml")); err != nil {
		t.Error(err)
	}
}

// TestUpgradeOverFaults has launchctl fail as it is known to, at an upgrade: the new one runs all the same.
func TestUpgradeOverFaults(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	_, pid := m.install()
	for what, spoil := range map[string]func(){
		"bootstrap 5":   func() { m.Fault("bootstrap", 5, 2) },
		"bootstrap 37":  func() { m.Fault("bootstrap", 37, 2) },
		"bootout 36":    func() { m.Fault("bootout", 36, 1) },
		"bootout 113":   func() { m.Run("bootout", m.Target(launchd.Label)); m.Fault("bootout", 113, 1) },
		"bootstrap 119": func() { m.Run("disable", m.Target(launchd.Label)); m.Fault("bootstrap", 119, 1) },
	} {
		m.update()
		spoil()
		if _, now := m.install(); now == pid {
			t.Errorf("%s: the old one runs", what)
		} else {
			pid = now
		}
		m.Fault("bootstrap", 5, 0)
		m.Fault("bootout", 113, 0)
	}
}

// TestUpgradeKilled kills an upgrade before each of its steps and logs in anew: there is always a daemon.
func TestUpgradeKilled(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.install()
	plain := m.env
	for _, step := range []string{"program", "definition", "start", "answer"} {
		m.program += "-" // another path, so that the definition changes, too
		m.update()
		m.env = append(plain[:len(plain):len(plain)], "MINIBOT_DIE_AT=install/"+step)
		if r := m.run("", "minibotd", "install", "--program", m.program); r.code != -1 {
			t.Errorf("not killed before %s: exit %d %s", step, r.code, r.stderr)
		}
		m.env = plain
		m.PowerCut()
		m.Login()
		m.until("a daemon after the login, killed before "+step, 60*time.Second, func(control.Status) bool { return true })
		if _, pid := m.install(); !runs(m.program, pid) {
			t.Errorf("killed before %s and installed again: another program runs", step)
		}
	}
}

// runs tells whether the process is of that file.
func runs(program string, pid int) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && target == program
}

func TestInstallWhileNobodyIsLoggedIn(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.Logout()
	if out := m.must("", "minibotd", "install", "--program", m.program); !strings.Contains(out, "installed; minibotd starts at the next login") {
		t.Errorf("install: %s", out)
	}
	if _, err := m.status(); err == nil {
		t.Error("a daemon runs")
	}
	m.Login()
	m.until("a daemon after the login", 60*time.Second, func(control.Status) bool { return true })
}

func TestInstallBesideADaemonThatWasStartedByHand(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.start()
	m.until("serving", 60*time.Second, func(control.Status) bool { return true })
	r := m.run("", "minibotd", "install", "--program", m.program)
	if pid := fmt.Sprint(m.daemon.Process.Pid); r.code != 1 || !strings.Contains(r.stderr, "(pid "+pid+")") || !strings.Contains(r.stderr, "kill "+pid) {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(m.AgentsDir()); err != nil || len(left) > 0 {
		t.Errorf("written all the same: %v, %v", left, err)
	}
	m.term()
	m.install()
}

// unheard runs minibotd, which must succeed, with nobody at the other end of its stderr, and returns its stdout.
func (in *installation) unheard(args ...string) string {
	in.t.Helper()
	read, write, err := os.Pipe()
	if err == nil {
		err = read.Close()
	}
	if err != nil {
		in.t.Fatal(err)
	}
	cmd := exec.CommandContext(in.t.Context(), filepath.Join(programs, "minibotd"), args...)
	cmd.Env, cmd.Stderr = in.environ(), write
	stdout, err := cmd.Output()
	if err := errors.Join(err, write.Close()); err != nil {
		in.t.Errorf("%v: %v", args, err)
	}
	return string(stdout)
}

// TestOutputThatIsCutOff has nobody read what install and uninstall say, as when a tee or a pager has ended: they are done all the same.
func TestOutputThatIsCutOff(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.unheard("install", "--program", m.program)
	before, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	m.update()
	m.unheard("install", "--program", m.program)
	if after, err := m.status(); err != nil || after.PID == before.PID {
		t.Errorf("the upgrade: %v, pid %d, then %d", err, before.PID, after.PID)
	}
	m.unheard("uninstall")
	if _, err := os.Lstat(m.plist()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after uninstall: %v", err)
	}
	if _, _, code := m.Run("print", m.Target(launchd.Label)); code != 113 {
		t.Errorf("launchctl print: exit %d", code)
	}
}

func TestInstallReplacesAnotherInstallationOnlyWhenTold(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.install()
	other := alone(t)
	other.env = m.env
	if r := other.run("", "minibotd", "install", "--program", m.program); r.code != 1 || !strings.Contains(r.stderr, m.home) || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("%+v", r)
	}
	other.must("", "minibotd", "install", "--program", m.program, "--yes")
	if _, err := other.status(); err != nil {
		t.Error(err)
	}
}

func TestInstallRefusesATemporaryProgram(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	if r := m.run("", "minibotd", "install"); r.code != 1 || !strings.Contains(r.stderr, "temporary") || !strings.Contains(r.stderr, "--program") {
		t.Errorf("%+v", r)
	}
}
