package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/config"
	"minibot/hint"
)

// script is a hook of these lines, in a folder of its own.
func script(t *testing.T, mode os.FileMode, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+strings.Join(lines, "\n")+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// inside is what a hook wrote into a file beside it.
func inside(t *testing.T, hook, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(hook), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var sample = Message{Event: Degraded, Service: "redis", Reason: "it said \"no\"\nand 'left' \x00", Hint: "minibotd logs redis", Host: "mini",
	Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Phase: "degraded", Seq: 42, Text: "words"}

// All that a hook gets is the message, in JSON and in words, and an environment that has nothing of the daemon's.
func TestWhatAHookGets(t *testing.T) {
	t.Setenv("CANARY", "canary-in-the-environment")
	hook := script(t, 0o700, `cd "$(dirname "$0")"`, "cat > body", `printf '%s\n' "$@" > args`, "env -0 > environ", "tr '\\0' '\\n' < /proc/$$/cmdline > argv", "pwd -P; ls /proc/$$/fd | wc -l")
	r := newRig(t, config.Notify{Command: []string{hook, "two words", ""}})
	if err := r.command(t.Context(), sample); err != nil {
		t.Fatal(err, r.log.String())
	}
	var got Message
	if err := json.Unmarshal([]byte(inside(t, hook, "body")), &got); err != nil || got != sample {
		t.Errorf("%+v, %v", got, err)
	}
	if args := inside(t, hook, "args"); args != "two words\n\n" {
		t.Errorf("arguments %q", args)
	}
	environ := strings.Split(strings.TrimSuffix(inside(t, hook, "environ"), "\x00"), "\x00")
	environ = slices.DeleteFunc(environ, func(s string) bool {
		return strings.HasPrefix(s, "PWD=") || strings.HasPrefix(s, "OLDPWD=") || s == "_=/usr/bin/env"
	})
	slices.Sort(environ)
	want := []string{"HOME=/u", "LANG=C.UTF-8", "MINIBOT_EVENT=degraded", "MINIBOT_HINT=minibotd logs redis", "MINIBOT_HOME=/h", "MINIBOT_HOST=mini", "MINIBOT_PHASE=degraded",
		"MINIBOT_REASON=it said \"no\"\nand 'left'  ", "MINIBOT_SEQ=42", "MINIBOT_SERVICE=redis", "MINIBOT_TEXT=words", "MINIBOT_TIME=2026-01-02T03:04:05Z", "PATH=" + searchPath}
	if !slices.Equal(environ, want) {
		t.Errorf("environment %q\nwant        %q", environ, want)
	}
	quiet(t, "argv", inside(t, hook, "argv"))
}

func TestHooksThatFail(t *testing.T) {
	for _, test := range []struct {
		name    string
		command func(t *testing.T) []string
		want    string
		final   bool
	}{
		{"exit 3", func(t *testing.T) []string { return []string{script(t, 0o700, "exit 3")} }, "ended with: exit status 3", false},
		{"a signal", func(t *testing.T) []string { return []string{script(t, 0o700, "kill -TERM $$")} }, "ended with: signal: terminated", false},
		{"not executable", func(t *testing.T) []string { return []string{script(t, 0o600, "exit 0")} }, "permission denied", true},
		{"gone", func(*testing.T) []string { return []string{"/nowhere/canary"} }, "no such file", true},
		{"a folder", func(t *testing.T) []string { return []string{t.TempDir()} }, "permission denied", true},
		{"no program", func(t *testing.T) []string {
			path := script(t, 0o700)
			if err := os.WriteFile(path, []byte("\x7fELF"), 0o700); err != nil {
				t.Fatal(err)
			}
			return []string{path}
		}, "exec format error", true},
		{"deaf", func(t *testing.T) []string { return []string{script(t, 0o700, "exec <&-; exit 0")} }, "", false},
		{"sleeps", func(t *testing.T) []string { return []string{script(t, 0o700, "exec sleep 1000")} }, "did not end within 400ms", false},
		{"does not listen", func(t *testing.T) []string {
			return []string{script(t, 0o700, "trap '' TERM INT HUP; while :; do sleep 1000; done")}
		}, "did not end within 400ms", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, config.Notify{Command: test.command(t)})
			if strings.Contains(test.want, "400ms") {
				r.most = 400 * time.Millisecond
			}
			begin := time.Now()
			m := sample
			m.Reason = strings.Repeat("x", 100<<10) // more than a pipe takes
			if test.name != "deaf" {
				m.Reason = "short"
			}
			err := r.command(t.Context(), m)
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || errors.Is(err, errRefused) != test.final) {
				t.Errorf("%v, want %q, final %v", err, test.want, test.final)
			}
			if test.final && !strings.Contains(hint.Of(err), "config.toml") {
				t.Errorf("hint %q", hint.Of(err))
			}
			if took := time.Since(begin); took > deadline+5*time.Second {
				t.Errorf("it took %v", took)
			}
			if err != nil {
				quiet(t, "the error", err.Error())
			}
		})
	}
}

