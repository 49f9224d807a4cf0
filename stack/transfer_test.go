package stack

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
)

// predecessor makes and starts a container that [Engine.Create] has no part in.
func (r *rig) predecessor(name, folder string) string {
	r.Helper()
	made, err := r.engine.docker.ContainerCreate(r.Context(), &container.Config{Image: testImage(), Labels: r.labels("old"), StopSignal: "SIGQUIT",
		Entrypoint: []string{"/bin/sh", "-c", "trap 'exit 7' INT; trap 'exit 8' QUIT; echo 15 >/data/PG_VERSION; while :; do sleep 3600 & wait $!; done"},
		Env:        []string{"PGDATA=/data", "POSTGRES_PASSWORD=canary-resident"}},
		&container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}, NetworkMode: "none",
			Mounts: []mount.Mount{{Type: mount.TypeBind, Source: folder, Target: "/data"}}}, &network.NetworkingConfig{}, nil, name)
	r.must(err)
	r.must(r.engine.Start(r.Context(), made.ID))
	return made.ID
}

// TestTransfer stops an old container for good and brings what it has into a volume of the project.
func TestTransfer(t *testing.T) {
	r := newRig(t, "services:\n  db:\n    image: IMAGE\n    entrypoint: SLEEP\n    volumes: [\"kept:/kept\"]\nvolumes: { kept: {} }\n")
	folder, err := os.MkdirTemp("", "mb-old-")
	r.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	id := r.predecessor(r.name+"-old", folder)
	r.eventually("the old container has its file", func() bool {
		has, err := r.engine.HasPath(t.Context(), id, "/data/PG_VERSION")
		r.must(err)
		return has
	})
	r.must(r.engine.Retire(t.Context(), id, "SIGINT"))
	r.must(r.engine.Retire(t.Context(), id, "SIGINT")) // once more
	r.must(r.engine.Rename(t.Context(), id, r.name+"-renamed"))
	seen, err := r.engine.Residents(t.Context())
	r.must(err)
	i := slices.IndexFunc(seen, func(s Resident) bool { return s.ID == id })
	if i < 0 {
		t.Fatal("the old container is not among the residents")
	}
	old := seen[i]
	if old.Running || old.Restart != "no" || old.Name != r.name+"-renamed" || old.Made || old.Settings["PGDATA"] != "/data" || len(old.Settings) != 1 ||
		!slices.Contains(old.Variables, "POSTGRES_PASSWORD") {
		t.Errorf("%+v", old)
	}
	c, err := r.engine.inspect(t.Context(), id)
	r.must(err)
	r.equal("how it ended", c.ExitCode, 7)

	r.create()
	r.transfer(id, "/data")
	r.must(r.engine.DiscardUnstarted(t.Context(), r.project, "db", "/kept"))
	r.create()
	if has, err := r.engine.HasPath(t.Context(), r.container("db").ID, "/kept/PG_VERSION"); err != nil || has {
		t.Errorf("what was discarded is still there: %v", err)
	}
	window, at, shut, err := r.engine.Window(t.Context(), testImage(), filepath.Clean(folder))
	r.must(err)
	r.transfer(window, at)
	r.must(shut(t.Context()))
	if _, err := r.engine.Resident(t.Context(), window); !errors.Is(err, ErrNoContainer) {
		t.Errorf("the window stays: %v", err)
	}
	r.start("db")
	r.equal("the file in the volume", r.sh("db", "stat -c '%u %a' /kept/PG_VERSION && cat /kept/PG_VERSION"), "123 640\n15")
	if err := r.engine.DiscardUnstarted(t.Context(), r.project, "db", "/kept"); !errors.Is(err, ErrStarted) {
		t.Errorf("what was started is discarded: %v", err)
	}
}

// transfer copies the one file of a folder into the project's volume.
func (r *rig) transfer(id, folder string) {
	r.Helper()
	version, err := r.engine.ReadSmall(r.Context(), id, folder+"/PG_VERSION")
	r.must(err)
	r.equal("the old file", string(version), "15\n")
	tree, err := r.engine.Tree(r.Context(), id, folder)
	r.must(err)
	var names []string
	for archive := tar.NewReader(tree); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		r.must(err)
		names = append(names, header.Name)
	}
	r.must(tree.Close())
	if name := filepath.Base(folder) + "/PG_VERSION"; !slices.Contains(names, name) {
		r.Errorf("%s is not among %q", name, names)
	}
	var planted bytes.Buffer
	w := tar.NewWriter(&planted)
	r.must(w.WriteHeader(&tar.Header{Name: "kept/PG_VERSION", Mode: 0o640, Uid: 123, Size: int64(len(version))}))
	_, err = w.Write(version)
	r.must(err)
	r.must(w.Close())
	r.must(r.engine.Plant(r.Context(), r.container("db").ID, "/", &planted))
}

func TestDataMount(t *testing.T) {
	r := Resident{Mounts: []Mount{{Target: "/", Memory: true}, {Target: "/var/lib"}, {Target: "/var/lib/postgresql/data"}, {Target: "/var/lib/postgresql/data2"}}}
	for at, want := range map[string][2]string{
		"/var/lib/postgresql/data": {"/var/lib/postgresql/data", ""}, "/var/lib/postgresql/data/pgdata/": {"/var/lib/postgresql/data", "pgdata"},
		"/var/lib/x": {"/var/lib", "x"}, "/srv": {},
	} {
		target, below, ok := r.DataMount(at)
		if target != want[0] || below != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q, %q, %v", at, target, below, ok)
		}
	}
}

func TestSplitEnv(t *testing.T) {
	names, known := splitEnv([]string{"POSTGRES_PASSWORD=canary", "PG_MAJOR=17", "EMPTY"})
	if !slices.Equal(names, []string{"EMPTY", "PG_MAJOR", "POSTGRES_PASSWORD"}) || len(known) != 1 || known["PG_MAJOR"] != "17" {
		t.Errorf("%q %q", names, known)
	}
}
