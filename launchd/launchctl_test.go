package launchd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/launchd"
)

// printed is what `launchctl print` gave on macOS 15 for an agent that had been terminated before, with paths changed.
const printed = `gui/501/com.minibot = {
	active count = 1
	path = /Users/you/Library/LaunchAgents/com.minibot.plist
	type = LaunchAgent
	state = running

	program = /usr/local/bin/minibotd
	arguments = {
		/usr/local/bin/minibotd
		run
	}

	stdout path = /Users/you/Library/Logs/minibot/minibotd.out.log
	inherited environment = {
		SSH_AUTH_SOCK => /var/run/com.apple.launchd.aI29yY86ps/Listeners
	}

	default environment = {
		PATH => /usr/bin:/bin:/usr/sbin:/sbin
	}

	environment = {
		pid = 1
		XPC_SERVICE_NAME => com.minibot
	}

	domain = gui/501 [100002]
	asid = 100002
	minimum runtime = 10
	exit timeout = 60
	runs = 2
	pid = 16090
	immediate reason = non-ipc demand
	last terminating signal = Terminated: 15

	resource coalition = {
		ID = 1114
		type = resource
		state = active
		active count = 1
	}

	spawn type = daemon (3)
	properties = keepalive | runatload | inferred program
}
`

// answering returns a launchctl that prints and exits as told, whatever it is asked.
func answering(t *testing.T, stdout, stderr string, exit int) launchd.Launchctl {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "out"), []byte(stdout), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "err"), []byte(stderr), 0o600))
	program := filepath.Join(dir, "launchctl")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%[1]s/asked'\ncat '%[1]s/out'\ncat '%[1]s/err' >&2\nexit %[2]d\n", dir, exit)
	must(t, os.WriteFile(program, []byte(script), 0o700))
	return launchd.Launchctl{Program: program, UID: 501}
}

func asked(t *testing.T, l launchd.Launchctl) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(l.Program), "asked"))
	must(t, err)
	return string(data)
}

func TestPrint(t *testing.T) {
	change := strings.NewReplacer
	for name, test := range map[string]struct {
		edit *strings.Replacer
		want launchd.Job
	}{
		"running":   {change(), launchd.Job{State: "running", PID: 16090, Runs: 2, LastExit: "signal 15"}},
		"never":     {change("last terminating signal = Terminated: 15", "last exit code = (never exited)"), launchd.Job{State: "running", PID: 16090, Runs: 2}},
		"named":     {change("last terminating signal = Terminated: 15", "last exit code = 78: EX_CONFIG"), launchd.Job{State: "running", PID: 16090, Runs: 2, LastExit: "exit status 78"}},
		"plain":     {change("last terminating signal = Terminated: 15", "last exit code = 0"), launchd.Job{State: "running", PID: 16090, Runs: 2, LastExit: "exit status 0"}},
		"waiting":   {change("state = running", "state = spawn scheduled", "\tpid = 16090\n", ""), launchd.Job{State: "spawn scheduled", Runs: 2, LastExit: "signal 15"}},
		"odd":       {change("state = running", "state = \x1b[2Jcanary", "pid = 16090", "pid = -5", "runs = 2", "runs = many", "Terminated: 15", "Terminated"), launchd.Job{}},
		"submitted": {change("path = /Users/you/Library/LaunchAgents/com.minibot.plist", "path = (submitted by canary.123)"), launchd.Job{State: "running", PID: 16090, Runs: 2, LastExit: "signal 15", Path: "-"}},
	} {
		want := test.want
		if want.Path == "" {
			want.Path = "/Users/you/Library/LaunchAgents/com.minibot.plist"
		} else {
			want.Path = ""
		}
		want.Program = "/usr/local/bin/minibotd"
		job, err := answering(t, test.edit.Replace(printed), "", 0).Print(t.Context(), launchd.Label)
		if err != nil || job != want {
			t.Errorf("%s: %+v %v", name, job, err)
		}
	}
}

// TestUnknownWords has answers with exit status 0 that are not what was asked for.
func TestUnknownWords(t *testing.T) {
	for _, words := range []string{
		"", "canary", strings.Replace(printed, "com.minibot = {", "com.canary = {", 1), strings.TrimSuffix(printed, "}\n"), strings.Repeat("canary ", 1<<20),
	} {
		l := answering(t, words, "", 0)
		_, printErr := l.Print(t.Context(), launchd.Label)
		_, sessionErr := l.Session(t.Context())
		_, disabledErr := l.Disabled(t.Context())
		for _, err := range []error{printErr, sessionErr, disabledErr} {
			var failure *launchd.Failure
			if !errors.Is(err, launchd.ErrUnknown) || !errors.As(err, &failure) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%.20q: %v", words, err)
			}
		}
	}
}

