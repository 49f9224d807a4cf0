package stack

import (
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"minibot/secrets"
)

// noteExposed fills in what each service holds in the clear.
func (p *Project) noteExposed() {
	for _, f := range p.Exposures {
		for _, name := range slices.Sorted(maps.Keys(p.Services)) {
			if s := p.Services[name]; exposes(f, p.rewritten.Services[name]) {
				s.Exposed = append(s.Exposed, f.Secret)
				slices.Sort(s.Exposed)
				s.Exposed = slices.Compact(s.Exposed)
				p.Services[name] = s
			}
		}
	}
}

// exposes reports whether a service is made of the place that a finding names: its own definition, a config, network or
// volume that it uses, or what concerns the whole project.
func exposes(f Finding, service types.ServiceConfig) bool {
	part, key := f.steps[0], ""
	if len(f.steps) > 1 {
		key = f.steps[1]
	}
	switch {
	case f.Service != "":
		return f.Service == service.Name
	case strings.HasPrefix(part, "x-"), part == "secrets", part == "models":
		return false
	case part == "configs":
		return slices.ContainsFunc(service.Configs, func(c types.ServiceConfigObjConfig) bool { return c.Source == key })
	case part == "networks":
		_, uses := service.Networks[key]
		return uses
	case part == "volumes":
		return slices.ContainsFunc(service.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Source == key })
	}
	return true
}

// Exposes reports whether any of the named secrets is in the project in the clear.
func (p *Project) Exposes(names []secrets.Name) bool {
	return slices.ContainsFunc(p.Exposures, func(f Finding) bool { return slices.Contains(names, f.Secret) })
}
