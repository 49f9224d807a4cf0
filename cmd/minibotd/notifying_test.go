package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/notify"
	"minibot/supervisor"
)

func TestHowTheStackStands(t *testing.T) {
	well := supervisor.ServiceStatus{Name: "a", State: "running", Settled: true}
	sick := supervisor.ServiceStatus{Name: "a", State: "degraded", Reason: "exited", Hint: "minibotd logs a"}
	status := func(phase supervisor.Phase, services ...supervisor.ServiceStatus) supervisor.Status {
		return supervisor.Status{Phase: phase, Reason: "because", Hint: "act", Services: services}
	}
	failed := hint.Wrap(errors.New("it cannot be loaded"), "mend it")
	for _, test := range []struct {
		name        string
		own         control.Phase // the daemon's
		seen        supervisor.Status
		after       time.Duration
		stack, a    string // kinds; "-" where a is not known of
		reason      string // of the stack
		healthy     bool
		forgetsGone bool
	}{
		{"healthy", "", status(supervisor.AllHealthy, well), 0, notify.Well, notify.Well, "", true, true},
		{"flaps", "", status(supervisor.AllHealthy, supervisor.ServiceStatus{Name: "a", Settled: true, Flapping: true}), 0, notify.Well, notify.Flapping, "", true, true},
		{"starts", "", status(supervisor.Converging, supervisor.ServiceStatus{Name: "a", State: "starting"}), 0, notify.Unknown, notify.Unknown, "because", false, true},
		{"is paused", "", status(supervisor.Converging, supervisor.ServiceStatus{Name: "a", State: "maintenance"}), 0, notify.Unknown, notify.Unknown, "because", false, true},
		{"degraded", "", status(supervisor.Degraded, sick), 0, notify.Unknown, notify.Degraded, "because", false, true},
		{"given up", "", status(supervisor.Degraded, supervisor.ServiceStatus{Name: "a", State: "degraded", Stuck: true, GaveUp: true}), 0, notify.Unknown, notify.GaveUp, "because", false, true},
		{"wants a person", "", status(supervisor.Degraded, supervisor.ServiceStatus{Name: "a", State: "waiting", Stuck: true}), 0, notify.Unknown, notify.Degraded, "because", false, true},
		{"the project", "", status(supervisor.Degraded, well), 0, notify.Degraded, notify.Well, "because", false, true},
		{"stopped", "", status(supervisor.AllStopped, supervisor.ServiceStatus{Name: "a", State: "stopped", Settled: true}), 0, notify.Well, notify.Well, "", false, true},
		{"no engine", "", status(supervisor.Unreachable, sick), time.Minute, notify.Unknown, notify.Unknown, "because", false, true},
		{"no engine for long", "", status(supervisor.Unreachable, sick), 2 * time.Minute, notify.EngineUnreachable, notify.Unknown, "because", false, true},
		{"no store", control.PhaseWaitingForStore, supervisor.Status{}, time.Minute, notify.Unknown, "-", "it cannot be loaded", false, false},
		{"no store for long", control.PhaseWaitingForStore, supervisor.Status{}, 3 * time.Minute, notify.Degraded, "-", "it cannot be loaded", false, false},
		{"no compose file", control.PhaseDegraded, supervisor.Status{}, 0, notify.Degraded, "-", "it cannot be loaded", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := testDaemon(t, nil)
				d.setPhase(test.own, map[bool]error{true: failed}[test.own != ""])
				d.picture(test.seen)
				<-time.After(test.after)
				p := d.picture(test.seen)
				a, known := p.Conditions["a"]
				if stack := p.Conditions[""]; stack.Kind != test.stack || stack.Reason != test.reason || known == (test.a == "-") || known && a.Kind != test.a {
					t.Errorf("%+v", p)
				}
				if p.Healthy != test.healthy || p.Whole != test.forgetsGone {
					t.Errorf("healthy %v, whole %v", p.Healthy, p.Whole)
				}
				if a.Kind == notify.Degraded && (a.Reason != "exited" || a.Hint != "minibotd logs a") && test.name == "degraded" {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

func TestASecretOfNotifyIsNotUnused(t *testing.T) {
	d := testDaemon(t, nil)
	d.config.Notify.Webhook, d.config.Notify.HeartbeatURL = "secret:HOOK_URL", "secret:BEAT_URL"
	rows := d.withNotify([]control.Secret{{Name: "A", State: "current"}, {Name: "HOOK_URL", Set: true, State: "unused"}, {Name: "OTHER", State: "unused"}})
	var got []string
	for _, r := range rows {
		got = append(got, r.Name+" "+r.State+" "+strings.Join(r.UsedBy, "+"))
	}
	if want := "A current , BEAT_URL missing minibotd, HOOK_URL current minibotd, OTHER unused "; strings.Join(got, ", ") != want {
		t.Errorf("%q", got)
	}
}

func TestNotifyCommand(t *testing.T) {
	serve(t, &fakeDaemon{})
	for args, want := range map[string]int{"notify": 2, "notify --test": 0, "notify --test now": 2} {
		if code, _, errs := command(t.Context(), strings.Fields(args)...); code != want {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
}

// A lockdown and its end reach the program, once each, over a restart of the daemon, with nothing of the store's in what it gets;
// a webhook whose URL is in the store, and is not set, is named with the command that mends it.
func TestTroublesReachAProgram(t *testing.T) {
	t.Parallel()
	in := install(t, "", oneCompose, nil)
	hook := in.file("hook")
	in.write("hook", "#!/bin/sh\ncat >> "+in.home+"/said\nenv >> "+in.home+"/environ\necho \"the hook has $MINIBOT_EVENT\"\n")
	if err := os.Chmod(hook, 0o700); err != nil {
		t.Fatal(err)
	}
	in.configure("notify.command = [\"" + hook + "\"]\nnotify.webhook = \"secret:HOOK_URL\"")
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start("CANARY=canary-in-the-environment")
	in.healthy(60 * time.Second)
	said := func() (all []notify.Message) {
		text, err := os.ReadFile(in.file("said"))
		if err != nil {
			return nil
		}
		for line := range strings.Lines(string(text)) {
			var m notify.Message
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all = append(all, m)
		}
		return all
	}
	heard := func(n int, event string) {
		t.Helper()
		in.poll("the program hears "+event, 60*time.Second, func() bool { return len(said()) >= n }, func() string { return in.log.String() })
		if all := said(); len(all) != n || all[n-1].Event != event {
			t.Errorf("%+v, want %s as number %d", all, event, n)
		}
	}
	in.fails(1, "", "minibotd", []string{"notify", "--test"}, "command: sent", "webhook: failed", "secret HOOK_URL", "not set", "mb-secrets set HOOK_URL")
	heard(1, "test")
	if out := in.must("", "minibotd", "status"); !strings.Contains(out, "secret HOOK_URL is not set: mb-secrets set HOOK_URL") {
		t.Errorf("status: %s", out)
	}
	in.must("", "minibotd", "lockdown", "--reason", "the value is "+tinyCanary)
	heard(2, "locked-down")
	in.kill()
	in.start("CANARY=canary-in-the-environment")
	in.lockedDown(30 * time.Second)
	in.must("", "minibotd", "unlock")
	in.healthy(60 * time.Second)
	heard(3, "recovered")
	if m := said()[1]; m.Service != "" || m.Phase != string(control.PhaseLockedDown) || m.Hint != "minibotd unlock" || m.Seq == 0 || m.Host == "" {
		t.Errorf("%+v", m)
	}
	if got := in.must("", "mb-secrets", "get", "K"); got != tinyCanary {
		t.Errorf("K is %q", got)
	}
	for _, name := range []string{"said", "environ", "state/notify.json"} {
		text, err := os.ReadFile(in.file(name))
		if err != nil || strings.Contains(string(text), "canary") || len(text) == 0 {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if log := in.log.String(); !strings.Contains(log, "the hook has locked-down") || strings.Contains(log, tinyCanary) {
		t.Errorf("the log: %s", log)
	}
}

// What docs/notify.md shows is a valid configuration, a script that a shell reads, and a message as it is sent.
func TestExamplesOfNotify(t *testing.T) {
	text, err := os.ReadFile("../../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, after, _ := strings.Cut(string(text), "```"+kind+"\n")
		inside, _, found := strings.Cut(after, "```")
		if !found {
			t.Fatalf("there is no block %s", kind)
		}
		return inside
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(block("toml")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(home)
	if want := config.Default().Notify; err != nil || !slices.Equal(cfg.Notify.On, want.On) || cfg.Notify.Repeat != want.Repeat || cfg.Notify.HeartbeatEvery != want.HeartbeatEvery {
		t.Errorf("%+v, %v", cfg.Notify, err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-n")
	cmd.Stdin = strings.NewReader(block("sh"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v", out, err)
	}
	decoder := json.NewDecoder(strings.NewReader(block("json")))
	decoder.DisallowUnknownFields()
	var m notify.Message
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(m); err != nil || string(again)+"\n" != block("json") {
		t.Errorf("%s, %v", again, err)
	}
	for _, kind := range config.NotifyKinds {
		if !strings.Contains(string(text), "| `"+kind+"` |") {
			t.Errorf("%s is not explained", kind)
		}
	}
}
