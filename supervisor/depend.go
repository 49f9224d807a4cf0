package supervisor

import (
	"fmt"
	"slices"
	"strings"
)

// order returns the services' names, dependencies first; cycles are cut anywhere.
func order(services map[string]Service) []string {
	var names []string
	visited := make(map[string]bool, len(services))
	var visit func(name string)
	visit = func(name string) {
		s, known := services[name]
		if !known || visited[name] {
			return
		}
		visited[name] = true
		for _, dep := range s.DependsOn {
			visit(dep.Service)
		}
		names = append(names, name)
	}
	for _, name := range sortedNames(services) {
		visit(name)
	}
	return names
}

func sortedNames(services map[string]Service) []string {
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// reaches tells whether from depends on to, directly or through others.
func reaches(services map[string]Service, from, to string) bool {
	return walk(services, from, func(name string) bool { return name == to })
}

// walk calls visit for every direct and indirect dependency of name until it returns true, and tells whether it did.
func walk(services map[string]Service, name string, visit func(string) bool) bool {
	visited := map[string]bool{}
	var from func(string) bool
	from = func(name string) bool {
		for _, dep := range services[name].DependsOn {
			if visited[dep.Service] {
				continue
			}
			visited[dep.Service] = true
			if visit(dep.Service) || from(dep.Service) {
				return true
			}
		}
		return false
	}
	return from(name)
}

// hold says why a service may not be started or restarted now; the zero hold lets it go.
type hold struct {
	reason, hint string
	stuck        bool // only a person can end it
}

// gate returns what holds the service back.
func (d *decision) gate(s Service) hold {
	if len(s.Missing) > 0 {
		return hold{"not set: " + strings.Join(s.Missing, ", "), "mb-secrets set " + s.Missing[0], true}
	}
	if s.Held != "" {
		return hold{s.Held, s.HeldHint, s.HeldHint != ""}
	}
	if d.seen.Containers[s.Name].Foreign {
		return hold{reason: "its container was made by hand, or it has two: that is mended"}
	}
	for _, dep := range s.DependsOn {
		if h := d.waits(s.Name, dep); h.reason != "" {
			return h
		}
	}
	if s.Secrets && !d.seen.Fed {
		return hold{reason: "secrets are not delivered yet"}
	}
	return hold{}
}

// waits returns what a dependency lacks.
func (d *decision) waits(name string, dep Dependency) hold {
	if d.satisfied(dep) {
		return hold{}
	}
	s, known := d.wanted.Services[dep.Service]
	stuck := d.blocked(dep.Service, map[string]bool{})
	if !dep.Required && (stuck || d.st.services[dep.Service].degraded) {
		return hold{}
	}
	switch {
	case !known:
		return hold{"depends on an unknown service: " + dep.Service, "", true}
	case s.Stopped:
		return hold{"depends on " + dep.Service + ", which is stopped", "minibotd start " + dep.Service, true}
	case reaches(d.wanted.Services, dep.Service, name):
		return hold{"dependency cycle through " + dep.Service, "", true}
	}
	goal := [...]string{Started: "started", Healthy: "healthy", Completed: "completed"}[min(dep.Condition, Completed)]
	advice := ""
	switch r := d.st.services[dep.Service]; {
	case stuck && r.cond == condDone:
		advice = "in the compose file: condition: service_completed_successfully"
	case stuck: // dependencies are decided on first
		advice = r.view.hint
	}
	return hold{fmt.Sprintf("waits for %s to be %s", dep.Service, goal), advice, stuck}
}

// satisfied tells whether a dependency's condition holds now.
func (d *decision) satisfied(dep Dependency) bool {
	s, known := d.wanted.Services[dep.Service]
	if !known || s.Stopped {
		return false
	}
	r := d.st.services[dep.Service]
	if r.busy != nil && r.busy.Kind != ActionAdopt && (r.busy.Kind != ActionStart || !r.cond.running()) { // how it ended before is not how it will
		return false
	}
	switch dep.Condition {
	case Started:
		return r.cond.running() && r.cond != condPaused || r.cond == condDone
	case Healthy:
		return r.cond == condGood
	default:
		c := d.seen.Containers[dep.Service]
		return r.cond == condDone || r.cond == condDead && c.ExitCode == 0 && c.Error == ""
	}
}

// blocked tells whether the service will not come up before a person acts. visited holds true for those on the way to it, and
// false for those that are known not to be blocked: what is blocked ends the search.
func (d *decision) blocked(name string, visited map[string]bool) bool {
	onTheWay, known := visited[name]
	if known {
		return onTheWay
	}
	s, known := d.wanted.Services[name]
	if !known || s.Stopped || len(s.Missing) > 0 {
		return true
	}
	r := d.st.services[name]
	if r.busy == nil && (r.cond == condPaused || r.cond == condDone || d.resigned(r) || r.idle()) { // what has completed is never healthy
		return true
	}
	visited[name] = true
	defer func() { visited[name] = false }()
	return slices.ContainsFunc(s.DependsOn, func(dep Dependency) bool {
		return dep.Required && !d.satisfied(dep) && d.blocked(dep.Service, visited)
	})
}

// unsettled returns a direct or indirect dependency that is about to be restarted or being acted on, or "". One that
// is degraded, or waits for a person itself, is not waited for.
func (d *decision) unsettled(name string) string {
	found := ""
	walk(d.wanted.Services, name, func(dep string) bool {
		s, known := d.wanted.Services[dep]
		if !known || s.Stopped || reaches(d.wanted.Services, dep, name) {
			return false
		}
		r := d.st.services[dep]
		stale := r.cond.running() && s.Adopt != AdoptNothing && len(s.Missing) == 0 && d.seen.Containers[dep].Stale
		if !r.degraded && r.cond != condPaused && (r.busy != nil || (r.requested || stale) && !d.blocked(dep, map[string]bool{})) {
			found = dep
		}
		return found != ""
	})
	return found
}

// churning returns a direct or indirect dependency that is well, and is restarted or about to be, or "": who starts now
// would start beside what goes away.
func (d *decision) churning(name string) string {
	found := ""
	walk(d.wanted.Services, name, func(dep string) bool {
		s, known := d.wanted.Services[dep]
		r := d.st.services[dep]
		if !known || s.Stopped || r.degraded || r.cond != condGood {
			return false
		}
		restarted := r.busy != nil && (r.busy.Kind == ActionRestart || r.busy.Kind == ActionRecreate)
		if (restarted || d.behind(s, r) && d.mayRestart(s)) && !reaches(d.wanted.Services, dep, name) {
			found = dep
		}
		return found != ""
	})
	return found
}

// behind tells whether a service will be restarted once a dependency that it follows is well: that runs as another instance.
func (d *decision) behind(s Service, r *record) bool {
	return slices.ContainsFunc(s.DependsOn, func(dep Dependency) bool {
		known, ok := r.against[dep.Service]
		other := d.st.services[dep.Service]
		if !dep.Restart || !ok || other == nil || other.degraded {
			return false
		}
		return other.cond.running() && d.seen.Containers[dep.Service].Instance != known && !d.blocked(dep.Service, map[string]bool{})
	})
}

// mayRestart tells whether a service that is behind will be restarted before long: nothing else that it needs is missing or degraded.
func (d *decision) mayRestart(s Service) bool {
	return s.Held == "" && !d.blocked(s.Name, map[string]bool{}) && !slices.ContainsFunc(s.DependsOn, func(dep Dependency) bool {
		return dep.Required && !d.satisfied(dep) && d.st.services[dep.Service].degraded
	})
}

// followed returns a dependency with Restart that is up again as another instance than the service was started
// against, or "".
func (d *decision) followed(s Service, r *record) string {
	for _, dep := range s.DependsOn {
		known, ok := r.against[dep.Service]
		if !dep.Restart || !ok || !d.satisfied(dep) {
			continue
		}
		cond := d.st.services[dep.Service].cond
		if (cond == condGood || cond == condDone) && d.seen.Containers[dep.Service].Instance != known {
			return dep.Service
		}
	}
	return ""
}

// stopsAfter returns a dependent, direct or indirect, that is wanted down too and is not yet, or "".
func (d *decision) stopsAfter(s Service) string {
	if d.dependents == nil {
		d.dependents = map[string][]string{}
		for _, name := range sortedNames(d.wanted.Services) {
			for _, dep := range d.wanted.Services[name].DependsOn {
				d.dependents[dep.Service] = append(d.dependents[dep.Service], name)
			}
		}
	}
	visited := map[string]bool{s.Name: true}
	for todo := []string{s.Name}; len(todo) > 0; {
		next := d.dependents[todo[0]]
		todo = todo[1:]
		for _, name := range next {
			if visited[name] {
				continue
			}
			visited[name] = true
			todo = append(todo, name)
			other := d.st.services[name]
			if d.wanted.Services[name].Stopped && (other.cond.running() || other.busy != nil) && !reaches(d.wanted.Services, s.Name, name) {
				return name
			}
		}
	}
	return ""
}
