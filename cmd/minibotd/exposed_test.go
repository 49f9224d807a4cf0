package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// exposedCompose is a file that somebody brought along: one service has the secret in its environment and in no file, and
// ends at once with a value that it does not like; the other has nothing of it.
const exposedCompose = `name: ${MINIBOT_NAME}
x-part: &part
  image: ${MINIBOT_REDIS_IMAGE}
  init: true
  stop_grace_period: 1s
  network_mode: none
services:
  app:
    <<: *part
    container_name: "${MINIBOT_NAME}-app"
    environment: [K]
    healthcheck: { test: ["CMD-SHELL", "test -n \"$$K\""], interval: 1s, timeout: 5s, retries: 1 }
    entrypoint: ["sh", "-c", "case $$K in *bad*) exit 9;; esac; while :; do sleep 3600 & wait $$!; done"]
    tmpfs: [/data] # a nameless volume would be handed on when it is recreated, and stay behind
  side:
    <<: *part
    container_name: "${MINIBOT_NAME}-side"
    entrypoint: ["sh", "-c", "while :; do sleep 3600 & wait $$!; done"]
secrets:
  K: { environment: K, x-minibot: { generate: {} } }
`

// exposed is an installation of exposedCompose with exposure = "warn".
func exposed(t *testing.T) *installation {
	t.Helper()
	in := install(t, "", exposedCompose, nil)
	in.configure(`exposure = "warn"`)
	return in
}

// has returns the value in the environment of the running app.
func (in *installation) environmentOf(service string) string {
	return strings.TrimSpace(in.docker("exec", in.container(service), "sh", "-c", "printf %s \"$K\""))
}

func TestExposedSecretIsRecreatedChangedAndTakenBack(t *testing.T) {
	t.Parallel()
	in := exposed(t)
	in.must("K=canary-exposed-first\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	side := in.started("side")
	if got := in.environmentOf("app"); got != "canary-exposed-first" {
		t.Errorf("app has %q", got)
	}
	status := in.run("", "minibotd", "status")
	if !strings.Contains(status.stdout, "warning: secret K is passed on in the clear: services.app.environment.K (") || status.code != 0 {
		t.Errorf("status: exit %d\n%s", status.code, status.stdout)
	}
	var s control.Status
	if err := json.Unmarshal([]byte(in.must("", "minibotd", "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Exposed) != 1 || s.Exposed[0].Secret != "K" || s.Exposed[0].Service != "app" || s.Exposed[0].Path != "services.app.environment.K" || s.Exposed[0].Line != 11 {
		t.Errorf("status --json: %+v", s.Exposed)
	}

	out := in.must("canary-exposed-second\n", "mb-secrets", "set", "K")
	if got := in.environmentOf("app"); got != "canary-exposed-second" || !strings.Contains(out, "app") {
		t.Errorf("set is done, app has %q\n%s", got, out)
	}
	id := strings.TrimSpace(in.docker("inspect", "-f", "{{.Id}}", in.container("app")))
	if r := in.run("canary-exposed-bad\n", "mb-secrets", "set", "K"); r.code != 4 {
		t.Errorf("a value that app ends with: exit %d\n%s", r.code, r.stderr)
	}
	in.healthy(30 * time.Second)
	if got := in.environmentOf("app"); got != "canary-exposed-second" {
		t.Errorf("after the rollback app has %q", got)
	}
	if got := in.must("", "mb-secrets", "get", "K"); got != "canary-exposed-second" {
		t.Errorf("after the rollback the store has %q", got)
	}
	if now := strings.TrimSpace(in.docker("inspect", "-f", "{{.Id}}", in.container("app"))); now == id {
		t.Error("the container was never made anew")
	}
	if after := in.started("side"); after != side {
		t.Errorf("side has nothing of it, and was touched: %s, then %s", side, after)
	}
	for what, text := range map[string]string{"log": in.log.String(), "events": in.must("", "minibotd", "events"), "output of set": out, "status": status.stdout} {
		if strings.Contains(text, "canary-exposed") {
			t.Errorf("the %s shows a value:\n%s", what, text)
		}
	}
}

// wrapper is the entrypoint that docs/compose.md shows for an image that takes its secret only from the environment.
func wrapper(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/compose.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "entrypoint: ") && strings.Contains(line, "export API_KEY=") {
			return line
		}
	}
	t.Fatal("docs/compose.md shows no wrapper")
	return ""
}

func TestWrapperOfTheDocsKeepsTheSecretOutOfInspect(t *testing.T) {
	t.Parallel()
	in := install(t, "", `name: ${MINIBOT_NAME}
services:
  app:
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: "${MINIBOT_NAME}-app"
    secrets: [API_KEY]
    `+wrapper(t)+`
    command: ["sh", "-c", "while :; do sleep 3600 & wait $$!; done"]
    init: true
    network_mode: none
    stop_grace_period: 1s
secrets:
  API_KEY: { environment: API_KEY }
`, nil)
	in.must("API_KEY=canary wrapped \"$HOME\" value\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	of := `for p in /proc/[0-9]*; do tr '\0' '\n' < $p/environ | grep ^API_KEY= && exit; done`
	if got := in.docker("exec", in.container("app"), "sh", "-c", of); strings.TrimSpace(got) != `API_KEY=canary wrapped "$HOME" value` {
		t.Errorf("the application's environment has %q", got)
	}
	if out := in.docker("inspect", in.container("app")) + in.docker("diff", in.container("app")) + in.docker("logs", in.container("app")); strings.Contains(out, "canary") {
		t.Errorf("the engine shows the value:\n%s", out)
	}
	in.must("canary-wrapped-second\n", "mb-secrets", "set", "API_KEY")
	if got := in.docker("exec", in.container("app"), "sh", "-c", of); strings.TrimSpace(got) != "API_KEY=canary-wrapped-second" {
		t.Errorf("after a change the application's environment has %q", got)
	}
}
