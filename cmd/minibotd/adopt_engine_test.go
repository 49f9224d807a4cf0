package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/deploy"
	"minibot/launchd/launchdtest"
	"minibot/secrets/security/securitytest/standin"
)

// oldPassword is what the old databases have; the store holds others.
const oldPassword = "canary-adopt-old-77c1"

var adoptCanaries = map[string]string{
	"POSTGRES_PASSWORD": "canary-adopt-postgres-77c1", "REDIS_PASSWORD": "canary-adopt-redis-77c1", "ANTHROPIC_API_KEY": "canary-adopt-anthropic-77c1",
	"TELEGRAM_BOT_TOKEN": "canary-adopt-telegram-77c1", "OPENCLAW_GATEWAY_TOKEN": "canary-adopt-gateway-77c1",
}

// quietOpenClaw is the shipped compose file with something in OpenClaw's place that starts at once: of it only the folder matters here.
func quietOpenClaw(t *testing.T) string {
	t.Helper()
	text := string(deploy.ComposeFile)
	for _, r := range []struct{ old, new string }{
		{`\$\{MINIBOT_OPENCLAW_IMAGE:-[^}]*\}`, image("MINIBOT_REDIS_IMAGE") + "\n    entrypoint: [sh, -c, \"trap 'exit 0' TERM; sleep 3600 & wait\"]"},
		{`\["CMD", "node"[^\n]*`, `["CMD", "true"]`},
		{`    configs: \[\{ source: openclaw[^\n]*\n`, ""},
	} {
		changed := regexp.MustCompile(r.old).ReplaceAllLiteralString(text, r.new)
		if changed == text {
			t.Fatalf("the shipped compose file has nothing like %s", r.old)
		}
		text = changed
	}
	return text
}

// oldHome is a replica of a home whose stack shell scripts kept up: another compose project under the names and on the ports of minibot's, with its
// data in folders of minibot's home and its passwords in its environment.
type oldHome struct {
	*installation
	user string // the user's home
	port string // of Postgres
}

