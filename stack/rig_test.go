package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"minibot/secrets"
	"minibot/stack/keeper"
)

// TestMain runs four tests at a time, whatever the machine has: they wait for the engine most of the time.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // the command line still wins
		panic(err)
	}
	os.Exit(m.Run())
}

// testImage has a busybox shell.
func testImage() string {
	if image := os.Getenv("MINIBOT_REDIS_IMAGE"); image != "" {
		return image
	}
	return "minibot/redis:local"
}

// rig is a project of its own on the real engine.
type rig struct {
	*testing.T
	engine  *Engine
	name    string
	project *Project
}

func dialReal(t *testing.T) *Engine {
	t.Helper()
	e, err := Dial(t.Context(), "")
	if err != nil {
		t.Fatalf("these tests need an engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// newRig loads a compose file's services and secrets sections; IMAGE in it is the test image, SLEEP an entrypoint
// that waits and ends at TERM. One that begins with networks has its own.
func newRig(t *testing.T, text string) *rig {
	t.Helper()
	t.Parallel()
	id := make([]byte, 5)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, engine: dialReal(t), name: "mbstack-" + hex.EncodeToString(id)}
	r.load(text)
	t.Cleanup(r.clean)
	keeperImageOnce.Do(func() { // two imports at a time would give two images
		program, err := keeper.Program(r.engine.info.Arch)
		r.must(err)
		r.must(r.engine.ensureKeeperImage(t.Context(), program))
	})
	return r
}

var keeperImageOnce sync.Once

const sleep = `[/bin/sh, -c, "trap 'exit 0' TERM; while :; do sleep 3600 & wait $$!; done"]`

func (r *rig) load(text string) {
	r.Helper()
	// the image declares a volume at /data: memory there leaves no nameless one behind
	text = strings.NewReplacer("{ image: IMAGE", "{ tmpfs: [/data], image: "+testImage(),
		"\n    image: IMAGE", "\n    tmpfs: [/data]\n    image: "+testImage(), "SLEEP", sleep).Replace(text)
	networks := "\nnetworks: { default: { internal: true } }\n"
	if strings.HasPrefix(text, "\nnetworks:") {
		networks = ""
	}
	r.project = load(r.T, "name: "+r.name+networks+text)
	r.project.rewritten.WorkingDir = "/" // a new file in a new directory is the same project
}

// clean removes everything of the project, as plain as possible.
func (r *rig) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mine := filters.NewArgs(filters.Arg("label", api.ProjectLabel+"="+r.name))
	containers, err := r.engine.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	r.must(err)
	for _, c := range containers {
		r.must(r.engine.docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	}
	networks, err := r.engine.docker.NetworkList(ctx, network.ListOptions{Filters: mine})
	r.must(err)
	for _, n := range networks {
		r.must(r.engine.docker.NetworkRemove(ctx, n.ID))
	}
	volumes, err := r.engine.docker.VolumeList(ctx, volume.ListOptions{Filters: mine})
	r.must(err)
	for _, v := range volumes.Volumes {
		r.must(r.engine.docker.VolumeRemove(ctx, v.Name, true))
	}
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) create() {
	r.Helper()
	r.must(r.engine.Create(r.Context(), r.project, nil))
}

func (r *rig) feed(pairs ...string) Delivery {
	r.Helper()
	d, err := r.engine.Feed(r.Context(), r.project, r.values(pairs...))
	r.must(err)
	return d
}

func (r *rig) values(pairs ...string) map[secrets.Name]secrets.Value {
	r.Helper()
	values := map[secrets.Name]secrets.Value{}
	for i := 0; i < len(pairs); i += 2 {
		value, err := secrets.NewValue([]byte(pairs[i+1]))
		r.must(err)
		values[secrets.Name(pairs[i])] = value
	}
	return values
}

func (r *rig) container(service string) Container {
	r.Helper()
	c, err := r.engine.Container(r.Context(), r.project, service)
	r.must(err)
	return c
}

func (r *rig) seen() map[string]Container {
	r.Helper()
	seen, err := r.engine.Containers(r.Context(), r.project)
	r.must(err)
	return seen
}

func (r *rig) start(services ...string) {
	r.Helper()
	for _, service := range services {
		r.must(r.engine.Start(r.Context(), r.container(service).ID))
	}
}

// sh runs a script in a service's container and returns what it prints.
func (r *rig) sh(service, script string) string {
	r.Helper()
	result, err := r.engine.Exec(r.Context(), r.container(service).ID, Exec{Cmd: []string{"/bin/sh", "-c", script}, User: "0"})
	r.must(err)
	if result.ExitCode != 0 {
		r.Fatalf("%s: %s: exit %d: %s%s", service, script, result.ExitCode, result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(string(result.Stdout))
}

func (r *rig) stale(e *Engine) string {
	r.Helper()
	stale, err := e.Stale(r.Context(), r.project, r.seen())
	r.must(err)
	return fmt.Sprint(stale)
}

func (r *rig) equal(what string, got, want any) {
	r.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// eventually polls a state of the real engine that no event tells of.
func (r *rig) eventually(what string, is func() bool) {
	r.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			r.Fatalf("not in time: %s", what)
		}
		<-tick.C
	}
}

// pause freezes a container, which the engine may refuse in the midst of a healthcheck.
func (r *rig) pause(id string) {
	r.Helper()
	r.eventually("frozen", func() bool { return r.engine.docker.ContainerPause(r.Context(), id) == nil })
}

// labels are those by which clean finds what a test made itself.
func (r *rig) labels(service string) map[string]string {
	return map[string]string{api.ProjectLabel: r.name, api.ServiceLabel: service, api.OneoffLabel: "True"}
}
