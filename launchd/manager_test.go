package launchd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/hint"
	"minibot/launchd"
	"minibot/launchd/launchdtest"
)

// daemon stands in for minibotd: it ends on SIGTERM after $LINGER seconds.
const daemon = `#!/bin/sh
trap 'sleep ${LINGER:-0} & wait $!; exit 0' TERM
echo "home $MINIBOT_HOME"
while :; do sleep 0.2 & wait $!; done
`

type mac struct {
	*launchdtest.Launchd
	manager *launchd.Manager
	said    []string
}

// newMac starts a launchd and writes the agent's file as install does.
func newMac(t *testing.T, options launchdtest.Options) *mac {
	t.Helper()
	var err error
	options.Program, err = standin()
	must(t, err)
	l := launchdtest.Start(t, options)
	home := l.UserHome()
	settings := launchd.Settings{
		Program: filepath.Join(home, "bin", "minibotd"), Home: filepath.Join(home, "minibot"),
		UserHome: home, LogDir: filepath.Join(home, "Library", "Logs", "minibot"),
	}
	for _, dir := range []string{filepath.Dir(settings.Program), settings.LogDir, settings.Home} {
		must(t, os.MkdirAll(dir, 0o700))
	}
	must(t, os.WriteFile(settings.Program, []byte(daemon), 0o700))
	m := &mac{Launchd: l, manager: &launchd.Manager{
		Launchctl: launchd.Launchctl{Program: l.Launchctl(), UID: l.UID()}, Settings: settings, Poll: 10 * time.Millisecond,
	}}
	m.write(t)
	return m
}

func (m *mac) write(t *testing.T) {
	t.Helper()
	path, content, err := m.manager.Definition()
	must(t, err)
	must(t, os.WriteFile(path, content, 0o600))
}

func (m *mac) report(text string) { m.said = append(m.said, text) }

// verbs lists the verbs of launchctl so far, without looks.
func (m *mac) verbs() []string {
	var verbs []string
	for _, e := range m.Log() {
		if e.Kind == "launchctl" && e.Args[0] != "print" && e.Args[0] != "print-disabled" {
			verbs = append(verbs, e.Args[0]+" "+strconv.Itoa(e.Exit))
		}
	}
	return verbs
}

func (m *mac) state(t *testing.T) launchd.State {
	t.Helper()
	state, err := m.manager.State(t.Context())
	must(t, err)
	return state
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, hint.Of(err))
	}
}

func same(t *testing.T, have, want []string) {
	t.Helper()
	if !slices.Equal(have, want) {
		t.Errorf("have %q\nwant %q", have, want)
	}
}

func TestLoadUnload(t *testing.T) {
	m := newMac(t, launchdtest.Options{})
	if s := m.state(t); s != (launchd.State{Session: true}) {
		t.Errorf("before: %+v", s)
	}
	must(t, m.manager.Load(t.Context(), m.report))
	first := m.state(t)
	if !first.Loaded || first.PID == 0 || first.Disabled || first.LastExit != "" {
		t.Errorf("after: %+v", first)
	}
	same(t, m.verbs(), []string{"enable 0", "bootstrap 0"})
	target := m.Target(launchd.Label)
	same(t, m.said, []string{"launchctl enable " + target, "launchctl bootstrap gui/" + strconv.Itoa(m.UID()) + " " + m.manager.Settings.PlistPath()})

	must(t, m.manager.Load(t.Context(), nil)) // again: the new process takes the place of the old one
	if second := m.state(t); second.PID == first.PID || second.PID == 0 {
		t.Errorf("loaded again: %+v", second)
	}
	must(t, m.manager.Unload(t.Context(), nil))
	must(t, m.manager.Unload(t.Context(), nil))
	if s := m.state(t); s.Loaded || s.PID != 0 {
		t.Errorf("unloaded: %+v", s)
	}
	if err := syscall.Kill(first.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the first process: %v", err)
	}
	same(t, m.verbs(), []string{"enable 0", "bootstrap 0", "enable 0", "bootout 0", "bootstrap 0", "bootout 0"})
}

func TestLoadReadsTheFileAnew(t *testing.T) {
	m := newMac(t, launchdtest.Options{})
	must(t, m.manager.Load(t.Context(), nil))
	m.manager.Settings.Home = filepath.Join(m.UserHome(), "another")
	m.write(t)
	must(t, m.manager.Load(t.Context(), nil))
	var out []byte
	eventually(t, func() bool {
		var err error
		out, err = os.ReadFile(filepath.Join(m.manager.Settings.LogDir, launchd.OutLog))
		return err == nil && bytes.Count(out, []byte("\n")) == 2
	})
	if want := "home " + filepath.Join(m.UserHome(), "minibot") + "\nhome " + m.manager.Settings.Home + "\n"; string(out) != want {
		t.Errorf("it said %q, not %q", out, want)
	}
}