func newOldHome(t *testing.T) *oldHome {
	port, redisPort := freePort(t), freePort(t)
	in := install(t, "", quietOpenClaw(t), map[string]string{
		"MINIBOT_POSTGRES_PORT": port, "MINIBOT_REDIS_PORT": redisPort, "MINIBOT_OPENCLAW_PORT": freePort(t), "MINIBOT_TELEGRAM": "false",
	})
	h := &oldHome{installation: in, user: t.TempDir(), port: port}
	in.env = append(in.env, "HOME="+h.user)
	t.Cleanup(h.removeOld)
	zshrc := "alias ll='ls -l'\nalias mb-secrets='~/minibot/secrets.sh'\nexport POSTGRES_PASSWORD=" + oldPassword + "\n"
	if err := os.WriteFile(filepath.Join(h.user, ".zshrc"), []byte(zshrc), 0o600); err != nil {
		t.Fatal(err)
	}
	h.runOld("postgres", "-e", "POSTGRES_USER=minibot", "-e", "POSTGRES_PASSWORD="+oldPassword, "-p", "127.0.0.1:"+port+":5432",
		"-v", h.home+"/data/postgres:/var/lib/postgresql/data", image("MINIBOT_POSTGRES15_IMAGE"))
	h.runOld("redis", "-p", "127.0.0.1:"+redisPort+":6379", "-v", h.home+"/data/redis:/data", image("MINIBOT_REDIS_IMAGE"),
		"redis-server", "--requirepass", oldPassword)
	h.runOld("openclaw", "-v", h.home+"/data/openclaw:/home/node/.openclaw", "--entrypoint", "sh", image("MINIBOT_REDIS_IMAGE"), "-c",
		"cd /home/node/.openclaw; mkdir -p agents/main; echo session >agents/main/session.json; echo '{token: 1}' >openclaw.json; trap 'exit 0' TERM; sleep 3600 & wait")
	in.poll("the old Postgres answers", time.Minute, func() bool {
		return in.dockerCommand("", "exec", in.container("postgres"), "pg_isready", "-q", "-h", "127.0.0.1").Run() == nil
	}, func() string { return in.tryDocker("logs", in.container("postgres")) })
	in.docker("exec", in.container("postgres"), "psql", "-q", "-U", "minibot", "-d", "minibot",
		"-c", "CREATE TABLE kept AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) n", "-c", "CREATE INDEX ON kept (text)")
	in.docker("exec", in.container("redis"), "redis-cli", "--no-auth-warning", "-a", oldPassword, "SET", "kept", "value")
	in.docker("exec", in.container("redis"), "redis-cli", "--no-auth-warning", "-a", oldPassword, "SAVE")
	var lines strings.Builder
	for name, value := range adoptCanaries {
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	in.must(lines.String(), "mb-secrets", "init")
	return h
}

func (h *oldHome) project() string { return "old-" + h.name }

func (h *oldHome) runOld(service string, args ...string) {
	h.t.Helper()
	h.docker(append([]string{"run", "-d", "--restart=always", "--name", h.container(service), "--label", "com.docker.compose.project=" + h.project(),
		"--label", "com.docker.compose.service=" + service}, args...)...)
}

func (h *oldHome) removeOld() {
	for _, id := range strings.Fields(h.tryDocker("ps", "-aq", "--filter", "label=com.docker.compose.project="+h.project())) {
		h.tryDocker("rm", "-f", "-v", id)
	}
	h.tryDocker("run", "--rm", "--network=none", "--entrypoint=rm", "-v", h.home+":/h", image("MINIBOT_REDIS_IMAGE"), "-rf", "/h/data")
}

// agent has a login agent of the old kind run, under an emulated launchd, and an item of a script in a Keychain.
func (h *oldHome) agent() *launchdtest.Launchd {
	h.t.Helper()
	program, err := launchdStandIn()
	if err != nil {
		h.t.Fatal(err)
	}
	ld := launchdtest.Start(h.t, launchdtest.Options{Program: program, UserHome: h.user})
	file := filepath.Join(ld.AgentsDir(), "com.minibot.gateway.plist")
	(&mac{t: h.t}).put(file, gatewayAgent)
	if _, stderr, exit := ld.Run("bootstrap", strings.TrimSuffix(ld.Target(""), "/"), file); exit != 0 {
		h.t.Fatalf("%d: %s", exit, stderr)
	}
	keychain := (&mac{installation: h.installation, t: h.t}).keychain()
	keychain.Add(standin.Item{Service: "minibot-redis", Account: "you", Value: []byte("canary-keychain"), Partition: standin.Tool})
	h.write("secrets.sh", "security find-generic-password -s minibot-redis -w\n")
	h.env = append(h.env, "MINIBOT_LAUNCHCTL="+ld.Launchctl(), "MINIBOT_MANAGER=launchd", "PATH="+filepath.Dir(ld.Launchctl())+":"+os.Getenv("PATH"))
	return ld
}

// sums are the contents, owners and modes of the old data.
func (h *oldHome) sums() string {
	h.t.Helper()
	return h.docker("run", "--rm", "--network=none", "--entrypoint=sh", "-v", h.home+"/data:/v:ro", image("MINIBOT_REDIS_IMAGE"), "-c",
		"cd /v && find . -type f | sort | xargs sha256sum && find . | sort | xargs stat -c '%n %u %g %a'")
}

// TestAdopt takes a replica of such a home over, with a login agent and a Postgres of an older major version than the stack's: killed
// before the agent is disabled, and in the middle of the copy, then run again.
func TestAdopt(t *testing.T) {
	t.Parallel()
	h := newOldHome(t)
	ld := h.agent()

	dry := h.run("", "minibotd", "adopt", "--dry-run")
	for _, want := range []string{".zshrc:2", ".zshrc:3: a secret is in every program's environment (POSTGRES_PASSWORD)", "the data are of Postgres 15, and the stack's image runs 17", "disable login agent com.minibot.gateway", "item minibot-redis (you)", "copy the data of postgres"} {
		if !strings.Contains(dry.stdout, want) {
			t.Errorf("adopt --dry-run does not say %q:\n%s%s", want, dry.stdout, dry.stderr)
		}
	}
	if h.docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", h.container("postgres")) != "true always\n" {
		t.Error("a dry run changed the old container")
	}
	r := h.run("", "minibotd", "install", "--program", filepath.Join(programs, "minibotd"), "--yes")
	for _, want := range []string{"container " + h.container("postgres"), "container " + h.container("redis"), "container " + h.container("openclaw"), "login agent", ".zshrc:3",
		"item minibot-redis (you)", "minibotd adopt"} {
		if r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("install: exit %d, and nothing of %q:\n%s", r.code, want, r.stderr)
		}
	}
	if r := h.run("", "minibotd", "adopt"); r.code != control.ExitCode(control.ErrUsage) {
		t.Errorf("adopt without consent: exit %d, %s", r.code, r.stderr)
	}

	inOldPostgres := func(statement string) {
		h.docker("exec", h.container("postgres"), "psql", "-q", "-U", "minibot", "-d", "postgres", "-c", statement)
	}
	inOldPostgres("ALTER DATABASE minibot RENAME TO other")
	if r := h.run("", "minibotd", "adopt", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "CREATE DATABASE \"minibot\"") {
		t.Errorf("adopt without the database minibot: exit %d, %s", r.code, r.stderr)
	}
	inOldPostgres("ALTER DATABASE other RENAME TO minibot")

	h.env = append(h.env, "MINIBOT_DIE_AT=agent/noted")
	if r := h.run("", "minibotd", "adopt", "--yes"); r.code != -1 {
		t.Fatalf("adopt was not killed before it disabled the agent: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if _, stderr, exit := ld.Run("print", ld.Target("com.minibot.gateway")); exit != 0 {
		t.Errorf("the agent was ended before its undo was noted: %d %s", exit, stderr)
	}
	h.env[len(h.env)-1] = "MINIBOT_DIE_AT=copy postgres:400"
	if r := h.run("", "minibotd", "adopt", "--yes"); r.code != -1 {
		t.Fatalf("adopt was not killed in the middle: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	h.env = h.env[:len(h.env)-1]
	again, ended := make(chan struct{}), make(chan struct{})
	go func() { // a cron job that keeps the old stack up
		defer close(ended)
		for {
			select {
			case <-again:
				return
			default:
				h.tryDocker("start", h.container("redis")+"-before-minibot")
			}
		}
	}()
	if r := h.run("", "minibotd", "adopt", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "-before-minibot was started again") {
		t.Errorf("adopt beside a cron job: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	close(again)
	<-ended
	h.docker("stop", h.container("redis")+"-before-minibot")
	before := h.sums()
	h.start() // as launchd would after a crash
	h.until("stopped", 30*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseStopped })
	h.term()
	if half := h.docker("inspect", "-f", "{{.State.Status}}", h.container("postgres")); half != "created\n" {
		t.Errorf("half a copy was started: %s", half)
	}

	said := h.unheard("adopt", "--yes", "--json") // the connection has broken
	var result adoption
	if err := json.Unmarshal([]byte(said), &result); err != nil || !result.Adopted || !result.Resumed || len(result.Proved) != 2 {
		t.Fatalf("adopt --json: %v\n%s", err, said)
	}
	if undo := strings.Join(result.Undo, "\n"); strings.Count(undo, "launchctl bootstrap") != 1 || strings.Count(undo, "mv ") != 1 {
		t.Errorf("the commands that go back: %s", undo)
	}
	if _, _, exit := ld.Run("print", ld.Target("com.minibot.gateway")); exit == 0 {
		t.Error("the agent is still loaded")
	}
	h.adopted()
	if h.sums() != before {
		t.Error("the old data are not as they were")
	}
	for _, text := range []string{dry.stdout + dry.stderr, r.stdout + r.stderr, h.log.String()} {
		if strings.Contains(text, "canary") {
			t.Errorf("a secret shows: %s", text)
		}
	}
	if again := h.must("", "minibotd", "adopt"); !strings.Contains(again, "no data to adopt") {
		t.Errorf("adopt, once more: %s", again)
	}
	since := h.started("postgres") + h.started("redis")
	h.start() // as after `minibotd install`
	h.healthy(30 * time.Second)
	if now := h.started("postgres") + h.started("redis"); now != since {
		t.Errorf("minibotd restarted what adopt had brought up: %s, then %s", since, now)
	}
	if r := h.run("", "minibotd", "adopt"); r.code != 1 || !strings.Contains(r.stderr, "minibotd uninstall") {
		t.Errorf("adopt beside minibotd: exit %d, %s", r.code, r.stderr)
	}
}

// TestAdoptFolder takes a home over whose containers were of a compose project of the same name, as of a folder called minibot, and of whose
// Postgres only the data are left, which nobody but the engine may look into.
func TestAdoptFolder(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	in := install(t, "", quietOpenClaw(t), map[string]string{"MINIBOT_POSTGRES_PORT": port, "MINIBOT_REDIS_PORT": freePort(t),
		"MINIBOT_OPENCLAW_PORT": freePort(t), "MINIBOT_TELEGRAM": "false"})
	h := &oldHome{installation: in, user: t.TempDir(), port: port}
	in.env = append(in.env, "HOME="+h.user)
	t.Cleanup(h.removeOld)
	h.runOld("postgres", "-e", "POSTGRES_USER=minibot", "-e", "POSTGRES_PASSWORD="+oldPassword, "-v", h.home+"/data/postgres:/var/lib/postgresql/data",
		image("MINIBOT_POSTGRES_IMAGE"))
	in.poll("the old Postgres answers", time.Minute, func() bool {
		return in.dockerCommand("", "exec", in.container("postgres"), "pg_isready", "-q", "-h", "127.0.0.1").Run() == nil
	}, func() string { return in.tryDocker("logs", in.container("postgres")) })
	in.docker("exec", in.container("postgres"), "psql", "-q", "-U", "minibot", "-d", "minibot", "-c", "CREATE TABLE kept AS SELECT 42 AS n")
	in.docker("kill", in.container("postgres")) // not even a clean end
	in.docker("rm", "-v", in.container("postgres"))
	in.docker("run", "-d", "--name", in.container("openclaw"), "--label", "com.docker.compose.project="+in.name, "--label", "com.docker.compose.oneoff=False",
		"--label", "com.docker.compose.service=openclaw", "--entrypoint", "sh", image("MINIBOT_REDIS_IMAGE"), "-c", "sleep 3600")
	var lines strings.Builder
	for name, value := range adoptCanaries {
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	in.must(lines.String(), "mb-secrets", "init")
	in.docker("run", "--name", in.container("postgres"), "--entrypoint", "true", "-v", in.home+"/absent:/var/lib/postgresql/data", image("MINIBOT_POSTGRES_IMAGE"))
	if r := in.run("", "minibotd", "adopt", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "has run, but there are no data of Postgres in it") {
		t.Errorf("adopt from a container whose disk is not there: exit %d, %s", r.code, r.stderr)
	}
	in.docker("rm", in.container("postgres"))
	if r := in.run("", "minibotd", "adopt", "--dry-run"); os.Getuid() == 0 && !strings.Contains(r.stdout, "copy the data of postgres from "+in.home+"/data/postgres into") {
		t.Errorf("adopt --dry-run: exit %d, %s%s", r.code, r.stdout, r.stderr)
	}
	// The folder is the database's own: to another user than root it is closed.
	asUser := exec.Command(filepath.Join(programs, "minibotd"), "adopt", "--yes")
	if os.Getuid() == 0 {
		asUser = exec.Command("setpriv", append([]string{"--bounding-set", "-dac_override,-dac_read_search"}, asUser.Args...)...)
	}
	asUser.Env = in.environ()
	text, err := asUser.CombinedOutput()
	out := string(text)
	if err != nil || !strings.Contains(out, "cannot be looked into") {
		t.Fatalf("adopt: %v: %s", err, out)
	}
	if !strings.Contains(out, "run `minibotd install`") || !strings.Contains(out, "has no data of openclaw") {
		t.Errorf("adopt: %s", out)
	}
	old := in.container("openclaw")
	if got := in.docker("inspect", "-f", "{{.State.Running}}", old); got != "false\n" {
		t.Errorf("the old openclaw runs: %s", got)
	}
	in.docker("rm", "-v", old)
	in.name += "-stack"
	if got := in.docker("exec", in.container("postgres"), "psql", "-q", "-A", "-t", "-U", "minibot", "-d", "minibot", "-c", "SELECT n FROM kept"); got != "42\n" {
		t.Errorf("the row: %s", got)
	}
	if !in.postgresTakes(adoptCanaries["POSTGRES_PASSWORD"]) || in.postgresTakes(oldPassword) {
		t.Error("Postgres takes another password than the stored one")
	}
}

// adopted looks at the new stack and at what is left of the old one.
func (h *oldHome) adopted() {
	t := h.t
	t.Helper()
	if rows := h.docker("exec", h.container("postgres"), "psql", "-q", "-A", "-t", "-U", "minibot", "-d", "minibot",
		"-c", "SELECT count(*), sum(n), (SELECT n FROM kept WHERE text = md5('4711')) FROM kept"); strings.TrimSpace(rows) != "5000|12502500|4711" {
		t.Errorf("rows: %s", rows)
	}
	for password, right := range map[string]bool{adoptCanaries["POSTGRES_PASSWORD"]: true, oldPassword: false} {
		if h.postgresTakes(password) != right {
			t.Errorf("Postgres takes %s: %v", password, !right)
		}
	}
	for password, right := range map[string]bool{adoptCanaries["REDIS_PASSWORD"]: true, oldPassword: false} {
		if h.redisTakes(password) != right {
			t.Errorf("Redis takes %s: %v", password, !right)
		}
	}
	out, err := h.dockerCommand("AUTH "+adoptCanaries["REDIS_PASSWORD"]+"\nGET kept\n", "exec", "-i", h.container("redis"), "redis-cli").Output()
	if err != nil || !strings.Contains(string(out), "value") {
		t.Errorf("Redis lost its data: %v: %s", err, out)
	}
	state := h.docker("exec", h.container("openclaw"), "sh", "-c", "cd /home/node/.openclaw && stat -c '%n %u %g' agents/main/session.json && cat agents/main/session.json && ls -A")
	if state != "agents/main/session.json 1000 1000\nsession\nagents\n" {
		t.Errorf("OpenClaw's folder: %s", state)
	}
	version := h.docker("exec", h.container("postgres"), "sh", "-c", "cat $PGDATA/PG_VERSION; psql -q -A -t -U minibot -d minibot -c 'SHOW server_version_num'")
	if !strings.HasPrefix(version, "15\n15") {
		t.Errorf("the data, and the server that runs them, are of Postgres %q", version)
	}
	for _, service := range []string{"postgres", "redis", "openclaw"} {
		got := h.docker("inspect", "-f", "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", h.container(service)+"-before-minibot")
		if got != "false no\n" {
			t.Errorf("the old %s: %s", service, got)
		}
	}
}
