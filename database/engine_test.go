package database_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/secrets"
)

// TestMain runs four tests at a time, whatever the machine has: they wait for containers most of the time. What measures a
// window runs alone, before them.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // the command line still wins
		panic(err)
	}
	os.Exit(m.Run())
}

// until repeats probe against the real engine until it is satisfied.
func until(t testing.TB, what string, probe func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(3 * time.Minute) // a machine that is too busy
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

func value(t testing.TB, s string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const firstPassword = "canary-POSTGRES-first"

// startPostgres runs a server that logs every statement, trusts loopback as the official image does, and has user for
// its administrator.
// Options are of docker run.
func startPostgres(t *testing.T, user string, options ...string) database.Postgres {
	t.Helper()
	options = append(options, "--stop-signal", "SIGINT", "-e", "POSTGRES_PASSWORD="+firstPassword, "-e", "POSTGRES_USER="+user, "-e", "POSTGRES_DB=minibot",
		enginetest.Image("MINIBOT_POSTGRES_IMAGE", "minibot/postgres:local"), "postgres", "-c", "log_statement=all", "-c", "log_min_duration_statement=0",
		"-c", "log_min_error_statement=debug5", "-c", "fsync=off", "-c", "idle_in_transaction_session_timeout=300")
	name := enginetest.Start(t, options...)
	p := database.Postgres{Container: enginetest.Engine{}, Opener: enginetest.Engine{}, Service: name, User: user, Database: "minibot"}
	until(t, "wait for Postgres", func() error { return p.Prove(t.Context(), as(value(t, firstPassword))) })
	return p
}

// sql runs a script as the administrator over the socket.
func sql(t *testing.T, p database.Postgres, script string) string {
	t.Helper()
	res, err := enginetest.Engine{}.Exec(t.Context(), p.Service, []string{"psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1",
		"-U", p.User, "-d", "minibot"}, []byte(script))
	if err != nil || res.ExitCode != 0 {
		t.Fatalf("psql: %v %d %s", err, res.ExitCode, res.Stderr)
	}
	return strings.TrimSpace(string(res.Stdout))
}

// watch collects the command lines and environments of all processes in the container until the returned func is
// called, which gives what was seen. It looks without a pause: a look takes 1 ms, a redis-cli lives for 7, a psql for 10.
func watch(t *testing.T, name string) func() string {
	t.Helper()
	c := exec.Command("docker", "exec", name, "sh", "-c",
		`while [ ! -e /tmp/stop ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; done | tr '\0' '\n' | sort -u`)
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		enginetest.Docker(t, "exec", name, "touch", "/tmp/stop")
		if err := c.Wait(); err != nil {
			t.Errorf("watch processes: %v", err)
		}
		return out.String()
	}
}

func absent(t *testing.T, where, text string, canaries ...string) {
	t.Helper()
	for _, c := range canaries {
		if strings.Contains(text, c) {
			t.Errorf("%s holds %q", where, c)
		}
	}
}

func mustBe(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
	absent(t, "the error", fmt.Sprint(err), "canary-")
}

// as is a credential of the driver's own user.
func as(password secrets.Value) database.Credential { return database.Credential{Password: password} }
