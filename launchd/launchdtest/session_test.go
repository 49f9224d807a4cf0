package launchdtest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/launchd/launchdtest"
)

func TestSessions(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{LoggedOut: true})
	b.write(b.AgentsDir(), "a", wait, keys{"RunAtLoad": true})
	b.write(b.AgentsDir(), "b", wait, nil)
	b.write(b.AgentsDir(), "c", wait, keys{"Disabled": true})
	b.write(b.AgentsDir(), "d", wait, keys{"LimitLoadToSessionType": "LoginWindow"})
	b.check(os.WriteFile(filepath.Join(b.AgentsDir(), "e.plist"), []byte("text"), 0o600))
	b.check(os.WriteFile(filepath.Join(b.AgentsDir(), "f.txt"), []byte("text"), 0o600))
	uid := strings.TrimPrefix(b.domain, "gui/")

	const cannot = "125: Domain does not support specified action"
	b.want(0, "Background", "managername")
	b.want(112, "Bad request.\nCould not find domain for user gui: "+uid, "print", b.domain)
	b.want(112, "Bad request.\nCould not find domain for user gui: "+uid, "print", b.Target("a"))
	b.want(125, "Bootstrap failed: "+cannot, "bootstrap", b.domain, filepath.Join(b.AgentsDir(), "a.plist"))
	b.want(125, "Boot-out failed: "+cannot, "bootout", b.Target("a"))
	b.want(125, "…"+cannot, "kickstart", b.Target("a"))
	b.want(125, "…"+cannot, "enable", b.Target("a"))
	b.want(125, "…"+cannot, "print-disabled", b.domain)
	b.want(0, "", "enable", "user/"+uid+"/c")

	b.Login()
	b.Login()
	b.want(0, "Aqua", "managername")
	b.want(0, b.domain+" = {\n\ttype = login\n…\tsession = Aqua\n…", "print", b.domain)
	b.spawns("a", 1)
	b.want(0, "PID\tStatus\tLabel\n…\t0\ta\n-\t0\tb\n-\t0\tc", "list")
	skipped := b.events("skip", "")
	if len(b.events("login", "")) != 1 || len(skipped) != 2 || skipped[0].Exit != 134 || skipped[1].Exit != 109 {
		t.Errorf("%+v", skipped)
	}
	b.want(0, "", "setenv", "CANARY", "x")
	b.Logout()
	b.want(0, "", "getenv", "CANARY")
	b.want(112, "…", "print", b.domain)
	if ends := b.events("exit", "a"); len(ends) != 1 || ends[0].Detail != "exit status 0" {
		t.Errorf("%+v", ends)
	}
}

// TestMarksOutliveReboots is why an agent that was disabled once does not start after it was installed anew.
func TestMarksOutliveReboots(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	path := b.write(b.AgentsDir(), "a", wait, keys{"RunAtLoad": true})
	b.want(0, "", "bootstrap", b.domain, path)
	b.want(0, "", "setenv", "CANARY", "x")
	b.want(0, "", "disable", b.Target("a"))
	if b.print("a", "state") != "running" {
		t.Error("disabling stops it")
	}
	b.Reboot()
	b.Login()
	b.want(113, "…", "print", b.Target("a"))
	b.want(0, "", "getenv", "CANARY")
	b.want(0, "\tdisabled services = {\n\t\t\"com.apple.Siri.agent\" => disabled\n\t\t\"a\" => disabled\n\t}\n…", "print-disabled", b.domain)
	b.want(119, path+": Service is disabled\nBootstrap failed: 119: Service is disabled", "bootstrap", b.domain, path)
	b.want(0, "", "enable", b.Target("a"))
	b.want(0, "…\"a\" => enabled…", "print-disabled", b.domain)
	b.Reboot()
	b.Login()
	if b.print("a", "state") != "running" {
		t.Error("enabled, it does not start")
	}
}

