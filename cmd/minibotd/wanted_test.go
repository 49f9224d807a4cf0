package main

import (
	"reflect"
	"testing"

	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

func TestWantedState(t *testing.T) {
	value, err := secrets.NewValue([]byte("canary-WANTED"))
	if err != nil {
		t.Fatal(err)
	}
	project := &stack.Project{Services: map[string]stack.Service{
		"db":   {Name: "db", Healthcheck: true, OnChange: "none", Heal: stack.Heal{Off: true}, Secrets: []secrets.Name{"SET"}},
		"once": {Name: "once", OnChange: "recreate"},
		"app": {Name: "app", OnChange: "exec", Secrets: []secrets.Name{"ABSENT", "SET"}, DependsOn: []stack.Dependency{
			{Service: "db", Condition: "service_healthy", Required: true, Restart: true},
			{Service: "once", Condition: "service_completed_successfully"},
			{Service: "side", Condition: "service_started", Required: true},
		}},
		"side": {Name: "side", OnChange: "signal", Heal: stack.Heal{Unhealthy: "stop", StartGrace: 1, Backoff: 2, MaxAttempts: 3, StopTimeout: 4}},
		"claw": {Name: "claw", OnChange: "openclaw"},
	}}
	got := wantedState(project, map[secrets.Name]secrets.Value{"SET": value}, intent{Services: []string{"side"}}, 3, map[string]uint64{"side": 4})
	want := supervisor.Wanted{Create: 3, Services: map[string]supervisor.Service{
		"db":   {Name: "db", Healthcheck: true, Secrets: true, Adopt: supervisor.AdoptNothing, NoHeal: true},
		"once": {Name: "once", Adopt: supervisor.AdoptByRecreate, Completes: true},
		"app": {Name: "app", Secrets: true, Missing: []string{"ABSENT"}, Adopt: supervisor.AdoptByExec, DependsOn: []supervisor.Dependency{
			{Service: "db", Condition: supervisor.Healthy, Required: true, Restart: true},
			{Service: "once", Condition: supervisor.Completed},
			{Service: "side", Condition: supervisor.Started, Required: true},
		}},
		"claw": {Name: "claw", Adopt: supervisor.AdoptByExec},
		"side": {Name: "side", Adopt: supervisor.AdoptBySignal, Stopped: true, Revision: 4,
			Heal: supervisor.Heal{Unhealthy: supervisor.RemedyStop, StartGrace: 1, Backoff: 2, MaxAttempts: 3, StopTimeout: 4}},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}
