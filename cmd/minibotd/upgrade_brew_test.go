package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// keg puts a release where Homebrew would, links it as the current one, and removes the one before, as `brew upgrade` does.
func keg(t *testing.T, prefix, release, before, version string) {
	t.Helper()
	script := `cellar=$1/Cellar/minibot
mkdir -p "$cellar/$4" "$1/opt" "$1/bin"
cp -R "$2" "$cellar/$4/bin"
ln -sfn "../Cellar/minibot/$4" "$1/opt/minibot"
for p in minibotd mb-secrets; do ln -sfn "../Cellar/minibot/$4/bin/$p" "$1/bin/$p"; done
[ -z "$3" ] || rm -rf "$cellar/$3"`
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script, "keg", prefix, release, before, version).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestUpgradeWithHomebrew removes the old version's folder from under the daemon that runs from it: the next login, and minibotd
// install, start the new one by the name that stays.
func TestUpgradeWithHomebrew(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	prefix := lasting(t)
	program := filepath.Join(prefix, "bin", "minibotd")
	install := func(when, version string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, "install")
		cmd.Env = m.environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", when, err, out)
		}
		if status, err := m.status(); err != nil || status.Version != version {
			t.Errorf("%s: %v, minibotd %s runs, want %s", when, err, status.Version, version)
		}
		m.isSound(when, program, version)
	}
	keg(t, prefix, released(t, "v1.0.0-canary"), "", "1.0.0")
	install("installed", "v1.0.0-canary")
	if text, err := os.ReadFile(m.plist()); err != nil || !strings.Contains(string(text), prefix+"/opt/minibot/bin/minibotd</string>") {
		t.Errorf("%v\n%s", err, text)
	}
	keg(t, prefix, released(t, "v1.1.0-canary"), "1.0.0", "1.1.0")
	cmd := exec.CommandContext(t.Context(), program, "doctor")
	cmd.Env = m.environ()
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "minibotd runs as version v1.0.0-canary, this program is v1.1.0-canary") {
		t.Errorf("upgraded and not yet installed: %v: %s", err, out)
	}
	install("upgraded", "v1.1.0-canary")
	keg(t, prefix, released(t, "v1.0.0-canary"), "1.1.0", "1.0.0")
	m.Reboot()
	m.Login()
	if s := m.until("a daemon after the login", 60*time.Second, func(control.Status) bool { return true }); s.Version != "v1.0.0-canary" {
		t.Errorf("the login starts %s", s.Version)
	}
}
