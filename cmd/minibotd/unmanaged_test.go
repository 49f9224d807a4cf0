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
	"testing"
	"time"

	"minibot/control"
	"minibot/launchd"
	"minibot/launchd/systemd"
	"minibot/launchd/systemd/systemdtest"
)

func TestLifeUnderSystemd(t *testing.T) {
	t.Parallel()
	in := alone(t)
	in.env = append(in.env, systemdtest.Start(t).Env...)
	if r := in.run("", "minibotd", "install", "--program", filepath.Join(programs, "minibotd")); r.code != 1 || !strings.Contains(r.stderr, "minibotd run") {
		t.Errorf("where systemd is not the init: %+v", r)
	}
	in.env = append(in.env, "MINIBOT_MANAGER=systemd")
	for _, want := range []string{`start +done`, `start +already`} {
		if out := in.must("", "minibotd", "install", "--program", filepath.Join(programs, "minibotd")); !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("install lacks %q:\n%s", want, out)
		}
	}
	before, err := in.status()
	if err != nil {
		t.Fatal(err)
	}
	in.must("", "minibotd", "kickstart")
	if after, err := in.status(); err != nil || after.PID == before.PID {
		t.Errorf("kickstart: %v, pid %d, then %d", err, before.PID, after.PID)
	}
	in.must("", "minibotd", "uninstall", "--keep-running")
	if r := in.run("", "minibotd", "status"); r.code != 6 {
		t.Errorf("status after uninstall: %+v", r)
	}
}

// TestUpgradeUnderSystemd puts a version that was built later in place, killed before the step that starts it, and again.
func TestUpgradeUnderSystemd(t *testing.T) {
	t.Parallel()
	in := alone(t)
	in.env = append(in.env, systemdtest.Start(t).Env...)
	in.env = append(in.env, "MINIBOT_MANAGER=systemd")
	program := filepath.Join(lasting(t), "minibotd")
	place := func(version string) {
		t.Helper()
		script := `cp "$1/minibotd" "$2.new" && mv -f "$2.new" "$2"`
		if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script, "place", released(t, version), program).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	runs := func(when, version string) {
		t.Helper()
		if s := in.until("a daemon", 60*time.Second, func(control.Status) bool { return true }); s.Version != version {
			t.Errorf("%s: %s runs, want %s", when, s.Version, version)
		}
	}
	place("v1.0.0-canary")
	in.must("", "minibotd", "install", "--program", program)
	runs("installed", "v1.0.0-canary")
	place("v1.1.0-canary")
	plain := in.env
	in.env = append(plain[:len(plain):len(plain)], "MINIBOT_DIE_AT=install/start")
	if r := in.run("", "minibotd", "install", "--program", program); r.code != -1 {
		t.Errorf("not killed: %+v", r)
	}
	in.env = plain
	runs("killed before the start", "v1.0.0-canary")
	in.must("", "minibotd", "install", "--program", program)
	runs("called again", "v1.1.0-canary")
	in.must("", "minibotd", "uninstall")
}

// serves starts the daemon by hand and waits until it answers.
func (in *installation) serves() {
	in.t.Helper()
	in.start()
	in.until("serving", 60*time.Second, func(control.Status) bool { return true })
}

// ended waits until the daemon that was started by hand has ended, which must be well.
func (in *installation) ended() {
	in.t.Helper()
	select {
	case err := <-in.exited:
		if err != nil {
			in.t.Errorf("minibotd ended with %v", err)
		}
		in.daemon = nil
	case <-time.After(30 * time.Second):
		in.t.Error("minibotd runs")
	}
}