// eventually waits until a condition holds, and fails after 20 s.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen within 20 s")
		}
	}
}

// TestLoadOverKnownFailures has each failure that people met, as often as it takes to notice a client that gives up.
func TestLoadOverKnownFailures(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*mac)
		verbs   []string
	}{
		"5 while launchd tidies up": {
			func(m *mac) { m.Fault("bootstrap", 5, 3) },
			[]string{"enable 0", "bootstrap 5", "bootstrap 5", "bootstrap 5", "bootstrap 0"},
		},
		"37": {
			func(m *mac) { m.Fault("bootstrap", 37, 2) },
			[]string{"enable 0", "bootstrap 37", "bootstrap 37", "bootstrap 0"},
		},
		"bootout says 36 and does it": {
			func(m *mac) {
				m.Run("bootstrap", "gui/"+strconv.Itoa(m.UID()), m.manager.Settings.PlistPath())
				m.Fault("bootout", 36, 1)
			},
			[]string{"bootstrap 0", "enable 0", "bootout 36", "bootstrap 0"},
		},
		"disabled by hand": {
			func(m *mac) { m.Run("disable", m.Target(launchd.Label)) },
			[]string{"disable 0", "enable 0", "bootstrap 0"},
		},
		"disabled again meanwhile": {
			func(m *mac) { m.Fault("bootstrap", 119, 1) },
			[]string{"enable 0", "bootstrap 119", "enable 0", "bootstrap 0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMac(t, launchdtest.Options{})
			test.prepare(m)
			must(t, m.manager.Load(t.Context(), nil))
			same(t, m.verbs(), test.verbs)
			if s := m.state(t); s.PID == 0 || s.Disabled {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestLoadWaitsForASlowEnd has a process that takes its time to end, and a launchd that takes some more.
func TestLoadWaitsForASlowEnd(t *testing.T) {
	t.Parallel()
	m := newMac(t, launchdtest.Options{Settle: 300 * time.Millisecond})
	m.Run("setenv", "LINGER", "0.5")
	must(t, m.manager.Load(t.Context(), nil))
	begin := time.Now()
	must(t, m.manager.Load(t.Context(), nil))
	if took := time.Since(begin); took < 800*time.Millisecond {
		t.Errorf("after %v", took)
	}
	same(t, m.verbs(), []string{"setenv 0", "enable 0", "bootstrap 0", "enable 0", "bootout 0", "bootstrap 0"})
	if m.state(t).PID == 0 {
		t.Error("it does not run")
	}
}

func TestUnloadGivesUp(t *testing.T) {
	t.Parallel()
	m := newMac(t, launchdtest.Options{})
	m.Run("setenv", "LINGER", "1000")
	must(t, m.manager.Load(t.Context(), nil))
	m.manager.Gone = 100 * time.Millisecond
	err := m.manager.Unload(t.Context(), nil)
	if !errors.Is(err, launchd.ErrBusy) || !strings.Contains(hint.Of(err), "launchctl bootout "+m.Target(launchd.Label)) {
		t.Errorf("%v, %q", err, hint.Of(err))
	}
	m.manager.Gone = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.manager.Unload(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLoadFails(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*mac)
		want    error
		hint    string
	}{
		"nobody is logged in": {func(m *mac) { m.Logout() }, launchd.ErrNoSession, "log in at the Mac's desktop"},
		"5 for ever":          {func(m *mac) { m.Fault("bootstrap", 5, 1000) }, launchd.ErrIO, "plutil -lint"},
		"125":                 {func(m *mac) { m.Fault("bootstrap", 125, 1) }, launchd.ErrNoSession, "log in"},
		"122":                 {func(m *mac) { m.Run("list"); m.chmod(0o666) }, launchd.ErrBadOwner, "chmod 600"},
		"119 for ever":        {func(m *mac) { m.Fault("bootstrap", 119, 1000) }, launchd.ErrDisabled, "launchctl enable gui/"},
		"no file":             {func(m *mac) { m.remove() }, launchd.ErrBadFile, "plutil -lint"},
		"launchctl hangs":     {func(m *mac) { m.Fault("enable", launchdtest.Hang, 1); m.hurry() }, launchd.ErrTimeout, "launchd is stuck"},
		"strange words":       {func(m *mac) { m.Fault("print", launchdtest.Garbage, 1) }, launchd.ErrUnknown, ""},
		"a strange status":    {func(m *mac) { m.Fault("bootstrap", 130, 1) }, launchd.ErrUnknown, "launchctl error 130"},
		"refused":             {func(m *mac) { m.Fault("enable", 150, 1) }, launchd.ErrDenied, "launchctl error 150"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMac(t, launchdtest.Options{})
			m.manager.Retry = 200 * time.Millisecond
			test.prepare(m)
			err := m.manager.Load(t.Context(), nil)
			if !errors.Is(err, test.want) || !strings.Contains(hint.Of(err), test.hint) {
				t.Errorf("%v, %q", err, hint.Of(err))
			}
			if strings.Contains(err.Error(), launchd.Label) || strings.Contains(err.Error(), "ailed:") {
				t.Errorf("it quotes launchctl: %v", err)
			}
		})
	}
}

func (m *mac) chmod(mode os.FileMode) { _ = os.Chmod(m.manager.Settings.PlistPath(), mode) }
func (m *mac) remove()                { _ = os.Remove(m.manager.Settings.PlistPath()) }
func (m *mac) hurry()                 { m.manager.Launchctl.Timeout = 200 * time.Millisecond }

// TestWithoutSessionItStartsAtTheNextLogin includes a label that was disabled: enabling it needs no session.
func TestWithoutSessionItStartsAtTheNextLogin(t *testing.T) {
	t.Parallel()
	m := newMac(t, launchdtest.Options{})
	m.Run("disable", m.Target(launchd.Label))
	m.Reboot()
	if s := m.state(t); s != (launchd.State{Disabled: true}) {
		t.Errorf("after the reboot: %+v", s)
	}
	m.Fault("print-disabled", 112, 2)
	if s := m.state(t); s != (launchd.State{}) {
		t.Errorf("without any domain: %+v", s)
	}
	if err := m.manager.Load(t.Context(), nil); !errors.Is(err, launchd.ErrNoSession) {
		t.Errorf("load: %v", err)
	}
	must(t, m.manager.Unload(t.Context(), nil))
	m.Login()
	m.Wait(0, "spawn", launchd.Label)
	if s := m.state(t); !s.Loaded || s.PID == 0 || s.Disabled {
		t.Errorf("after the login: %+v", s)
	}
}

func TestKickstart(t *testing.T) {
	t.Parallel()
	m := newMac(t, launchdtest.Options{})
	err := m.manager.Kickstart(t.Context())
	if !errors.Is(err, launchd.ErrNotLoaded) || hint.Of(err) != "run `minibotd install`" {
		t.Errorf("%v, %q", err, hint.Of(err))
	}
	must(t, m.manager.Load(t.Context(), nil))
	before := m.state(t)
	must(t, m.manager.Kickstart(t.Context()))
	after := m.state(t)
	if after.PID == before.PID || after.PID == 0 || after.LastExit != "signal 9" {
		t.Errorf("%+v, then %+v", before, after)
	}
}

// TestLogoutDuringLoad has launchd's answer for a missing session that says nothing of it.
func TestLogoutDuringLoad(t *testing.T) {
	t.Parallel()
	m := newMac(t, launchdtest.Options{})
	m.Fault("bootstrap", 5, 1000)
	done := make(chan error, 1)
	go func() { done <- m.manager.Load(t.Context(), nil) }()
	n := 0
	for m.Wait(n, "launchctl", "").Args[0] != "bootstrap" {
		n++
	}
	m.Logout()
	select {
	case err := <-done:
		if !errors.Is(err, launchd.ErrNoSession) || !strings.Contains(hint.Of(err), "log in") {
			t.Errorf("%v, %q", err, hint.Of(err))
		}
	case <-time.After(20 * time.Second): // Retry is 30 s
		t.Error("it goes on trying")
	}
}

// TestLoadWhereALoginWasFirst has a login load the same file between two attempts.
func TestLoadWhereALoginWasFirst(t *testing.T) {
	t.Parallel()
	m := newMac(t, launchdtest.Options{})
	m.Fault("bootstrap", 5, 1000)
	done := make(chan error, 1)
	n := len(m.Log())
	go func() { done <- m.manager.Load(t.Context(), nil) }()
	for m.Wait(n, "launchctl", "").Args[0] != "bootstrap" {
		n++
	}
	m.Logout()
	m.Login()
	if err := <-done; err != nil && !errors.Is(err, launchd.ErrNoSession) {
		t.Error(err)
	}
	if m.state(t).PID == 0 {
		t.Error("it does not run")
	}
}
