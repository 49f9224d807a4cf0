package stack

import (
	"context"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
)

// renewMemory takes memory-backed volumes away that were made from another definition, as when the engine's kernel can keep them out of the
// swap at last, for Compose to make them anew. Compose would do that by itself, but would remove the containers that mount them first, and with
// those lose the nameless volumes. So the containers are replaced by ones without these mounts, which are handed what they have and are
// nobody's to start, and then once more by the real ones.
func (e *Engine) renewMemory(ctx context.Context, p *Project, program []byte) error {
	interim := e.definition(p, program)
	diverged, err := e.divergedMemory(ctx, p, interim)
	if err != nil || len(diverged) == 0 {
		return err
	}
	for name, s := range interim.Services {
		mounts := slices.Clone(s.Volumes)
		s.Volumes = slices.DeleteFunc(mounts, func(v types.ServiceVolumeConfig) bool { return diverged[v.Source] != "" })
		if len(s.Volumes) < len(mounts) {
			s.Labels = maps.Clone(s.Labels)
			delete(s.Labels, madeLabel)
			interim.Services[name] = s
		}
	}
	for key := range diverged {
		delete(interim.Volumes, key)
	}
	if err := e.compose.Create(ctx, interim, createOptions); err != nil {
		return err
	}
	for _, name := range diverged {
		if err := e.docker.VolumeRemove(ctx, name, false); err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// divergedMemory are the memory-backed volumes that are on the engine otherwise than they are defined: names by keys.
func (e *Engine) divergedMemory(ctx context.Context, p *Project, definition *types.Project) (map[string]string, error) {
	list, err := e.docker.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+p.Name))})
	if err != nil {
		return nil, err
	}
	made := map[string]string{}
	for _, v := range list.Volumes {
		made[v.Name] = v.Labels[api.ConfigHashLabel]
	}
	diverged := map[string]string{}
	for _, key := range p.memoryVolumes() {
		v := definition.Volumes[key]
		hash, err := compose.VolumeHash(v)
		if err != nil {
			return nil, err
		}
		if made[v.Name] != "" && made[v.Name] != hash {
			diverged[key] = v.Name
		}
	}
	return diverged, nil
}
