package database_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/secrets"
)

// openClawConfig is deploy/compose.yaml's, but with a stand-in for the two services outside, and everything logged.
const openClawConfig = `{
  logging: { level: "trace", consoleLevel: "trace" },
  gateway: { mode: "local", bind: "lan", port: 18789, http: { endpoints: { chatCompletions: { enabled: true } } },
    auth: { mode: "token", token: { source: "file", provider: "gateway", id: "value" } } },
  secrets: { providers: {
    gateway: { source: "file", path: "/run/secrets/OPENCLAW_GATEWAY_TOKEN", mode: "singleValue" },
    anthropic: { source: "file", path: "/run/secrets/ANTHROPIC_API_KEY", mode: "singleValue" },
    telegram: { source: "file", path: "/run/secrets/TELEGRAM_BOT_TOKEN", mode: "singleValue" } } },
  models: { providers: { anthropic: { baseUrl: "http://127.0.0.1:9999", apiKey: { source: "file", provider: "anthropic", id: "value" } } } },
  agents: { defaults: { model: { primary: "anthropic/claude-sonnet-5" } } },
  channels: { telegram: { enabled: true, apiRoot: "http://127.0.0.1:9999", botToken: { source: "file", provider: "telegram", id: "value" }, dmPolicy: "pairing" } },
}`

// outside notes with what Telegram and Anthropic are asked. Anthropic refuses everything.
const outside = `
const { appendFileSync } = require("node:fs");
require("node:http").createServer((q, r) => {
  appendFileSync("/tmp/asked", q.url + " " + (q.headers["x-api-key"] ?? "") + "\n");
  if (q.url.includes("/getUpdates")) return setTimeout(() => r.end('{"ok":true,"result":[]}'), 2000);
  if (q.url.endsWith("/getMe")) return r.end('{"ok":true,"result":{"id":1,"is_bot":true,"first_name":"b","username":"canary_bot"}}');
  if (q.url.startsWith("/bot")) return r.end('{"ok":true,"result":true}');
  r.writeHead(401, { "content-type": "application/json" }).end('{"type":"error","error":{"type":"authentication_error","message":"no"}}');
}).listen(9999, "127.0.0.1");`

// entry starts the gateway once /tmp/start is written to, and again when it ends: on a machine that is too busy it gives up
// within its start.
const entry = `mkfifo /tmp/start; read -r go </tmp/start; rm /tmp/start; trap 'kill $p; wait $p; exit 0' TERM
while :; do echo "` + startMark + `"; node openclaw.mjs gateway --verbose & p=$!; wait $p; done`

const startMark = "the gateway is started"

// gateway is a real OpenClaw.
type gateway struct {
	database.OpenClaw
}

// startOpenClaw runs one that waits for start. It has more of a busy processor than other containers: it gives up a start whose
// own parts do not answer each other within 5 seconds.
func startOpenClaw(t *testing.T) gateway {
	t.Helper()
	name := enginetest.Start(t, "--init", "--hostname", "openclaw", "--memory", "2g", "--cpu-shares", "8192", "--tmpfs", "/run/secrets:mode=0755",
		"-e", "OPENCLAW_CONFIG_PATH=/home/node/openclaw.json", "-e", "OPENCLAW_NO_AUTO_UPDATE=1", "-e", "OPENCLAW_DISABLE_BONJOUR=1",
		"--entrypoint", "sh", enginetest.Image("MINIBOT_OPENCLAW_IMAGE", "minibot/openclaw:local"),
		"-c", entry)
	g := gateway{database.OpenClaw{Container: enginetest.Engine{}, Service: name}}
	g.sh(t, "", openClawConfig, "cat >/home/node/openclaw.json")
	enginetest.Docker(t, "exec", "-d", name, "node", "-e", outside)
	return g
}

