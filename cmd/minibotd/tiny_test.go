package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// tinyCompose is a chain of three services that start in a moment: c needs b healthy, b needs a healthy and follows
// its restarts. A service is sick while /tmp/sick exists.
const tinyCompose = `name: ${MINIBOT_NAME}
x-tiny: &tiny
  image: ${MINIBOT_REDIS_IMAGE}
  entrypoint: ["sh", "-c", "test -s /run/secrets/K || exit 9; echo started; while :; do sleep 3600 & wait $$!; done"]
  init: true
  stop_grace_period: 2s
  tmpfs: [/tmp, /data]
  secrets: [K]
  network_mode: none
  healthcheck: { test: ["CMD-SHELL", "test -s /run/secrets/K && ! test -e /tmp/sick"], interval: 2s, timeout: 5s, retries: 1 }
services:
  a: { <<: *tiny, container_name: "${MINIBOT_NAME}-a" }
  b: { <<: *tiny, container_name: "${MINIBOT_NAME}-b", depends_on: { a: { condition: service_healthy, restart: true } } }
  c: { <<: *tiny, container_name: "${MINIBOT_NAME}-c", depends_on: { b: { condition: service_healthy } } }
secrets:
  K: { environment: K, x-minibot: { description: a canary, generate: { length: 32 } } }
`

const tinyCanary = "canary-tiny-0123456789"

// tiny is an installation of tinyCompose with its secret set.
func tiny(t *testing.T, engine string) *installation {
	t.Helper()
	in := install(t, engine, tinyCompose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	return in
}

// restarted waits until a service runs another time than before, then for the whole stack.
func (in *installation) restarted(service, before string) {
	in.t.Helper()
	in.poll(service+" started again", 60*time.Second, func() bool { return in.runsSince(service, before) }, func() string { return "it still runs since " + before })
	in.healthy(60 * time.Second)
}

func TestHealing(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	for _, order := range [][2]string{{"a", "b"}, {"b", "c"}} {
		if first, second := in.started(order[0]), in.started(order[1]); first >= second {
			t.Errorf("%s started at %s, %s, which needs it, at %s", order[0], first, order[1], second)
		}
	}
	for _, fault := range []struct {
		name, service string
		args          []string
	}{
		{"killed", "c", []string{"kill", in.container("c")}},
		{"stopped behind its back", "b", []string{"stop", in.container("b")}},
		{"removed", "c", []string{"rm", "-f", "-v", in.container("c")}},
		{"unhealthy", "c", []string{"exec", in.container("c"), "touch", "/tmp/sick"}},
	} {
		t.Run(fault.name, func(*testing.T) {
			before := in.started(fault.service)
			in.docker(fault.args...)
			in.restarted(fault.service, before)
		})
	}
	t.Run("dependents with restart follow", func(*testing.T) {
		a, b := in.started("a"), in.started("b")
		in.docker("exec", in.container("a"), "touch", "/tmp/sick")
		in.restarted("a", a)
		in.restarted("b", b)
	})
	t.Run("the keeper dies", func(*testing.T) {
		keeper := strings.TrimSpace(in.docker("ps", "-q", "--filter", "label=com.docker.compose.project="+in.name, "--filter", "label=com.docker.compose.service=keeper"))
		in.docker("kill", keeper)
		in.poll("fed again", 60*time.Second, func() bool {
			out := in.tryDocker("ps", "-q", "--filter", "label=com.docker.compose.project="+in.name, "--filter", "label=com.docker.compose.service=keeper")
			return strings.TrimSpace(out) != ""
		}, func() string { return "no keeper runs" })
		before := in.started("c")
		in.docker("kill", in.container("c"))
		in.restarted("c", before)
	})
	t.Run("SIGTERM leaves the stack running", func(t *testing.T) {
		before := in.started("a")
		if took := in.term(); took > 2*time.Second {
			t.Errorf("minibotd took %v to end", took)
		}
		if after := in.started("a"); after != before || !strings.HasSuffix(after, "true") {
			t.Errorf("a: %s, then %s", before, after)
		}
		in.start()
		in.healthy(60 * time.Second)
		if after := in.started("a"); after != before {
			t.Errorf("the new daemon restarted a: %s, then %s", before, after)
		}
	})
	if log := in.log.String(); strings.Contains(log, tinyCanary) {
		t.Error("the daemon's log holds the secret")
	}
}

func TestChangedSecretReachesItsUsers(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	a := in.started("a")
	out := in.must("canary-tiny-changed-value\n", "mb-secrets", "set", "K")
	for _, name := range []string{"a", "b", "c"} {
		if !strings.Contains(out, name) {
			t.Errorf("set says nothing of %s: %s", name, out)
		}
		if got := in.docker("exec", in.container(name), "cat", "/run/secrets/K"); got != "canary-tiny-changed-value" {
			t.Errorf("%s has %q", name, got)
		}
	}
	if in.started("a") == a {
		t.Error("a was not restarted")
	}
	in.healthy(time.Second)
	b := in.started("b")
	if out := in.must("", "minibotd", "reload"); !strings.Contains(out, "nothing changed") {
		t.Errorf("reload: %s", out)
	}
	if in.started("b") != b {
		t.Error("a reload with nothing to do restarted b")
	}
}

// A daemon that is killed between the delivery and the restart that takes it leaves running services with old
// secrets; the next start must see that.
func TestKilledBetweenDeliveryAndRestart(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := tiny(t, proxy.host())
	in.start()
	in.healthy(60 * time.Second)
	before := in.started("c")
	reached, never := make(chan string, 16), make(chan struct{})
	t.Cleanup(func() { close(never) })
	proxy.intercept(func(r *http.Request) {
		if r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/restart") || strings.HasSuffix(r.URL.Path, "/stop")) {
			reached <- r.URL.Path
			<-never
		}
	})
	setting := make(chan result, 1)
	go func() { setting <- in.run("canary-tiny-second-value", "mb-secrets", "set", "K") }()
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Fatal("no restart was asked for")
	}
	in.kill()
	if r := <-setting; r.code == 0 {
		t.Errorf("set says all is done: %s", r.stdout)
	}
	if in.started("c") != before {
		t.Fatal("c was restarted although its restart was held")
	}
	proxy.intercept(nil)
	in.start()
	in.restarted("c", before)
	if got := in.docker("exec", in.container("a"), "cat", "/run/secrets/K"); got != "canary-tiny-second-value" {
		t.Errorf("a has %q", got)
	}
}