func TestStatusesOfLaunchctl(t *testing.T) {
	for _, test := range []struct {
		exit  int
		words string
		want  error
		hint  string
	}{
		{1, "Could not enable service: 1: Operation not permitted", launchd.ErrDenied, "run `launchctl error 1`"},
		{3, "Boot-out failed: 3: No such process", launchd.ErrNotLoaded, "run `minibotd install`"},
		{5, "Boot-out failed: 5: Input/output error", launchd.ErrIO, "run `launchctl bootout gui/501/com.minibot`"},
		{36, "Boot-out failed: 36: Operation now in progress", launchd.ErrBusy, "launchctl print gui/501/com.minibot"},
		{37, "Bootstrap failed: 37: Operation already in progress", launchd.ErrBusy, "launchctl print gui/501/com.minibot"},
		{64, "Usage: launchctl", launchd.ErrUnknown, "run `launchctl error 64`"},
		{109, "Bootstrap failed: 109: Invalid property list", launchd.ErrBadFile, "plutil"},
		{112, "Bad request.\nCould not find domain for user gui: 501", launchd.ErrNoSession, "log in at the Mac's desktop"},
		{113, "Bad request.\nCould not find service \"com.minibot\" in domain for user gui: 501", launchd.ErrNotLoaded, "run `minibotd install`"},
		{113, "Bad request.\nCould not find domain for user gui: 501", launchd.ErrNoSession, "log in"},
		{119, "Bootstrap failed: 119: Service is disabled", launchd.ErrDisabled, "run `launchctl enable gui/501/com.minibot`"},
		{122, "Bootstrap failed: 122: Path had bad ownership/permissions", launchd.ErrBadOwner, "chmod 600"},
		{124, "Bootstrap failed: 124: Domain is tearing down", launchd.ErrBusy, ""},
		{125, "Bootstrap failed: 125: Domain does not support specified action", launchd.ErrNoSession, "log in"},
		{5, "Boot-out failed: 5: Domain does not support specified action", launchd.ErrNoSession, "log in"},
		{150, "Operation not permitted while System Integrity Protection is engaged", launchd.ErrDenied, "run `launchctl error 150`"},
		{99, "canary", launchd.ErrUnknown, "run `launchctl error 99`"},
	} {
		l := answering(t, "", test.words+"\n", test.exit)
		calls := map[string]error{
			"bootout": l.Bootout(t.Context(), launchd.Label), "bootstrap": l.Bootstrap(t.Context(), "/a b/com.minibot.plist"),
			"enable": l.Enable(t.Context(), launchd.Label), "kickstart": l.Kickstart(t.Context(), launchd.Label, true),
		}
		for verb, err := range calls {
			var failure *launchd.Failure
			if !errors.Is(err, test.want) || !errors.As(err, &failure) || failure.Exit != test.exit || failure.Verb != verb {
				t.Errorf("%s, %d: %v", verb, test.exit, err)
			}
			if strings.Contains(err.Error(), "ailed: ") || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "com.minibot") {
				t.Errorf("%s, %d: it quotes: %v", verb, test.exit, err)
			}
			if !strings.Contains(hint.Of(err), test.hint) && (verb == "bootstrap" || !errors.Is(err, launchd.ErrBadFile)) {
				t.Errorf("%s, %d: hint %q", verb, test.exit, hint.Of(err))
			}
		}
	}
}

func TestArguments(t *testing.T) {
	l := answering(t, "", "", 0)
	must(t, l.Enable(t.Context(), "com.minibot.gateway"))
	must(t, l.Disable(t.Context(), "com.minibot.gateway"))
	must(t, l.Bootstrap(t.Context(), "/Users/you/a.plist"))
	must(t, l.Bootout(t.Context(), launchd.Label))
	must(t, l.Kickstart(t.Context(), launchd.Label, false))
	must(t, l.Kickstart(t.Context(), launchd.Label, true))
	want := `enable gui/501/com.minibot.gateway
disable gui/501/com.minibot.gateway
bootstrap gui/501 /Users/you/a.plist
bootout gui/501/com.minibot
kickstart gui/501/com.minibot
kickstart -k gui/501/com.minibot
`
	if have := asked(t, l); have != want {
		t.Errorf("have %s", have)
	}
	for _, label := range []string{"", "-k", "a b", "a/b", "../a", "a\n", strings.Repeat("a", 201)} {
		if l.Bootout(t.Context(), label) == nil || l.Enable(t.Context(), label) == nil || l.Kickstart(t.Context(), label, true) == nil {
			t.Errorf("label %q is taken", label)
		}
		if _, err := l.Print(t.Context(), label); err == nil {
			t.Errorf("label %q is taken", label)
		}
	}
	for _, path := range []string{"", "a.plist", "~/a.plist", "/a\n.plist"} {
		if l.Bootstrap(t.Context(), path) == nil {
			t.Errorf("path %q is taken", path)
		}
	}
	if have := asked(t, l); have != want {
		t.Errorf("it was run with what is refused: %s", have)
	}
}

