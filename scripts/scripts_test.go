// Package scripts_test runs the scripts on the real engine.
package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func run(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Log(stderr.String())
	return strings.TrimSpace(string(out)), err
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t, nil, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return out
}

func imageOf(t *testing.T, key, official string) string {
	t.Helper()
	for line := range strings.Lines(must(t, "./images", "--env")) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == key {
			return v
		}
	}
	return official
}

func TestEngineIsIdempotentAndTakesDockerHost(t *testing.T) {
	first := must(t, "./engine")
	if !strings.HasPrefix(first, "unix://") || must(t, "./engine") != first {
		t.Fatalf("endpoint %q, then another", first)
	}
	if out, err := run(t, []string{"DOCKER_HOST=" + first}, "./engine"); err != nil || out != first {
		t.Errorf("with DOCKER_HOST: %q, %v", out, err)
	}
	if _, err := run(t, []string{"DOCKER_HOST=unix:///nowhere.sock"}, "./engine"); err == nil {
		t.Error("an engine that does not answer is accepted")
	}
}

// TestImagesAreCached checks that a second call builds nothing: an image that is imported anew has another id.
func TestImagesAreCached(t *testing.T) {
	ids := func() string {
		must(t, "./images")
		return must(t, "docker", "image", "ls", "--no-trunc", "--filter", "reference=minibot/*:local", "--format", "{{.Repository}} {{.ID}}")
	}
	if first, second := ids(), ids(); first != second {
		t.Errorf("the images are other ones:\n%s\nthen\n%s", first, second)
	}
}

func TestPostgresKeepsTheOfficialContract(t *testing.T) {
	img := imageOf(t, "MINIBOT_POSTGRES_IMAGE", "postgres:17.7-alpine")
	script := `printf canary-PG >/tmp/p; chmod 644 /tmp/p; exec docker-entrypoint.sh postgres`
	id := must(t, "docker", "run", "-d", "-e", "POSTGRES_PASSWORD_FILE=/tmp/p", "--entrypoint", "sh", img, "-c", script)
	t.Cleanup(func() { must(t, "docker", "rm", "-fv", id) })
	psql := func(host string) error {
		_, err := run(t, nil, "docker", "exec", "-e", "PGPASSWORD=wrong", id, "psql", "-h", host, "-U", "postgres", "-c", "select 1")
		return err
	}
	ok := false
	for end := time.Now().Add(30 * time.Second); !ok && time.Now().Before(end); {
		ok = psql("127.0.0.1") == nil
	}
	if !ok {
		t.Fatal("loopback is not trusted")
	}
	if psql(must(t, "docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)) == nil {
		t.Error("a wrong password is accepted over the network")
	}
	env := must(t, "docker", "exec", "-u", "postgres", id, "sh", "-c", `tr '\0' '\n' </proc/1/environ`)
	if !strings.Contains(env, "POSTGRES_PASSWORD=canary-PG") {
		t.Error("the server's environment lacks the password that the official image leaves there")
	}
}

func TestBareRedisIsOpen(t *testing.T) {
	img := imageOf(t, "MINIBOT_REDIS_IMAGE", "redis:8.2.3-alpine")
	id := must(t, "docker", "run", "-d", "-e", "REDIS_PASSWORD=canary", img)
	t.Cleanup(func() { must(t, "docker", "rm", "-fv", id) })
	ip := must(t, "docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)
	out := ""
	for end := time.Now().Add(10 * time.Second); out != "PONG" && time.Now().Before(end); {
		out, _ = run(t, nil, "docker", "exec", id, "redis-cli", "-h", ip, "ping")
	}
	if out != "PONG" {
		t.Errorf("ping: %q", out)
	}
}

func TestOpenClawRunsAsNode(t *testing.T) {
	img := imageOf(t, "MINIBOT_OPENCLAW_IMAGE", "ghcr.io/openclaw/openclaw:2026.9.6")
	if uid := must(t, "docker", "run", "--rm", img, "id", "-u"); uid != "1000" {
		t.Errorf("uid %s", uid)
	}
}

func TestPrivateEngine(t *testing.T) {
	shared := must(t, "docker", "info", "-f", "{{.ID}}")
	dir, err := os.MkdirTemp("/tmp", "mbpe") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		must(t, "./engine", "--private", dir, "--stop")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	host := must(t, "./engine", "--private", dir)
	if must(t, "./engine", "--private", dir) != host {
		t.Error("a second call gives another endpoint")
	}
	must(t, "./images", "--load", host)
	img := imageOf(t, "MINIBOT_REDIS_IMAGE", "redis:8.2.3-alpine")
	must(t, "docker", "-H", host, "run", "-d", "--entrypoint", "sleep", img, "600")
	must(t, "./engine", "--private", dir, "--kill")
	must(t, "./engine", "--private", dir)
	must(t, "docker", "-H", host, "run", "-d", "--entrypoint", "sleep", img, "600")
	must(t, "./engine", "--private", dir, "--stop")
	if must(t, "docker", "info", "-f", "{{.ID}}") != shared {
		t.Error("the shared engine changed")
	}
	for _, pattern := range []string{"/proc/[0-9]*/mountinfo", "/proc/[0-9]*/cmdline"} {
		files, _ := filepath.Glob(pattern) // the pattern is well formed
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), dir) {
				t.Errorf("%s still has %s", f, dir)
			}
		}
	}
}
