package stack

import (
	"context"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
)

// bornLabel tells one making of a volume from the next one under its name. The engine's own date does not: that of engine 20.10 changes with
// what lies in the volume.
const bornLabel = "com.minibot.born"

// DataVolume is a named volume of the project whose data lies with the engine. One that is external, in memory or mounted from elsewhere is none.
type DataVolume struct {
	Name     string
	Services []string // that mount it, sorted
	Born     string   // which making of it this is; "" where [Engine.Create] did not make it
}

// DataVolumes are the project's data volumes that are there, ordered by name.
func (e *Engine) DataVolumes(ctx context.Context, p *Project) ([]DataVolume, error) {
	users := p.dataVolumes()
	if len(users) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := e.docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+p.Name))})
	if err != nil {
		return nil, wrap(err, "list the volumes of project %s", p.Name)
	}
	born := map[string]string{}
	for _, v := range list.Volumes {
		born[v.Name] = v.Labels[bornLabel]
	}
	var there []DataVolume
	for _, name := range slices.Sorted(maps.Keys(users)) {
		if id, ok := born[name]; ok {
			there = append(there, DataVolume{Name: name, Services: users[name], Born: id})
		}
	}
	return there, nil
}

// dataVolumes are the services that use each data volume, by its name.
func (p *Project) dataVolumes() map[string][]string {
	users := map[string][]string{}
	for _, service := range slices.Sorted(maps.Keys(p.Services)) {
		for _, mount := range p.rewritten.Services[service].Volumes {
			v, known := p.rewritten.Volumes[mount.Source]
			if mount.Type == types.VolumeTypeVolume && known && keepsData(v) && !slices.Contains(users[v.Name], service) {
				users[v.Name] = append(users[v.Name], service)
			}
		}
	}
	return users
}

func keepsData(v types.VolumeConfig) bool {
	return !bool(v.External) && (v.Driver == "" || v.Driver == "local") && len(v.DriverOpts) == 0
}

// mark gives the data volumes that a Create makes their label, of which Compose's hash of a definition knows nothing.
func mark(definition *types.Project, born string) {
	for key, v := range definition.Volumes {
		if keepsData(v) {
			v.CustomLabels = maps.Clone(v.CustomLabels).Add(bornLabel, born)
			definition.Volumes[key] = v
		}
	}
}