// TestLifeWithoutAManager is on a machine on which nothing starts minibotd at login.
func TestLifeWithoutAManager(t *testing.T) {
	t.Parallel()
	in := alone(t)
	settings := filepath.Join(in.home, "settings")
	in.env = append(in.env, "XDG_RUNTIME_DIR="+in.home, "XDG_CONFIG_HOME="+settings, "DBUS_SESSION_BUS_ADDRESS=")
	expect := func(what string, r result, code int, said ...string) {
		t.Helper()
		for _, want := range said {
			if !strings.Contains(r.stdout+r.stderr, want) {
				t.Errorf("%s: no %q in %+v", what, want, r)
			}
		}
		if r.code != code {
			t.Errorf("%s: exit %d, want %d: %+v", what, r.code, code, r)
		}
	}
	expect("install", in.run("", "minibotd", "install", "--program", filepath.Join(programs, "minibotd")), 1, "nothing here starts minibotd", programs+"/minibotd run`")
	expect("kickstart of nothing", in.run("", "minibotd", "kickstart"), 1, "nothing here starts minibotd", "`minibotd run`")
	expect("uninstall of nothing", in.run("", "minibotd", "uninstall", "--keep-running"), 0, "stop", "already", "no minibotd runs")
	in.serves()
	kill := fmt.Sprintf("`kill %d` ends it", in.daemon.Process.Pid)
	expect("kickstart", in.run("", "minibotd", "kickstart"), 1, "started by hand", kill, "`minibotd run`")
	in.must("", "minibotd", "uninstall", "--keep-running", "--dry-run")
	if _, err := in.status(); err != nil {
		t.Errorf("a dry run ends it: %v", err)
	}
	expect("uninstall", in.run("", "minibotd", "uninstall"), 0, "never had a stack up", "supervisor of yours", "uninstalled")
	in.ended()
	// A unit that was written when there was a systemd would start it at the next login.
	unit := filepath.Join(settings, "systemd", "user", systemd.Unit)
	link := filepath.Join(filepath.Dir(unit), "default.target.wants", systemd.Unit)
	err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o700), os.WriteFile(unit, nil, 0o600), os.Symlink(unit, link))
	if err != nil {
		t.Fatal(err)
	}
	in.must("", "minibotd", "uninstall")
	for _, path := range []string{unit, link} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestWithoutADesktop is over SSH on a Mac at whose desktop nobody is logged in, with a daemon that was started by hand.
func TestWithoutADesktop(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.Logout()
	m.must("", "minibotd", "install", "--program", m.program)
	if r := m.run("", "minibotd", "kickstart"); r.code != 1 || !strings.Contains(r.stderr, "no desktop session") || !strings.Contains(r.stderr, "Screen Sharing") || !strings.Contains(r.stderr, "`minibotd run`") {
		t.Errorf("kickstart: %+v", r)
	}
	m.serves()
	m.Login() // launchd's own cannot start beside it
	if r := m.run("", "minibotd", "kickstart"); r.code != 1 || !strings.Contains(r.stderr, fmt.Sprintf("started by hand is running (pid %d)", m.daemon.Process.Pid)) || !strings.Contains(r.stderr, "`kill ") {
		t.Errorf("kickstart beside one that was started by hand: %+v", r)
	}
	m.must("", "minibotd", "uninstall", "--keep-running")
	m.ended()
	if left, err := os.ReadDir(m.AgentsDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if r := m.run("", "minibotd", "kickstart"); r.code != 1 || !strings.Contains(r.stderr, "not installed") {
		t.Errorf("after the uninstall: %+v", r)
	}
}

// TestKickstartOfWhatIsNotLoaded has somebody boot the agent out.
func TestKickstartOfWhatIsNotLoaded(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	m.install()
	if _, stderr, code := m.Run("bootout", m.Target(launchd.Label)); code != 0 {
		t.Fatal(stderr)
	}
	m.poll("booted out", 30*time.Second, func() bool {
		_, _, code := m.Run("print", m.Target(launchd.Label))
		return code == 113
	}, func() string { return "launchctl print still finds it" })
	if r := m.run("", "minibotd", "kickstart"); r.code != 1 || !strings.Contains(r.stderr, "not loaded") || !strings.Contains(r.stderr, "`minibotd install`") {
		t.Errorf("%+v", r)
	}
}
