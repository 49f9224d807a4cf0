package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"minibot/control"
	"minibot/doctor"
)

// number is a number of the environment, for the long runs.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// login is a Mac with a keychain that can be locked and an engine, Docker Desktop's, that can be away.
type login struct {
	*ownMac
	proxy  *engineProxy
	orders orders
	pid    int // of the daemon before the kickstart
}

// newLogin installs oneCompose there, with the keychain locked and the engine away, and nobody logged in.
func newLogin(t *testing.T) *login {
	t.Helper()
	m := &login{proxy: newEngineProxy(t)}
	m.proxy.close()
	m.proxy.intercept(m.orders.see)
	m.ownMac = onItsOwnMac(t, install(t, "", strings.Replace(oneCompose, "description: a canary", "description: a canary, generate: { length: 32 }", 1), nil))
	m.proxy.socket = filepath.Join(m.UserHome(), ".docker/desktop/docker.sock")
	if err := os.MkdirAll(filepath.Dir(m.proxy.socket), 0o700); err != nil {
		t.Fatal(err)
	}
	shellProgram(t, filepath.Join(m.UserHome(), ".docker/bin/systemctl"), "exit 1")
	shellProgram(t, filepath.Join(m.UserHome(), ".config/systemd/user/docker-desktop.service"), "")
	m.configure(fmt.Sprintf("docker_host = %q\nengine.start = \"auto\"", m.proxy.host()))
	m.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	m.keychain.Lock(true)
	m.Reboot()
	m.must("", "minibotd", "install", "--program", m.program)
	return m
}

// waits waits until a daemon other than pid waits in a phase, and returns its own pid.
func (m *login) waits(phase control.Phase, pid int) int {
	m.t.Helper()
	return m.until(string(phase), 60*time.Second, func(s control.Status) bool {
		return s.PID != pid && s.Phase == phase && s.Reason != "" && s.Hint != "" && (phase != control.PhaseWaitingForStore || s.Store.State == "locked")
	}).PID
}

// staysLocked watches until a time that the daemon waits for the keychain and asks nothing of the engine.
func (m *login) staysLocked(end time.Time) {
	m.t.Helper()
	m.poll("watched", time.Until(end)+time.Minute, func() bool {
		if s, err := m.status(); err != nil || s.Phase != control.PhaseWaitingForStore || s.Store.State != "locked" {
			m.t.Fatalf("before the unlock: %v, %+v", err, s)
		}
		return time.Now().After(end)
	}, func() string { return "" })
	if n := m.orders.all.Load(); n > 0 {
		m.t.Errorf("%d orders to the engine before the unlock", n)
	}
}

// engineIs has the doctor say of the engine how it is, while the daemon waits.
func (m *login) engineIs(want doctor.State) {
	m.t.Helper()
	var report doctorReport
	if err := json.Unmarshal([]byte(m.run("", "minibotd", "doctor", "--json").stdout), &report); err != nil {
		m.t.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Check == "engine" && f.State == want && (want == doctor.OK || f.Command != "") {
			return
		}
	}
	m.t.Errorf("the doctor does not find the engine %v: %+v", want, report.Findings)
}

// TestLogin is a night's reboot: at the login the keychain is locked and there is no engine; that appears after 20 s, the keychain is
// unlocked after 40 s, and all gets healthy without a touch. Then launchd starts the daemon anew at all kinds of moments, and at last
// it is upgraded and taken away. MINIBOT_KICKSTARTS is how many moments there are.
func TestLogin(t *testing.T) {
	t.Parallel()
	m := newLogin(t)
	m.Login()
	began := time.Now()
	first := m.waits(control.PhaseWaitingForStore, 0)
	if out := m.run("", "minibotd", "status").stdout; !strings.Contains(out, "engine not seen yet, store security (locked)") || !strings.Contains(out, "hint: ") {
		t.Errorf("status says:\n%s", out)
	}
	m.engineIs(doctor.Failure)
	m.kick()
	m.waits(control.PhaseWaitingForStore, first)
	m.staysLocked(began.Add(20 * time.Second))
	m.proxy.open()
	m.engineIs(doctor.OK)
	m.staysLocked(began.Add(40 * time.Second))
	if out := m.docker("ps", "-aq", "--filter", "label=com.docker.compose.project="+m.name); out != "" {
		t.Errorf("there are containers before the unlock: %s", out)
	}
	m.keychain.Lock(false)
	m.healthy(60 * time.Second)
	if m.orders.all.Load() == 0 {
		t.Error("no order has passed where they are counted")
	}

	before := m.kickstarts(number(t, "MINIBOT_KICKSTARTS", 10))
	m.update()
	m.install()
	m.healthy(60 * time.Second)
	if after := m.started("a"); after != before {
		t.Errorf("the upgrade restarted something: %v, then %v", before, after)
	}
	m.purge("not-" + m.name)
	m.healthy(time.Second)
	if out := m.purge(m.name); !strings.Contains(out, "will be removed for good: secret K") || !strings.Contains(out, "volume "+m.name+"_") {
		t.Errorf("the list lacks something:\n%s", out)
	}
	for _, kind := range []string{"container", "volume", "network"} {
		list := []string{kind, "ls", "-q", "--filter", "label=com.docker.compose.project=" + m.name}
		if kind == "container" {
			list = append(list, "-a")
		}
		if left := m.docker(list...); left != "" {
			t.Errorf("left on the engine: %s %s", kind, left)
		}
	}
	if left, err := os.ReadDir(m.home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left of the home: %v, %v", left, err)
	}
	if left := m.keychain.Items(); len(left) > 0 {
		t.Errorf("%d items are left in the keychain", len(left))
	}
	m.keychain.MustKeepSecret("canary")
}

// purge runs uninstall --purge at a terminal, types a word when it is asked for one, and returns what it said.
func (m *mac) purge(word string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), m.built("minibotd"), "uninstall", "--purge")
	cmd.Env = m.environ()
	terminal, err := pty.Start(cmd)
	if err != nil {
		m.t.Fatal(err)
	}
	defer terminal.Close()
	var said strings.Builder
	typed := false
	for b := make([]byte, 4096); ; {
		n, err := terminal.Read(b)
		said.Write(b[:n])
		if !typed && strings.Contains(said.String(), "Type "+m.name+" to remove all this: ") {
			typed = true
			if _, err := terminal.WriteString(word + "\r"); err != nil {
				m.t.Fatal(err)
			}
		}
		if err != nil { // EIO: it has ended
			break
		}
	}
	if err := cmd.Wait(); (err == nil) != (word == m.name) || !typed {
		m.t.Errorf("uninstall --purge and %q: %v\n%s", word, err, said.String())
	}
	return said.String()
}