// TestLogoutWaitsForSlowAgents and kills them after their exit timeout; a power cut kills at once.
func TestLogoutWaitsForSlowAgents(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{ExitSpeed: 10, LoggedOut: true})
	b.write(b.AgentsDir(), "a", deaf, keys{"RunAtLoad": true, "KeepAlive": true, "ExitTimeOut": 5})
	for _, end := range []struct {
		do   func()
		text string
	}{{b.Logout, "up\nterm\n"}, {b.PowerCut, "up\n"}} {
		b.check(os.WriteFile(b.out("a"), nil, 0o600))
		b.Login()
		b.text(b.out("a"), 1)
		begin := time.Now()
		end.do()
		took := time.Since(begin)
		if waited := took > 490*time.Millisecond; end.text == "up\nterm\n" && !waited {
			t.Errorf("it waited %v", took)
		}
		have, err := os.ReadFile(b.out("a"))
		if err != nil || !strings.HasPrefix(string(have), end.text) {
			t.Errorf("%q %v", have, err)
		}
		ends := b.events("exit", "a")
		if last := ends[len(ends)-1]; last.Detail != "signal 9" || !gone(last.PID) {
			t.Errorf("%+v", last)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	path := b.write(b.dir, "a", wait, nil)
	b.Fault("bootstrap", 5, 2)
	b.Fault("bootstrap", 37, 1)
	for _, exit := range []int{5, 5, 37} {
		b.want(exit, "…", "bootstrap", b.domain, path)
	}
	if len(b.events("load", "a")) > 0 {
		t.Error("it was loaded all the same")
	}
	b.want(0, "", "bootstrap", b.domain, path)
	b.Fault("bootout", 36, 1)
	b.want(36, "Boot-out failed: 36: Operation now in progress", "bootout", b.Target("a"))
	b.Wait(0, "unload", "a")
	b.Fault("print", launchdtest.Garbage, 1)
	b.want(0, "launchctl: this version prints something else", "print", b.domain)
	b.Fault("enable", 150, 5)
	b.Fault("enable", 0, 0)
	b.want(0, "", "enable", b.Target("a"))

	b.Fault("enable", launchdtest.Hang, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := exec.CommandContext(ctx, b.Launchctl(), "enable", b.Target("a")).Run(); ctx.Err() == nil {
		t.Errorf("it answered: %v", err)
	}
}

func TestCommandLines(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	for _, arguments := range []string{
		"", "bootstrap", "bootstrap " + b.domain, "bootout " + b.domain, "bootout --wait " + b.Target("a"), "kickstart", "kickstart -x " + b.Target("a"), "enable " + b.domain, "kill SIGSEGV " + b.Target("a"), "setenv A",
		"print com.minibot", "print system/com.minibot", "print gui/x", "frobnicate " + b.domain, "error x",
	} {
		b.want(64, "…", strings.Fields(arguments)...)
	}
	b.want(112, "Bad request.\nCould not find domain for user gui: 77777", "print", "gui/77777")
	b.want(125, "…", "bootstrap", strings.Replace(b.domain, "gui", "user", 1), "/a.plist")
	b.want(0, "119: Service is disabled", "error", "119")
	b.load("a", wait, nil)
	b.want(3, "…", "kill", "SIGTERM", b.Target("a"))
	b.want(113, "…", "kill", "SIGTERM", b.Target("b"))
	b.want(113, "…", "list", "b")
	b.want(0, "{\n\t\"Label\" = \"a\";\n…", "list", "a")
}

// TestNothingOutlivesTheEmulation ends one while an agent runs that does not end by itself.
func TestNothingOutlivesTheEmulation(t *testing.T) {
	t.Parallel()
	var pid int
	var dir string
	t.Run("life", func(t *testing.T) {
		b := newBench(t, launchdtest.Options{})
		b.load("a", deaf, keys{"RunAtLoad": true, "ExitTimeOut": 0, "KeepAlive": true})
		b.text(b.out("a"), 1)
		pid, dir = b.spawns("a", 1)[0].PID, filepath.Dir(b.Launchctl())
	})
	if !gone(pid) {
		t.Errorf("process %d lives on", pid)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}

// TestProcessGroupDiesWithItsLeader includes the agent that asks for the opposite.
func TestProcessGroupDiesWithItsLeader(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	b.load("group", `sleep 15 & echo $!`, keys{"RunAtLoad": true})
	b.load("abandoned", `sleep 15 & echo $!`, keys{"RunAtLoad": true, "AbandonProcessGroup": true})
	child := func(label string) int {
		pid, err := strconv.Atoi(strings.TrimSpace(b.text(b.out(label), 1)))
		b.check(err)
		b.Wait(0, "exit", label)
		return pid
	}
	b.eventually("the child's end", func() bool { return dead(child("group")) })
	if pid := child("abandoned"); dead(pid) {
		t.Error("the abandoned child is gone")
	} else {
		b.check(syscall.Kill(pid, syscall.SIGKILL))
	}
}

// dead tells whether a process has ended; nobody may have waited for it.
func dead(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return gone(pid) || err == nil && strings.Contains(string(stat), ") Z ")
}
