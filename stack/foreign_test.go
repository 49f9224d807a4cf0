package stack

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
)

// composeByHand is what `docker compose create` does with the file as it is: secrets go into the layer, and the engine may
// restart what it likes.
func (r *rig) composeByHand(env ...string) {
	r.Helper()
	options, err := cli.NewProjectOptions([]string{r.project.File}, cli.WithEnv(env), cli.WithWorkingDirectory(filepath.Dir(r.project.File)))
	r.must(err)
	p, err := options.LoadProject(r.Context())
	r.must(err)
	for name, service := range p.Services {
		service.CustomLabels = types.Labels{api.ProjectLabel: p.Name, api.ServiceLabel: name, api.VersionLabel: api.ComposeVersion, api.OneoffLabel: "False",
			api.WorkingDirLabel: p.WorkingDir, api.ConfigFilesLabel: strings.Join(p.ComposeFiles, ",")}
		p.Services[name] = service
	}
	o := createOptions
	o.RemoveOrphans = false // as the command does: the keeper stays
	r.must(r.engine.compose.Create(r.Context(), p, o))
}

func TestWhatComposeMadeByHandIsReplaced(t *testing.T) {
	r := newRig(t, strings.Replace(twoServices, "  plain: { image: IMAGE,", "  plain: { image: IMAGE, restart: always,", 1))
	r.create()
	r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.start("a", "b")
	b := r.container("b")
	for _, service := range []string{"a", "b", "plain", KeeperService} {
		if r.container(service).Foreign {
			t.Errorf("%s is foreign, though Create made it", service)
		}
	}
	r.composeByHand("ONE=canary-in-the-layer", "TWO=canary-in-the-layer")
	for _, service := range []string{"a", "b", "plain"} {
		if !r.container(service).Foreign {
			t.Errorf("%s was made by hand and is not foreign", service)
		}
	}
	if r.container(KeeperService).Foreign || !r.engine.Fed(r.seen()) {
		t.Error("the keeper was touched: this is not what the command does")
	}
	r.create()
	for service, c := range r.seen() {
		info, err := r.engine.docker.ContainerInspect(t.Context(), c.ID)
		r.must(err)
		if c.Foreign || c.ID == b.ID || service != KeeperService && info.HostConfig.RestartPolicy.Name != "no" {
			t.Errorf("%s: %+v, restarts %q", service, c, info.HostConfig.RestartPolicy.Name)
		}
	}
	r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.start("a")
	r.equal("a", r.sh("a", "cat /run/secrets/ONE /run/secrets/two"), canaryOne+canaryTwo)
	r.notInLayersNorInspect(canaryOne, canaryTwo, "canary-in-the-layer")
}
