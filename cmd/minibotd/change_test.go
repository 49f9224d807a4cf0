package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/secrets"
	"minibot/secrets/stores"
)

// takenCompose is tinyCompose whose services keep what they have read at their start.
var takenCompose = strings.Replace(tinyCompose, "echo started;", "cat /run/secrets/K > /tmp/taken; echo started;", 1)

// taking is an installation of takenCompose with its secret set.
func taking(t *testing.T, engine string) *installation {
	t.Helper()
	in := install(t, engine, takenCompose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	return in
}

// agree checks that the store and every service have the same value, delivered and read, and returns it.
func (in *installation) agree() string {
	in.t.Helper()
	value := in.must("", "mb-secrets", "get", "K")
	for _, name := range []string{"a", "b", "c"} {
		if got := in.docker("exec", in.container(name), "sh", "-c", "cat /run/secrets/K; echo; cat /tmp/taken"); got != value+"\n"+value {
			in.t.Errorf("%s has and has read %q, the store has %q", name, got, value)
		}
	}
	return value
}

// background runs a command that a test goes on beside.
func (in *installation) background(stdin, program string, args ...string) <-chan result {
	ended := make(chan result, 1)
	go func() { ended <- in.run(stdin, program, args...) }()
	return ended
}

func TestKilledAtAnyMomentOfAChange(t *testing.T) {
	t.Parallel()
	in := taking(t, "")
	in.start()
	in.healthy(60 * time.Second)
	for round := range 4 {
		value := fmt.Sprintf("canary-of-round-%d", round)
		setting := in.background(value, "mb-secrets", "set", "K")
		moment := time.NewTimer(time.Duration(rand.IntN(1500)) * time.Millisecond)
		select {
		case r := <-setting:
			setting = nil
			if r.code != 0 {
				t.Fatalf("set: exit %d, %s", r.code, r.stderr)
			}
		case <-moment.C:
		}
		in.kill()
		if setting != nil {
			<-setting // fails, finishes, or stores without a daemon
		}
		in.start()
		in.healthy(60 * time.Second)
		if got := in.agree(); got != value && round > 0 && got != fmt.Sprintf("canary-of-round-%d", round-1) {
			t.Errorf("round %d ends with %q", round, got)
		}
	}
}

func TestTwoSetsAtOnce(t *testing.T) {
	t.Parallel()
	in := taking(t, "")
	in.start()
	in.healthy(60 * time.Second)
	first, second := in.background("canary-first", "mb-secrets", "set", "K"), in.background("canary-second", "mb-secrets", "set", "K")
	for _, r := range []result{<-first, <-second} {
		if r.code != 0 {
			t.Errorf("set: exit %d, %s", r.code, r.stderr)
		}
	}
	if got := in.agree(); got != "canary-first" && got != "canary-second" {
		t.Errorf("the value is %q", got)
	}
}

func TestInterruptedSetGoesOn(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := taking(t, proxy.host())
	in.start()
	in.healthy(60 * time.Second)
	reached, release := make(chan struct{}, 64), make(chan struct{})
	proxy.intercept(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/restart") {
			reached <- struct{}{}
			<-release
		}
	})
	cmd := exec.Command(filepath.Join(programs, "mb-secrets"), "set", "K")
	cmd.Env, cmd.Stdin = in.environ(), strings.NewReader("canary-interrupted")
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the code says it
	if cmd.ProcessState.ExitCode() != 130 || !strings.Contains(log.String(), "interrupted: minibotd goes on with the change") || !strings.Contains(log.String(), "minibotd status") {
		t.Errorf("exit %d, %s", cmd.ProcessState.ExitCode(), log)
	}
	close(release)
	in.healthy(60 * time.Second)
	if got := in.agree(); got != "canary-interrupted" {
		t.Errorf("the value is %q", got)
	}
}