// start lets it start, and waits until it lets the token in. On a busy machine that takes minutes.
func (g gateway) start(t *testing.T, token string) {
	t.Helper()
	g.sh(t, "", "", "echo go >/tmp/start")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for begun := time.Now(); ; <-tick.C {
		err := g.prove(t, token)
		switch {
		case err == nil:
			return
		case !database.Transient(err) || time.Since(begun) > 4*time.Minute:
			t.Fatalf("wait for OpenClaw: %v\n%s", err, enginetest.Docker(t, "logs", "--tail", "20", g.Service))
		}
	}
}

// sh runs a script in the container and returns its output.
func (g gateway) sh(t *testing.T, user, stdin, script string, args ...string) string {
	t.Helper()
	if user == "" {
		user = "node"
	}
	c := exec.CommandContext(t.Context(), "docker", append([]string{"exec", "-i", "-u", user, g.Service, "sh", "-c", script, "sh"}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// deliver puts a file in place as the keeper does.
func (g gateway) deliver(t *testing.T, name, value string) {
	t.Helper()
	g.sh(t, "0", value, `cd /run/secrets && cat >".$1" && chown 1000:1000 ".$1" && chmod 0400 ".$1" && mv ".$1" "$1"`, name)
}

func (g gateway) chmod(t *testing.T, name, mode string) {
	t.Helper()
	g.sh(t, "0", "", `chmod "$2" "/run/secrets/$1"`, name, mode)
}

// asked waits until Telegram or Anthropic was asked with a value since the last call.
func (g gateway) asked(t *testing.T, value string) {
	t.Helper()
	until(t, "a request to the outside with the new value", func() error {
		if all := g.sh(t, "", "", "cat /tmp/asked"); !strings.Contains(all, value) {
			return errors.New("there was none")
		}
		return nil
	})
}

func (g gateway) prove(t *testing.T, token string) error {
	t.Helper()
	return g.Prove(t.Context(), as(value(t, token)))
}

func (g gateway) mustReload(t *testing.T, tokens ...string) {
	t.Helper()
	if err := g.Reload(t.Context(), values(t, tokens...)...); err != nil {
		t.Fatalf("reload: %v", err)
	}
}

// in checks which of two tokens the gateway lets in.
func (g gateway) in(t *testing.T, token, other string) {
	t.Helper()
	until(t, "the token is let in", func() error {
		err := g.prove(t, token)
		if err != nil && !database.Transient(err) {
			t.Fatal(err)
		}
		return err
	})
	mustBe(t, "the other token", g.prove(t, other), database.ErrRefused)
}

func values(t *testing.T, plain ...string) []secrets.Value {
	t.Helper()
	var all []secrets.Value
	for _, s := range plain {
		all = append(all, value(t, s))
	}
	return all
}

// TestOpenClaw tells one story: a start of the gateway takes 10 to 25 seconds.
func TestOpenClaw(t *testing.T) {
	t.Parallel()
	g := startOpenClaw(t)
	mustBe(t, "not started: prove", g.prove(t, "canary-GATEWAY-1"), database.ErrNotReady)
	mustBe(t, "not started: reload", g.Reload(t.Context(), values(t, "canary-GATEWAY-1")...), database.ErrNotReady)
	g.deliver(t, "ANTHROPIC_API_KEY", "canary-ANTHROPIC-1")
	g.deliver(t, "TELEGRAM_BOT_TOKEN", "canary-TELEGRAM-1")
	g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", "canary-GATEWAY-1")
	g.start(t, "canary-GATEWAY-1")
	mustBe(t, "a wrong token", g.prove(t, "canary-GATEWAY-wrong"), database.ErrRefused)
	mustBe(t, "assert", g.Assert(t.Context(), as(value(t, "canary-GATEWAY-1"))), database.ErrNoEntrance)
	g.asked(t, "canary-TELEGRAM-1/getUpdates")

	started := strings.Count(enginetest.Docker(t, "logs", g.Service), startMark)
	seen := watch(t, g.Service)
	t.Run("reload", g.testReload)
	t.Run("a file that cannot be read", g.testBadFile)
	t.Run("tokens", g.testTokens)
	processes := seen()
	if !strings.Contains(processes, "secrets.reload") || !strings.Contains(processes, "/tools/invoke") {
		t.Error("the watch saw no reload and no probe, so it proves nothing")
	}
	absent(t, "a process", processes, "canary-GATEWAY", "canary-ANTHROPIC", "canary-TELEGRAM")
	log := enginetest.Docker(t, "logs", g.Service)
	if now := strings.Count(log, startMark); now != started {
		t.Errorf("it was started %d times, and %d times before", now, started)
	}
	if !strings.Contains(log, "res ✓ secrets.reload") || !strings.Contains(log, "token_mismatch") {
		t.Error("the gateway does not log its requests, so its log proves nothing")
	}
	absent(t, "the log", log, "canary-GATEWAY", "canary-ANTHROPIC", "canary-TELEGRAM")
	left := g.sh(t, "", "", `for d in /tmp /home /var/log; do [ ! -d $d ] || grep -rl canary-[GAT] $d; done; :`)
	if strings.TrimSpace(left) != "/tmp/asked" { // the stand-in's own file
		t.Errorf("values are in %s", left)
	}
	enginetest.Docker(t, "stop", "-t", "45", g.Service)
	mustBe(t, "stopped: prove", g.prove(t, "canary-GATEWAY-1"), database.ErrNotReady)
	mustBe(t, "stopped: reload", g.Reload(t.Context(), values(t, "canary-GATEWAY-1")...), database.ErrNotReady)
}

// testReload takes the gateway from -1 to -2 values of all three secrets.
func (g gateway) testReload(t *testing.T) {
	g.mustReload(t, "canary-GATEWAY-1") // nothing new
	g.deliver(t, "ANTHROPIC_API_KEY", "canary-ANTHROPIC-2")
	g.deliver(t, "TELEGRAM_BOT_TOKEN", "canary-TELEGRAM-2")
	g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", "canary-GATEWAY-2")
	g.in(t, "canary-GATEWAY-1", "canary-GATEWAY-2") // delivered is not taken
	mustBe(t, "with tokens that are not in force", g.Reload(t.Context(), values(t, "canary-GATEWAY-2", "canary-GATEWAY-3")...), database.ErrRefused)
	g.mustReload(t, "canary-GATEWAY-1", "canary-GATEWAY-2")
	g.in(t, "canary-GATEWAY-2", "canary-GATEWAY-1")
	g.mustReload(t, "canary-GATEWAY-1", "canary-GATEWAY-2") // as after a crash: the new one is in force
	if err := g.Reload(t.Context(), secrets.Value{}, value(t, "canary-GATEWAY-2")); err != nil {
		t.Errorf("with no former token: %v", err)
	}
	mustBe(t, "with no token", g.Reload(t.Context(), secrets.Value{}), database.ErrRefused)
	g.asked(t, "canary-TELEGRAM-2/getUpdates")
	g.sh(t, "", "canary-GATEWAY-2", `node -e '
		fetch("http://127.0.0.1:18789/v1/chat/completions", { method: "POST", body: JSON.stringify({ model: "openclaw", messages: [{ role: "user", content: "hello" }] }),
			headers: { "content-type": "application/json", authorization: "Bearer " + fs.readFileSync(0) } }).finally(() => process.exit(0))'`) // the stand-in refuses
	g.asked(t, "canary-ANTHROPIC-2")
	if all := g.sh(t, "", "", "cat /tmp/asked"); strings.Contains(all, "canary-ANTHROPIC-1") {
		t.Error("Anthropic was asked with the former key")
	}
}

// testBadFile leaves the gateway with -2 of the token.
func (g gateway) testBadFile(t *testing.T) {
	g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", "canary-GATEWAY-3")
	g.chmod(t, "OPENCLAW_GATEWAY_TOKEN", "0666")
	mustBe(t, "the token's file", g.Reload(t.Context(), values(t, "canary-GATEWAY-2")...), database.ErrNotTaken)
	g.in(t, "canary-GATEWAY-2", "canary-GATEWAY-3")
	g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", "canary-GATEWAY-2")

	// The gateway itself calls these a success.
	g.deliver(t, "ANTHROPIC_API_KEY", "canary-ANTHROPIC-3")
	g.chmod(t, "ANTHROPIC_API_KEY", "0666")
	err := g.Reload(t.Context(), values(t, "canary-GATEWAY-2")...)
	mustBe(t, "another file", err, database.ErrNotTaken)
	if !strings.Contains(fmt.Sprint(err), "provider:anthropic keeps its former one") {
		t.Errorf("the error does not say who: %v", err)
	}
	g.deliver(t, "ANTHROPIC_API_KEY", "[redacted]")
	err = g.Reload(t.Context(), values(t, "canary-GATEWAY-2")...)
	mustBe(t, "a value that will not do", err, database.ErrNotTaken)
	if !strings.Contains(fmt.Sprint(err), "provider:anthropic has none now") {
		t.Errorf("the error does not say who: %v", err)
	}
	// While another part is bad, a new token is taken, and that is seen over a connection that the new token opens.
	g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", "canary-GATEWAY-4")
	mustBe(t, "a new token beside a bad value", g.Reload(t.Context(), values(t, "canary-GATEWAY-2", "canary-GATEWAY-4")...), database.ErrNotTaken)
	g.in(t, "canary-GATEWAY-4", "canary-GATEWAY-2")
	g.deliver(t, "ANTHROPIC_API_KEY", "canary-ANTHROPIC-4")
	g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", "canary-GATEWAY-2")
	g.mustReload(t, "canary-GATEWAY-4")
	g.in(t, "canary-GATEWAY-2", "canary-GATEWAY-4")
}

// testTokens tries the limits of Check on the gateway.
func (g gateway) testTokens(t *testing.T) {
	token := "canary-GATEWAY-2"
	for name, next := range map[string]string{
		"every character": "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz {|}~",
		"one character":   "x",
		"the longest":     "canary-GATEWAY-" + strings.Repeat("z", database.MaxOpenClawToken-15),
	} {
		g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", next)
		if err := g.Reload(t.Context(), values(t, token)...); err != nil {
			t.Errorf("%s: reload: %v", name, err)
		}
		if err := g.prove(t, next); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		token = next
	}
	for _, next := range []string{"undefined", "change-me-now", "<redacted>"} { // OpenClaw's own opinion of what Check refuses
		g.deliver(t, "OPENCLAW_GATEWAY_TOKEN", next)
		mustBe(t, next, g.Reload(t.Context(), values(t, token)...), database.ErrNotTaken)
	}
}

func TestOpenClawUnfitTokens(t *testing.T) {
	for name, plain := range map[string]string{
		"line break": "canary-GATEWAY\n", "carriage return": "canary-GATEWAY\rx", "tab": "canary-GATEWAY\tx", "not ASCII": "canary-GATEWAY-é", "DEL": "canary-GATEWAY\x7f",
		"leading blank": " canary-GATEWAY", "trailing blank": "canary-GATEWAY ", "too long": strings.Repeat("z", database.MaxOpenClawToken+1),
		"an example": "change-me-to-a-long-random-token", "a placeholder": "__OPENCLAW_REDACTED__", "nothing": "undefined", "not UTF-8": "canary-GATEWAY-\xff",
	} {
		mustBe(t, name, database.Check(database.DriverOpenClaw, value(t, plain)), database.ErrUnfit)
	}
	mustBe(t, "empty", database.Check(database.DriverOpenClaw, secrets.Value{}), database.ErrUnfit)
	if err := database.Check(database.DriverOpenClaw, value(t, "canary-GATEWAY with a blank")); err != nil {
		t.Error(err)
	}
}
