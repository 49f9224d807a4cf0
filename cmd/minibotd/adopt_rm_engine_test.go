package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAdoptKeepsWhatTheEngineWouldRemove has a Postgres of docker run --rm, with its data in an anonymous volume: to stop it would be to lose
// them. adopt leaves it running, and the command that it advises keeps them. Before that, the adoption of a container that is gone by now is begun anew.
func TestAdoptKeepsWhatTheEngineWouldRemove(t *testing.T) {
	t.Parallel()
	in := install(t, "", quietOpenClaw(t), map[string]string{"MINIBOT_POSTGRES_PORT": freePort(t), "MINIBOT_REDIS_PORT": freePort(t),
		"MINIBOT_OPENCLAW_PORT": freePort(t), "MINIBOT_TELEGRAM": "false"})
	h := &oldHome{installation: in, user: t.TempDir()}
	in.env = append(in.env, "HOME="+h.user)
	t.Cleanup(h.removeOld)
	old := in.container("postgres")
	t.Cleanup(func() { in.tryDocker("rm", "-f", "-v", old+"-kept", old+"-before-minibot") })
	in.docker("run", "-d", "--rm", "--name", old, "--label", "com.docker.compose.project="+h.project(), "-e", "POSTGRES_USER=minibot",
		"-e", "POSTGRES_PASSWORD="+oldPassword, image("MINIBOT_POSTGRES_IMAGE"))
	in.poll("the old Postgres answers", time.Minute, func() bool {
		return in.dockerCommand("", "exec", old, "pg_isready", "-q", "-h", "127.0.0.1").Run() == nil
	}, func() string { return in.tryDocker("logs", old) })
	in.docker("exec", old, "psql", "-q", "-U", "minibot", "-d", "minibot", "-c", "CREATE TABLE kept AS SELECT 42 AS n")
	var lines strings.Builder
	for name, value := range adoptCanaries {
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	in.must(lines.String(), "mb-secrets", "init")

	in.write("state/adopt.json", `{"project":"`+in.name+`","moves":[{"service":"postgres","kind":"postgres","container":"feedfacefeed","name":"gone","path":"/x"}]}`)
	journal := filepath.Join(in.home, "state", "adopt.json")
	if r := in.run("", "minibotd", "adopt", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "gone, which had the data of postgres, was removed") || !strings.Contains(r.stderr, "remove "+journal) {
		t.Errorf("an adoption whose container is gone: exit %d, %s", r.code, r.stderr)
	}
	if err := os.Remove(journal); err != nil {
		t.Fatal(err)
	}

	r := in.run("", "minibotd", "adopt", "--yes")
	_, advice, _ := strings.Cut(r.stderr, "hint: `")
	advice, _, _ = strings.Cut(advice, "`")
	if r.code != 1 || !strings.Contains(r.stderr, "--rm") || !strings.HasPrefix(advice, "docker create ") {
		t.Fatalf("adopt: exit %d, %s", r.code, r.stderr)
	}
	if got := in.docker("inspect", "-f", "{{.State.Running}}", old); got != "true\n" {
		t.Fatalf("the old container runs: %s", got)
	}
	shell := exec.CommandContext(t.Context(), "sh", "-ec", advice)
	shell.Env = in.dockerCommand("").Environ()
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", advice, err, out)
	}
	in.poll("the old container is gone", time.Minute, func() bool {
		return in.tryDocker("inspect", "-f", "{{.State.Status}}", old) == "created\n"
	}, func() string { return in.tryDocker("ps", "-a") })
	in.must("", "minibotd", "adopt", "--yes")
	if got := in.docker("exec", old, "psql", "-q", "-A", "-t", "-U", "minibot", "-d", "minibot", "-c", "SELECT n FROM kept"); got != "42\n" {
		t.Errorf("the row: %s", got)
	}
	if !in.postgresTakes(adoptCanaries["POSTGRES_PASSWORD"]) || in.postgresTakes(oldPassword) {
		t.Error("Postgres takes another password than the stored one")
	}
}
