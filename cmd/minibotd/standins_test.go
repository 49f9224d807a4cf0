package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"minibot/control"
	"minibot/launchd"
	"minibot/secrets/security/securitytest"
)

// securityStandIn builds what stands in for macOS's program security, once.
var securityStandIn = sync.OnceValues(func() (string, error) { return securitytest.Build(programs) })

// ownMac is a mac whose programs take themselves to be on one: they have its defaults, its folder for logs, a keychain and a
// caffeinate, which stand-ins are.
type ownMac struct {
	*mac
	keychain *securitytest.Standin
	awake    string // each start of caffeinate: its pid and arguments
}

// onItsOwnMac gives an installation such a mac, before anything of it has run. Its store is the keychain.
func onItsOwnMac(t *testing.T, in *installation) *ownMac {
	t.Helper()
	program, err := securityStandIn()
	if err != nil {
		t.Fatal(err)
	}
	m := &ownMac{keychain: securitytest.New(t, program)}
	dir := t.TempDir()
	caffeinate := filepath.Join(dir, "caffeinate")
	m.awake, in.programs = caffeinate+".log", filepath.Join(dir, "programs")
	shellProgram(t, caffeinate, `echo "$$ $*" >> `+m.awake+`; exec tail -s 0.1 --pid="$3" -f /dev/null`)
	if err := os.Mkdir(in.programs, 0o700); err != nil {
		t.Fatal(err)
	}
	linked := fmt.Sprintf("-X minibot/config.goos=darwin -X minibot/secrets/security.program=%s -X minibot/awake.program=%s", m.keychain.Program, caffeinate)
	if err := build(in.programs, linked); err != nil {
		t.Fatal(err)
	}
	in.configure(`store = "security"`)
	m.mac = onAMac(t, in)
	return m
}

// caffeinated returns the caffeinate that ends with a process, once it runs.
func (m *ownMac) caffeinated(pid int) (child int) {
	m.t.Helper()
	var text []byte
	m.poll(fmt.Sprintf("a caffeinate for %d", pid), 20*time.Second, func() bool {
		text, _ = os.ReadFile(m.awake) // not there yet
		for line := range strings.Lines(string(text)) {
			first, arguments, _ := strings.Cut(strings.TrimSpace(line), " ")
			if arguments == "-s -w "+strconv.Itoa(pid) {
				child, _ = strconv.Atoi(first)
			}
		}
		return child != 0
	}, func() string { return string(text) })
	return child
}

// over waits until a process has ended; one that nobody has waited for yet has no command line any more.
func (m *ownMac) over(pid int) {
	m.t.Helper()
	m.poll(fmt.Sprintf("the end of %d", pid), 20*time.Second, func() bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err != nil || len(line) == 0
	}, func() string { return "it still runs" })
}

// TestKeepsTheMacAwake: on a Mac, and unless it is not wanted, a caffeinate lives as long as each daemon, however that ends.
func TestKeepsTheMacAwake(t *testing.T) {
	t.Parallel()
	m := onItsOwnMac(t, alone(t))
	_, first := m.install()
	child := m.caffeinated(first)
	m.Run("kickstart", "-k", m.Target(launchd.Label)) // SIGKILL
	m.over(child)
	second := m.until("another daemon", 60*time.Second, func(s control.Status) bool { return s.PID != first }).PID
	child = m.caffeinated(second)
	m.must("", "minibotd", "uninstall", "--keep-running") // SIGTERM
	m.over(child)

	m.configure("keep_awake = false")
	m.install()
	m.must("", "minibotd", "uninstall", "--keep-running")
	if text, err := os.ReadFile(m.awake); err != nil || strings.Count(string(text), "\n") != 2 {
		t.Errorf("caffeinate was started, though it is not wanted: %v\n%s", err, text)
	}
}