// alive says whether a process is there and no zombie.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// What a hook leaves in the background is killed with it, whether the hook ends or hangs, and keeps nobody waiting by
// holding the output.
func TestWhatAHookLeavesBehindIsKilled(t *testing.T) {
	for _, last := range []string{"exit 0", "wait"} {
		hook := script(t, 0o700, "sleep 1000 &", `echo $! > "$(dirname "$0")/pid"`, last)
		r := newRig(t, config.Notify{Command: []string{hook}})
		r.most = 3 * time.Second
		begin := time.Now()
		err := r.command(t.Context(), sample)
		if (err == nil) != (last == "exit 0") || time.Since(begin) > 30*time.Second {
			t.Errorf("%s: %v after %v", last, err, time.Since(begin))
		}
		pid, err := strconv.Atoi(strings.TrimSpace(inside(t, hook, "pid")))
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.After(10 * time.Second)
		for alive(pid) { // killed; the kernel has not come to it yet
			select {
			case <-deadline:
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Fatalf("%s: process %d lives", last, pid)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

func TestTheOutputOfAHookIsBoundedAndRedacted(t *testing.T) {
	hook := script(t, 0o700, "echo the value is canary-of-the-store", "head -c 3000000 /dev/zero | tr '\\0' x", "echo canary-after >&2")
	r := newRig(t, config.Notify{Command: []string{hook}})
	if err := r.command(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	log := r.log.String()
	if !strings.Contains(log, "the value is [redacted]") || !strings.Contains(log, "more=true") || len(log) > 2*maxOutput {
		t.Errorf("%d bytes: %.300s", len(log), log)
	}
	quiet(t, "the log", log)
}

// A value that stands in a reason reaches nobody.
func TestAMessageHoldsNoValue(t *testing.T) {
	r := newRig(t, config.Notify{Command: []string{"/stand-in"}})
	r.See(Picture{Conditions: map[string]Condition{"a": {Kind: Degraded, Reason: "password canary-of-the-store " + strings.Repeat("é", 5000), Hint: "type canary-of-the-store"}}})
	m, _ := r.next(r.ways[0], time.Now())
	if m == nil || !strings.Contains(m.Reason, "password [redacted]") || len(m.Reason) > maxText || len(r.environment(*m)) != 13 {
		t.Fatalf("%+v", m)
	}
	if !strings.HasPrefix(m.Text, "mini: a: degraded: password [redacted] é") || !strings.HasSuffix(m.Text, "… (type [redacted])") {
		t.Error(m.Text)
	}
	text, err := json.Marshal(m)
	quiet(t, "the message", string(text)+strings.Join(r.environment(*m), " "))
	if err != nil {
		t.Error(err)
	}
}

func TestEachWayIsTried(t *testing.T) {
	hook := script(t, 0o700, `cat > "$(dirname "$0")/body"`)
	r := newRig(t, config.Notify{Command: []string{hook}, Webhook: "secret:NOT_SET", HeartbeatURL: "http://127.0.0.1:1/" + canary})
	results := r.Test(t.Context())
	if len(results) != 3 || results[0].Err != nil || !errors.Is(results[1].Err, errRefused) || results[2].Err == nil || !r.Active() {
		t.Errorf("%+v", results)
	}
	if body := inside(t, hook, "body"); !strings.Contains(body, `"event":"test"`) {
		t.Error(body)
	}
	quiet(t, "the results", fmt.Sprint(results))
	nobody := newRig(t, config.Notify{})
	nobody.Serve(context.Background()) // returns
	if nobody.Active() || len(nobody.Test(t.Context())) > 0 {
		t.Error("nobody is told, and something is sent")
	}
}
