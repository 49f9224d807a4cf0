package main

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"minibot/control"
	"minibot/launchd"
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

// TestLogin is a night's reboot: at the login the store cannot be read and the engine is away, both come, and all gets healthy without
// a touch. Then launchd starts the daemon anew at random moments, in some of them while a secret changes, and at last it is upgraded
// and taken away. MINIBOT_KICKSTARTS is how many there are.
func TestLogin(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	proxy.close()
	m := onAMac(t, one(t, proxy.host()))
	key := filepath.Join(m.home, "age.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	m.Reboot()
	m.must("", "minibotd", "install", "--program", m.program)
	m.Login()
	m.until("waiting for the store", 60*time.Second, func(s control.Status) bool {
		return s.Phase == control.PhaseWaitingForStore && s.Store.State == "denied"
	})
	proxy.open()
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	m.healthy(90 * time.Second)
	before := m.started("a")
	for n := range number(t, "MINIBOT_KICKSTARTS", 10) {
		moment := time.NewTimer(rand.N(2 * time.Second))
		changing := n%3 == 2
		var change <-chan result
		if changing {
			change = m.background("canary-login-"+strconv.Itoa(n), "mb-secrets", "set", "K")
		}
		<-moment.C
		m.Run("kickstart", "-k", m.Target(launchd.Label))
		if changing {
			<-change // whatever became of it: the daemon went away
		}
		m.must("", "minibotd", "kickstart", "--wait")
		m.healthy(time.Second)
		if after := m.started("a"); after != before {
			t.Errorf("kickstart %d restarted something: %v, then %v", n, before, after)
		}
		if has, want := m.has("a"), m.run("", "mb-secrets", "get", "K").stdout; has != want {
			t.Errorf("kickstart %d: the service has %q, the store %q", n, has, want)
		}
	}
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
}

// purge runs uninstall --purge at a terminal, types a word when it is asked for one, and returns what it said.
func (m *mac) purge(word string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), filepath.Join(programs, "minibotd"), "uninstall", "--purge")
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