// A daemon that is told to end in the midst of a change says so, and the next one finishes it.
func TestEndedDuringAChange(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := taking(t, proxy.host())
	in.start()
	in.healthy(60 * time.Second)
	reached, release := make(chan struct{}, 64), make(chan struct{})
	proxy.intercept(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/restart") {
			reached <- struct{}{}
			<-release
		}
	})
	setting := in.background("canary-ended", "mb-secrets", "set", "K")
	<-reached
	if took := in.term(); took > 3*time.Second {
		t.Errorf("minibotd took %v to end", took)
	}
	if r := <-setting; r.code != 5 || !strings.Contains(r.stderr, "not finished") || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("set: exit %d, %s", r.code, r.stderr)
	}
	close(release)
	proxy.intercept(nil)
	in.start()
	in.healthy(60 * time.Second)
	if got := in.agree(); got != "canary-ended" {
		t.Errorf("the value is %q", got)
	}
}

// The engine goes when a new value is about to be delivered: everything is as it was, and the command says so.
func TestEngineGoesDuringAChange(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := tiny(t, proxy.host())
	in.start()
	in.healthy(60 * time.Second)
	gone := make(chan struct{})
	proxy.intercept(func(r *http.Request) {
		if r.Method == http.MethodPut { // the copy into the keeper
			proxy.intercept(nil)
			go func() { proxy.close(); close(gone) }()
			<-r.Context().Done()
		}
	})
	if r := in.run("canary-in-flight", "mb-secrets", "set", "K"); r.code != 4 || !strings.Contains(r.stderr, "does not answer") || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("set: exit %d, %s", r.code, r.stderr)
	}
	<-gone
	in.until("waiting for the engine", 60*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseWaitingForEngine && s.Hint != "" })
	if r := in.run("", "minibotd", "status"); r.code != 1 || !strings.Contains(r.stdout, "waiting-for-engine") {
		t.Errorf("status: exit %d, %s", r.code, r.stdout)
	}
	if got := in.must("", "mb-secrets", "get", "K"); got != tinyCanary {
		t.Errorf("the store has %q", got)
	}
	proxy.open()
	in.healthy(60 * time.Second)
	in.must("canary-in-flight", "mb-secrets", "set", "K")
	for _, name := range []string{"a", "b", "c"} {
		if got := in.has(name); got != "canary-in-flight" {
			t.Errorf("%s has %q", name, got)
		}
	}
}

// pgCompose is Postgres alone, its password kept in the database.
const pgCompose = `name: ${MINIBOT_NAME}
services:
  pg:
    image: ${MINIBOT_POSTGRES_IMAGE}
    container_name: "${MINIBOT_NAME}-pg"
    environment: { POSTGRES_USER: minibot, POSTGRES_DB: minibot, POSTGRES_PASSWORD_FILE: /run/secrets/P }
    secrets: [P]
    stop_signal: SIGINT
    healthcheck: { test: [CMD, pg_isready, -q, -h, 127.0.0.1, -U, minibot, -d, minibot], interval: 2s, timeout: 5s, retries: 3, start_period: 60s }
    x-minibot: { on_change: none }
secrets:
  P: { environment: P, x-minibot: { generate: { length: 32 }, rotate: { driver: postgres, service: pg, user: minibot } } }
`

// A password that waits in pending, as a change that was cut short leaves it, is carried out by a reload.
func TestReloadFinishesAChange(t *testing.T) {
	t.Parallel()
	in := install(t, "", pgCompose, nil)
	in.must("P=canary-first-password\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	store, err := stores.Open(t.Context(), stores.Options{Kind: "age", Home: in.home})
	if err != nil {
		t.Fatal(err)
	}
	value, err := secrets.NewValue([]byte("canary-pending-password"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "P", secrets.Pending, value); err != nil {
		t.Fatal(err)
	}
	in.must("", "minibotd", "reload")
	in.fails(1, "canary-line\nline", "mb-secrets", []string{"set", "P"}, "line break", "mb-secrets generate P")
	if got := in.must("", "mb-secrets", "get", "P"); got != "canary-pending-password" {
		t.Errorf("the store has %q", got)
	}
	for password, want := range map[string]bool{"canary-pending-password": true, "canary-first-password": false} {
		query := in.dockerCommand(password, "exec", "-i", in.container("pg"), "sh", "-c",
			`PGPASSWORD=$(cat) psql -h "$(hostname -i)" -U minibot -d minibot -c 'select 1'`)
		if out, err := query.CombinedOutput(); (err == nil) != want {
			t.Errorf("%s: let in: %v, want %v; %s", password, err == nil, want, out)
		}
	}
}
