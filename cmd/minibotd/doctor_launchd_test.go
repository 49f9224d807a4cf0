package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"minibot/launchd"
	"minibot/launchd/launchdtest"
	"minibot/launchd/launchdtest/emulation"
)

// atADesktop makes a patient that is installed below an emulated launchd, with programs of its own outside of the folders for
// temporary files, which install refuses.
func atADesktop(t *testing.T) (*patient, *launchdtest.Launchd) {
	t.Helper()
	l := launchdtest.Start(t)
	p := sound(t)
	p.programs = lasting(t)
	for _, name := range []string{"minibotd", "mb-secrets"} {
		if out, err := exec.CommandContext(t.Context(), "cp", filepath.Join(programs, name), p.programs).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	p.env = append(p.env, "MINIBOT_MANAGER=launchd", "HOME="+l.UserHome(), "PATH="+p.programs+":"+filepath.Dir(l.Launchctl())+":"+os.Getenv("PATH"))
	p.shell("minibotd install", "")
	return p, l
}

// lasting makes a folder, which ends with the test, outside of those for temporary files.
func lasting(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err == nil {
		err = os.MkdirAll(cache, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "minibot-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDoctorMendsTheAgent plants faults in the LaunchAgent of an installation that is up under launchd.
func TestDoctorMendsTheAgent(t *testing.T) {
	p, l := atADesktop(t)
	plist := filepath.Join(l.AgentsDir(), launchd.Label+".plist")
	change := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(plist)
		p.must(err)
		if !strings.Contains(string(text), from) {
			t.Fatalf("no %q in %s", from, text)
		}
		p.must(os.WriteFile(plist, []byte(strings.Replace(string(text), from, to, 1)), 0o600))
	}
	for _, f := range p.doctor() {
		if f.Check == "agent" || f.Check == "versions" {
			t.Fatalf("installed, and not well: %+v", f)
		}
	}
	enable := "launchctl enable " + l.Target(launchd.Label)
	for _, test := range []struct {
		name             string
		plant            func()
		message, command string
	}{
		{"stale", func() { change("<integer>63</integer>", "<integer>18</integer>") }, "Umask has another value", "minibotd install"},
		{"program is missing", func() { change("/minibotd</string>", "/gone</string>") }, "not there", "minibotd install"},
		{"no plist", func() { p.must(os.Remove(plist)) }, "does not exist", "minibotd install"},
		{"no property list", func() { p.must(os.WriteFile(plist, []byte("#!/bin/sh\n"), 0o600)) }, "XML", "minibotd install"},
		{"a folder", func() { p.must(os.Remove(plist)); p.must(os.Mkdir(plist, 0o700)) }, "is no file", "mv "},
		{"others may write", func() { p.must(os.Chmod(plist, 0o666)) }, "mode 0666", "chmod go-w "},
		{"disabled", func() { p.shell("launchctl disable "+l.Target(launchd.Label), "") }, "disabled", enable},
		{"not loaded", func() {
			unloaded := 1
			for _, e := range l.Log() {
				if e.Kind == emulation.EventUnload && e.Label == launchd.Label {
					unloaded++
				}
			}
			p.shell("launchctl bootout "+l.Target(launchd.Label), "")
			l.Wait(unloaded, emulation.EventUnload, launchd.Label)
		}, "not loaded", "minibotd install"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.t = t
			test.plant()
			p.heal("agent", test.message, test.command, "")
		})
	}
}
