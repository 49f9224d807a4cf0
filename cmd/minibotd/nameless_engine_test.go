package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// nameless is an installation whose service a keeps data in the image's own volume, /data, which has no name. It is made anew when it
// is sick, and for a changed secret.
func nameless(t *testing.T, engine string) *installation {
	t.Helper()
	volume := ""
	t.Cleanup(func() { // after that of install: a replacement gives the volume a name, with which it outlives the container
		if volume == "" {
			return
		}
		if out, err := (&installation{t: t}).dockerCommand("", "volume", "rm", "-f", volume).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	compose := strings.NewReplacer(
		"tmpfs: [/tmp, /data]", "tmpfs: [/tmp]\n  x-minibot: { on_change: recreate, heal: { unhealthy: recreate } }",
		`  b: { <<: *tiny,`, `  b: { <<: *tiny, tmpfs: [/tmp, /data],`, `  c: { <<: *tiny,`, `  c: { <<: *tiny, tmpfs: [/tmp, /data],`).Replace(tinyCompose)
	in := install(t, engine, compose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	volume = in.volumeAt("a", "/data")
	in.docker("exec", in.container("a"), "sh", "-c", "echo precious >/data/kept")
	return in
}

// volumeAt is the name of the volume that a service has at a path.
func (in *installation) volumeAt(service, path string) string {
	in.t.Helper()
	return strings.TrimSpace(in.docker("inspect", "-f", `{{range .Mounts}}{{if eq .Destination "`+path+`"}}{{.Name}}{{end}}{{end}}`, in.container(service)))
}

func (in *installation) id(service string) string {
	in.t.Helper()
	return strings.TrimSpace(in.docker("inspect", "-f", "{{.Id}}", in.container(service)))
}

// keeps makes sure that a runs in another container than before, with its data.
func (in *installation) keeps(before string) {
	in.t.Helper()
	if in.id("a") == before {
		in.t.Error("a was not made anew")
	}
	if got := strings.TrimSpace(in.docker("exec", in.container("a"), "cat", "/data/kept")); got != "precious" {
		in.t.Errorf("a has %q in its volume", got)
	}
}

func TestNamelessVolumesAreHandedOn(t *testing.T) {
	t.Parallel()
	in := nameless(t, "")
	t.Run("by a heal", func(*testing.T) {
		before, id := in.started("a"), in.id("a")
		in.docker("exec", in.container("a"), "touch", "/tmp/sick")
		in.restarted("a", before)
		in.keeps(id)
	})
	t.Run("by a changed secret", func(*testing.T) {
		id := in.id("a")
		in.must("canary-tiny-changed-value\n", "mb-secrets", "set", "K")
		in.keeps(id)
	})
}

// A daemon that is killed when the old container is gone and the new one has not its name yet leaves the data within reach.
func TestNamelessVolumesAreHandedOnOverACrash(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := nameless(t, proxy.host())
	before, id := in.started("a"), in.id("a")
	reached, never := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(never) })
	proxy.intercept(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/rename") {
			close(reached)
			<-never
		}
	})
	in.docker("exec", in.container("a"), "touch", "/tmp/sick")
	select {
	case <-reached:
	case <-time.After(60 * time.Second):
		t.Fatal("the new container was never to be renamed")
	}
	in.kill()
	proxy.intercept(nil)
	if out := in.tryDocker("ps", "-aq", "--no-trunc", "--filter", "id="+id); strings.TrimSpace(out) != "" {
		t.Errorf("the old container is still there: %s", out)
	}
	in.start()
	in.restarted("a", before)
	in.keeps(id)
}
