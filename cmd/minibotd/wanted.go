package main

import (
	"slices"

	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

// wantedState turns the project, the secrets that are set and a person's intent into the supervisor's terms.
func wantedState(project *stack.Project, values map[secrets.Name]secrets.Value, stopped intent, create uint64, revisions map[string]uint64) supervisor.Wanted {
	wanted := supervisor.Wanted{Services: map[string]supervisor.Service{}, Create: create}
	completes := map[string]bool{}
	for _, service := range project.Services {
		for _, d := range service.DependsOn {
			if conditions[d.Condition] == supervisor.Completed {
				completes[d.Service] = true
			}
		}
	}
	for name, service := range project.Services {
		s := supervisor.Service{
			Name: name, Healthcheck: service.Healthcheck, Secrets: len(service.Secrets) > 0,
			Adopt: adoptions[service.OnChange], Completes: completes[name], Stopped: stopped.stopped(name),
			NoHeal: service.Heal.Off, Heal: healing(service.Heal), Revision: revisions[name], Maintenance: stopped.Maintenance[name],
		}
		for _, d := range service.DependsOn {
			s.DependsOn = append(s.DependsOn, supervisor.Dependency{
				Service: d.Service, Condition: conditions[d.Condition], Required: d.Required, Restart: d.Restart,
			})
		}
		for _, secret := range needs(service) {
			if values[secret].IsZero() {
				s.Missing = append(s.Missing, string(secret))
			}
		}
		wanted.Services[name] = s
	}
	return wanted
}

// needs are the secrets without which a service cannot be started.
func needs(service stack.Service) []secrets.Name {
	all := append(slices.Clone(service.Secrets), service.Exposed...)
	slices.Sort(all)
	return slices.Compact(all)
}

// conditions are compose's depends_on conditions; the zero one is service_started, compose's default.
var conditions = map[string]supervisor.Condition{
	"service_started":                supervisor.Started,
	"service_healthy":                supervisor.Healthy,
	"service_completed_successfully": supervisor.Completed,
}

// adoptions are the values of x-minibot.on_change; stack refuses others.
var adoptions = map[string]supervisor.Adoption{
	"restart":  supervisor.AdoptByRestart,
	"recreate": supervisor.AdoptByRecreate,
	"signal":   supervisor.AdoptBySignal,
	"exec":     supervisor.AdoptByExec,
	"openclaw": supervisor.AdoptByExec,
	"none":     supervisor.AdoptNothing,
}

// remedies are the values of heal.unhealthy; stack refuses others.
var remedies = map[string]supervisor.Remedy{
	"": supervisor.RemedyUsual, "restart": supervisor.RemedyRestart, "recreate": supervisor.RemedyRecreate, "stop": supervisor.RemedyStop, "ignore": supervisor.RemedyIgnore,
}

func healing(h stack.Heal) supervisor.Heal {
	return supervisor.Heal{Unhealthy: remedies[h.Unhealthy], StartGrace: h.StartGrace, Backoff: h.Backoff, MaxAttempts: h.MaxAttempts, StopTimeout: h.StopTimeout}
}
