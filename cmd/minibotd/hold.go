package main

import (
	"maps"
	"slices"
	"strings"

	"minibot/secrets"
	"minibot/supervisor"
)

// wanted is what the supervisor is to do, under a lockdown and after one. The caller holds mu.
func (d *daemon) wanted() supervisor.Wanted {
	w := wantedState(d.project, d.values, d.intent, d.creates, d.revisions)
	switch r := d.lock.record; {
	case r.Locked():
		w.Halted = true
		for name, s := range w.Services {
			s.Stopped = true
			w.Services[name] = s
		}
	case r != nil:
		hold(d.project.Requirements, w)
	}
	return w
}

// hold holds back every service but those that hold credentials of databases, and what these need.
func hold(required []secrets.Requirement, w supervisor.Wanted) {
	var databases []string
	advice := ""
	for _, r := range required {
		if r.Rotate.InDatabase() && !slices.Contains(databases, r.Rotate.Service) {
			databases = append(databases, r.Rotate.Service)
			if w.Services[r.Rotate.Service].Stopped {
				advice = "minibotd start " + r.Rotate.Service
			}
		}
	}
	first := needed(required, w)
	for name, s := range w.Services {
		if !first[name] {
			s.Held, s.HeldHint = "waits until its secrets are sure to be in force", advice
			if len(databases) > 0 {
				s.Held = "waits until the stored passwords are sure to be in force in " + strings.Join(databases, ", ")
			}
			w.Services[name] = s
		}
	}
}

// withoutHeld is services without those that are held back at the end of a lockdown: none of them runs.
func (d *daemon) withoutHeld(services map[string]bool) map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := d.wanted()
	maps.DeleteFunc(services, func(name string, _ bool) bool { return wanted.Services[name].Held != "" })
	return services
}

// needed is the services that hold credentials of databases, and those that they depend on.
func needed(required []secrets.Requirement, w supervisor.Wanted) map[string]bool {
	first := map[string]bool{}
	var add func(string)
	add = func(name string) {
		if _, known := w.Services[name]; !known || first[name] {
			return
		}
		first[name] = true
		for _, dep := range w.Services[name].DependsOn {
			add(dep.Service)
		}
	}
	for _, r := range required {
		if r.Rotate.InDatabase() {
			add(r.Rotate.Service)
		}
	}
	return first
}
