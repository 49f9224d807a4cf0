package stack

import (
	"context"
	"slices"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// ProjectsOf returns the names of the projects that have containers, running or not, made from the compose file at that
// absolute path, sorted. It reads no file: it also tells what a file that was broken since has made.
func (e *Engine) ProjectsOf(ctx context.Context, file string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := e.docker.ContainerList(ctx, container.ListOptions{All: true,
		Filters: filters.NewArgs(filters.Arg("label", api.ConfigFilesLabel+"="+file))})
	if err != nil {
		return nil, wrap(err, "list the containers of %s", file)
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Labels[api.ProjectLabel])
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" }), nil
}
