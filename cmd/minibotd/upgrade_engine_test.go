package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"minibot/control"
	"minibot/doctor"
)

// releases are the folders of what was released, by version, for all tests.
var releases struct {
	sync.Mutex
	built map[string]string
}

// released builds both programs as a release of that version, once, and returns their folder.
func released(t *testing.T, version string) string {
	t.Helper()
	releases.Lock()
	defer releases.Unlock()
	if dir, ok := releases.built[version]; ok {
		return dir
	}
	dir := filepath.Join(programs, version)
	if err := build(dir, "-s -w -X minibot/control.Version="+version); err != nil {
		t.Fatal(err)
	}
	if releases.built == nil {
		releases.built = map[string]string{}
	}
	releases.built[version] = dir
	return dir
}

// upgraded is a Mac on which scripts/install.sh puts releases of two versions in place of one another.
type upgraded struct {
	*mac
	prefix   string
	releases map[string]string // folders, by version
}

// script runs scripts/install.sh with the programs of a version, and returns its exit code, -1 when it was killed.
func (u *upgraded) script(version string, env ...string) (code int, said string) {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), "../../scripts/install.sh", "--from", u.releases[version], "--prefix", u.prefix)
	cmd.Env = append(u.environ(), env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		u.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// is holds that the stack is healthy under the version, that nothing was started anew, and that doctor finds nothing about versions.
func (u *upgraded) is(when, version, started string) {
	u.t.Helper()
	if status := u.healthy(60 * time.Second); status.Version != version {
		u.t.Errorf("%s: minibotd %s runs, want %s", when, status.Version, version)
	}
	if now := u.started("a"); now != started {
		u.t.Errorf("%s: the container was started at %s, then %s", when, started, now)
	}
	u.isSound(when, filepath.Join(u.prefix, "bin", "minibotd"), version)
}

// isSound holds that doctor, asked by that program, finds nothing about what starts minibotd and about versions.
func (m *mac) isSound(when, program, version string) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), program, "doctor", "--json")
	cmd.Env = m.environ()
	out, _ := cmd.Output() // 1 for what else it finds here
	var report doctorReport
	if err := json.Unmarshal(out, &report); err != nil {
		m.t.Fatalf("%s: %v: %s", when, err, out)
	}
	for _, f := range report.Findings {
		if (f.Check == "agent" || f.Check == "versions") && f.State != doctor.OK {
			m.t.Errorf("%s: %+v", when, f)
		}
	}
	if want := (doctor.Finding{Check: "versions", State: doctor.OK, Message: "minibotd and mb-secrets are " + version}); !slices.Contains(report.Findings, want) {
		m.t.Errorf("%s: want %+v in %+v", when, want, report.Findings)
	}
}

// TestUpgradeToANewVersion upgrades a running installation to a version that was built later, and kills that before each of its steps:
// the next login starts the version whose program is in place, and the same upgrade, called again, comes to its end.
func TestUpgradeToANewVersion(t *testing.T) {
	t.Parallel()
	from, to := "v1.0.0-canary", "v1.1.0-canary"
	u := &upgraded{onAMac(t, one(t, "")), lasting(t), map[string]string{from: released(t, from), to: released(t, to)}}
	if code, said := u.script(from); code != 0 {
		t.Fatalf("the first installation: exit %d: %s", code, said)
	}
	u.healthy(90 * time.Second)
	started := u.started("a")
	u.is("installed", from, started)
	before := func(program string) string { // a PATH whose mv kills the script before it puts that program in place
		dir := t.TempDir()
		text := fmt.Sprintf("#!/bin/sh\ncase $* in */%s) kill -9 $PPID; exit 1 ;; esac\nPATH=%q exec mv \"$@\"\n", program, os.Getenv("PATH"))
		if err := os.WriteFile(filepath.Join(dir, "mv"), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return "PATH=" + dir + ":" + filepath.Dir(u.Launchctl()) + ":" + os.Getenv("PATH")
	}
	for _, step := range []struct {
		name, env string
		old       bool // the old program is still in place
	}{
		{"mb-secrets", before("mb-secrets"), true}, {"minibotd", before("minibotd"), true}, {"program", "MINIBOT_DIE_AT=install/program", false},
		{"start", "MINIBOT_DIE_AT=install/start", false}, {"answer", "MINIBOT_DIE_AT=install/answer", false},
	} {
		if code, said := u.script(to, step.env); code != -1 {
			t.Errorf("not killed before %s: exit %d: %s", step.name, code, said)
		}
		u.PowerCut()
		u.Login()
		want := to
		if step.old {
			want = from
		}
		if s := u.until("a daemon after the login", 60*time.Second, func(control.Status) bool { return true }); s.Version != want {
			t.Errorf("killed before %s: the login starts %s, want %s", step.name, s.Version, want)
		}
		if code, said := u.script(to); code != 0 {
			t.Fatalf("killed before %s and called again: exit %d: %s", step.name, code, said)
		}
		u.is("killed before "+step.name+" and called again", to, started)
		from, to = to, from // and back
	}
}
