package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"minibot/console"
	"minibot/control"
	"minibot/supervisor"
)

func TestShowStatus(t *testing.T) {
	now := sampleTime
	yesterday, lastMonth := now.Add(-24*time.Hour), now.Add(-30*24*time.Hour)
	services := []control.Service{
		{Name: "openclaw", Container: "minibot-openclaw", State: "waiting", Reason: "waits for redis to be healthy", Since: now.Add(-5 * time.Minute)},
		{Name: "postgres", Container: "minibot-postgres", State: "running", Health: "healthy", Restarts: 2, Since: now.Add(-3 * time.Hour)},
		{Name: "redis", Container: "minibot-redis", State: "degraded", Reason: "exited with 1\x1b[2J; 5 failed attempts", Since: now, LastLog: []string{"bad\x07 option"}},
		{Name: "side", Container: "minibot-side", State: "missing"},
	}
	for _, test := range []struct {
		name   string
		status control.Status
		want   string
	}{
		{"degraded", control.Status{
			Phase: control.PhaseDegraded, Since: now.Add(-2 * time.Hour), Reason: "redis: exited\nwith 1", Hint: "minibotd logs redis",
			Version: "v1", PID: 42, Engine: control.Engine{Version: "20.10.24", API: "1.41", Reason: "OrbStack; Docker Desktop: no permission\x1b"}, Store: control.Store{Kind: "age", State: "open"},
			Services: services, Secrets: []control.Secret{
				{Name: "API_KEY", State: "missing"},
				{Name: "POSTGRES_PASSWORD", State: "pending", UsedBy: []string{"openclaw", "postgres"}},
				{Name: "REDIS_PASSWORD", State: "current", Age: control.AgeDue, Due: &yesterday, Generate: true, Failed: "redis said\nno"},
				{Name: "TELEGRAM_BOT_TOKEN", State: "current", Age: control.AgeOverdue, Due: &lastMonth, RevokeURL: "https://t.me/BotFather"},
				{Name: "TOKEN", State: "current", Age: control.AgeOK, Due: &now},
			},
			Exposed:    []control.Exposed{{Secret: "TOKEN", Service: "web", Path: "services.web.environment.A\x1b", File: "/m/compose.yaml", Line: 7}},
			NewVolumes: []control.NewVolume{{Name: "mb_data\x1b", Services: []string{"postgres", "web"}, Since: now, Hint: "put it back"}},
		}, `degraded for 2 hours: redis: exited\nwith 1
  hint: minibotd logs redis
engine 20.10.24 (API 1.41) by OrbStack; Docker Desktop: no permission\x1b, store age (open), minibotd v1, pid 42

SERVICE   CONTAINER         STATE     HEALTH   HEALED  SINCE      REASON
openclaw  minibot-openclaw  waiting   -        0       5 minutes  waits for redis to be healthy
postgres  minibot-postgres  running   healthy  2       3 hours
redis     minibot-redis     degraded  -        0       just now   exited with 1\x1b[2J; 5 failed attempts
side      minibot-side      missing   -        0       -
  redis | bad\x07 option
warning: secret TOKEN is passed on in the clear: services.web.environment.A\x1b (/m/compose.yaml:7)
warning: volume mb_data\x1b of postgres, web was made anew, empty, because the one before is gone: 2026-03-04 05:06:07
  hint: put it back
secret API_KEY is not set: mb-secrets set API_KEY
secret POSTGRES_PASSWORD: a new value waits for openclaw, postgres to take it
secret REDIS_PASSWORD: the last change was rolled back: redis said\nno (mb-secrets history REDIS_PASSWORD)
secret REDIS_PASSWORD is due for 1 day: mb-secrets rotate REDIS_PASSWORD
secret TELEGRAM_BOT_TOKEN is overdue for 30 days: mb-secrets set TELEGRAM_BOT_TOKEN (revoke at https://t.me/BotFather)
`},
		{"at the beginning", control.Status{
			Phase: control.PhaseWaitingForStore, Since: now.Add(-30 * time.Second), Version: "v1", PID: 42,
			Store: control.Store{Kind: "age", State: "missing"},
		}, `waiting-for-store since just now
engine not seen yet, store age (missing), minibotd v1, pid 42

SERVICE  CONTAINER  STATE  HEALTH  HEALED  SINCE  REASON
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := showStatus(console.New(strings.NewReader(""), &out, &out), test.status, now); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), test.want)
			}
		})
	}
}

func TestStatusExitsWithOneUnlessHealthy(t *testing.T) {
	for phase, want := range map[control.Phase]int{
		control.PhaseHealthy: 0, control.PhaseDegraded: 1, control.PhaseConverging: 1, control.PhaseStopped: 1,
	} {
		serve(t, &fakeDaemon{status: control.Status{Phase: phase, Since: time.Now()}})
		for _, args := range [][]string{{"status"}, {"status", "--json"}} {
			if code, out, errs := command(t.Context(), args...); code != want || errs != "" || !strings.Contains(out, string(phase)) {
				t.Errorf("%s: %v: code %d, want %d; %q %q", phase, args, code, want, out, errs)
			}
		}
	}
}

func TestWellRestingDescribe(t *testing.T) {
	for _, test := range []struct {
		s             supervisor.ServiceStatus
		well, resting bool
		line          string
	}{
		{supervisor.ServiceStatus{State: "running", Health: "healthy", Settled: true}, true, true, "healthy"},
		{supervisor.ServiceStatus{State: "running", Settled: true}, true, true, "running"},
		{supervisor.ServiceStatus{State: "exited", Reason: "completed", Settled: true}, true, true, "exited: completed"},
		{supervisor.ServiceStatus{State: "stopped", Reason: "stopped on request", Settled: true}, false, true, "stopped: stopped on request"},
		{supervisor.ServiceStatus{State: "degraded", Reason: "exited with 1"}, false, true, "degraded: exited with 1"},
		{supervisor.ServiceStatus{State: "waiting", Reason: "not set: A", Stuck: true}, false, true, "waiting: not set: A"},
		{supervisor.ServiceStatus{State: "starting", Health: "starting"}, false, false, "starting"},
	} {
		test.s.Name = "a"
		status := supervisor.Status{Services: []supervisor.ServiceStatus{test.s}}
		if got := well(status, "a"); got != test.well {
			t.Errorf("%+v: well is %v", test.s, got)
		}
		if got := resting(test.s); got != test.resting {
			t.Errorf("%+v: resting is %v", test.s, got)
		}
		if got := describe(test.s); got != test.line {
			t.Errorf("%+v: described as %q, want %q", test.s, got, test.line)
		}
		status.Phase = supervisor.Unreachable
		if well(status, "a") || well(status, "b") {
			t.Error("well although the engine is away, or the service unknown")
		}
	}
}