func TestStopIsKept(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	in.must("", "minibotd", "stop", "c")
	in.term()
	in.start()
	in.until("c stays down", 30*time.Second, func(s control.Status) bool {
		return s.Phase == control.PhaseHealthy && service(s, "c").State == "stopped"
	})
	if out := in.docker("inspect", "-f", "{{.State.Running}}", in.container("c")); strings.TrimSpace(out) != "false" {
		t.Errorf("c runs: %s", out)
	}
	in.must("", "minibotd", "start", "c")
	in.healthy(time.Second)

	in.must("", "minibotd", "stop")
	in.until("stopped", 60*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseStopped })
	if left := strings.TrimSpace(in.docker("ps", "-q", "--filter", "label=com.docker.compose.project="+in.name)); left != "" {
		t.Errorf("still running: %s", left)
	}
	if keeper := strings.TrimSpace(in.docker("ps", "-aq", "--filter", "label=com.docker.compose.project="+in.name, "--filter", "label=com.docker.compose.service=keeper")); keeper != "" {
		t.Errorf("the keeper is still there: %s", keeper)
	}
	if r := in.run("", "minibotd", "status"); r.code != 1 || !strings.Contains(r.stdout, "stopped") {
		t.Errorf("status: exit %d, %s", r.code, r.stdout)
	}
	in.must("", "minibotd", "start")
	in.healthy(time.Second)
}

func TestDegradedSaysWhy(t *testing.T) {
	t.Parallel()
	in := install(t, "", strings.ReplaceAll(tinyCompose, "echo started;", "echo started; test ! -e /run/secrets/BAD || exit 7; echo the-secret-is $$(cat /run/secrets/K); exit 3;"), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	s := in.until("a is degraded", 90*time.Second, func(s control.Status) bool {
		return s.Phase == control.PhaseDegraded && len(service(s, "a").LastLog) > 0
	})
	a := service(s, "a")
	if !strings.Contains(a.Reason, "3") || !strings.Contains(strings.Join(a.LastLog, "\n"), "the-secret-is [redacted]") {
		t.Errorf("a: %+v", a)
	}
	if b := service(s, "b"); b.State != "waiting" {
		t.Errorf("b, which needs a: %+v", b)
	}
	for _, text := range []string{in.must("", "minibotd", "logs", "a"), in.must("", "minibotd", "events"), in.run("", "minibotd", "status").stdout, in.log.String()} {
		if strings.Contains(text, tinyCanary) {
			t.Errorf("the secret shows: %s", text)
		}
	}
}

func TestEngineGoesAndComesBack(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := tiny(t, proxy.host())
	proxy.close()
	in.start()
	in.until("waiting for the engine", 60*time.Second, func(s control.Status) bool {
		return s.Phase == control.PhaseWaitingForEngine && s.Reason != "" && s.Hint != ""
	})
	proxy.open()
	in.healthy(60 * time.Second)
	before := in.started("b")
	proxy.close()
	in.until("waiting for the engine", 60*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseWaitingForEngine })
	direct := *in // the fault happens while the daemon is blind
	direct.engine = ""
	direct.docker("kill", in.container("c"))
	proxy.open()
	in.healthy(30 * time.Second)
	if after := in.started("b"); after != before {
		t.Errorf("b was restarted though nothing was wrong with it: %s, then %s", before, after)
	}
}

func TestSlowEngine(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := tiny(t, proxy.host())
	proxy.intercept(func(r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			wait := time.NewTimer(300 * time.Millisecond)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-r.Context().Done():
			}
		}
	})
	in.start()
	in.until("an answer while converging", 60*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseConverging })
	in.healthy(90 * time.Second)
}