func TestDisabled(t *testing.T) {
	for _, words := range []string{"disabled|enabled", "true|false"} {
		off, on, _ := strings.Cut(words, "|")
		out := "\tdisabled services = {\n\t\t\"com.apple.Siri.agent\" => " + off + "\n\t\t\"com.minibot\" => " + on + "\n\t}\n" +
			"\tlogin item associations = {\n\t\t\"com.minibot\" => \"canary\"\n\t}\n"
		labels, err := answering(t, out, "", 0).Disabled(t.Context())
		if want := map[string]bool{"com.apple.Siri.agent": true, "com.minibot": false}; err != nil || !reflect.DeepEqual(labels, want) {
			t.Errorf("%v %v", labels, err)
		}
	}
	_, err := answering(t, "\tdisabled services = {\n\t\t\"com.minibot\" => canary\n\t}\n", "", 0).Disabled(t.Context())
	if !errors.Is(err, launchd.ErrUnknown) {
		t.Errorf("an unknown mark: %v", err)
	}
}

func TestSession(t *testing.T) {
	for name, test := range map[string]struct {
		out, words string
		exit       int
		want       bool
		err        error
	}{
		"desktop":           {"gui/501 = {\n\ttype = login\n\tsession = Aqua\n\tsecurity context = {\n\t\tuid = 501\n\t}\n}\n", "", 0, true, nil},
		"it does not say":   {"gui/501 = {\n\ttype = login\n}\n", "", 0, true, nil},
		"login window":      {"gui/501 = {\n\ttype = login\n\tsession = LoginWindow\n}\n", "", 0, false, nil},
		"deeper":            {"gui/501 = {\n\tx = {\n\t\tsession = Background\n\t}\n}\n", "", 0, true, nil},
		"112":               {"", "Bad request.\nCould not find domain for user gui: 501\n", 112, false, nil},
		"125":               {"", "Domain does not support specified action\n", 125, false, nil},
		"not to be told":    {"", "Could not print domain: 1: Operation not permitted\n", 1, false, launchd.ErrUnknown},
		"something unknown": {"", "canary\n", 99, false, launchd.ErrUnknown},
	} {
		session, err := answering(t, test.out, test.words, test.exit).Session(t.Context())
		if session != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %v %v", name, session, err)
		}
	}
}

func TestLaunchctlThatDoesNotAnswer(t *testing.T) {
	l := answering(t, "", "", 0)
	must(t, os.WriteFile(l.Program, []byte("#!/bin/sh\nsleep 20\n"), 0o700)) // the shell's child keeps the pipes open
	l.Timeout = 100 * time.Millisecond
	begin := time.Now()
	_, err := l.Print(t.Context(), launchd.Label)
	if took := time.Since(begin); !errors.Is(err, launchd.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	l.Timeout = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Enable(ctx, launchd.Label); !errors.Is(err, context.Canceled) || errors.Is(err, launchd.ErrTimeout) {
		t.Errorf("cancelled: %v", err)
	}
	must(t, os.WriteFile(l.Program, []byte("#!/bin/sh\nkill -9 $$\n"), 0o700))
	if err := l.Enable(t.Context(), launchd.Label); !errors.Is(err, launchd.ErrUnknown) {
		t.Errorf("killed: %v", err)
	}
	must(t, os.WriteFile(l.Program, []byte("#!/bin/sh\nhead -c 6000000 /dev/zero\n"), 0o700))
	if err := l.Enable(t.Context(), launchd.Label); !errors.Is(err, launchd.ErrUnknown) {
		t.Errorf("a flood: %.200v", err)
	}
	l.Program = filepath.Join(t.TempDir(), "absent")
	if err := l.Enable(t.Context(), launchd.Label); !errors.Is(err, launchd.ErrNoProgram) || !strings.Contains(hint.Of(err), "macOS") || strings.Contains(err.Error(), "absent") {
		t.Errorf("absent: %v, %q", err, hint.Of(err))
	}
}

func TestValidLabel(t *testing.T) {
	for label, want := range map[string]bool{
		launchd.Label: true, "a": true, "com.a_b-C9": true, strings.Repeat("a", 200): true, strings.Repeat("a", 201): false,
		"": false, ".a": false, "-a": false, "a/b": false, "a b": false, "a\n": false, "ä": false,
	} {
		if got := launchd.ValidLabel(label); got != want {
			t.Errorf("ValidLabel(%q) = %t", label, got)
		}
	}
}
