package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/rotation"
)

// TestCanaryRun goes through the whole life of the shipped stack, with debug logging, values that are hard to redact, and
// failures of every kind, and then finds none of the values, in no form, in anything but memory: not on the engine's disk,
// not in what went over its socket, not in a command line or an environment, a log, an event, an answer, a file or a core.
func TestCanaryRun(t *testing.T) {
	c := newCanaryRun(t)
	stopped := []func(){c.watch(), c.learn()}
	t.Run("init and import", c.initialises)
	c.begin()
	c.healthy(7 * time.Minute)
	c.hostile()
	c.plant()
	for _, part := range []struct {
		name string
		live func(*testing.T)
	}{
		{"healing", c.heals}, {"changes", c.changes}, {"reading", c.reads}, {"wrong orders", c.refuses}, {"a lost engine", c.losesEngine},
		{"a change that nobody takes", c.rollsBack}, {"a kill in a change", c.isKilled}, {"a dump", c.dumps}, {"a damaged store", c.losesStore},
	} {
		t.Run(part.name, part.live)
	}
	c.inForce()
	c.searchEngine("running", false)
	t.Run("lockdown", c.locksDown)
	t.Run("uninstall", c.goes)
	for _, stop := range stopped {
		stop()
	}
	c.searchEngine("uninstalled", true)
	c.searchRest()
	c.proxy.close()
	c.engine = c.direct.engine // for its removal
	c.searchEvidence()
}

// initialises gives one value by import, and the others on standard input.
func (c *canaryRun) initialises(*testing.T) {
	var lines strings.Builder
	for name, value := range map[string]string{
		"POSTGRES_PASSWORD":      c.values.special("POSTGRES_PASSWORD", `canary pg "+/%25`, ` ü\n'$x`),
		"REDIS_PASSWORD":         c.values.special("REDIS_PASSWORD", "canary red\t'", " \"+/%2F= \xfc\xfe"),
		"TELEGRAM_BOT_TOKEN":     c.values.special("TELEGRAM_BOT_TOKEN", `canary:tg"+/%`, `é=`),
		"OPENCLAW_GATEWAY_TOKEN": c.values.special("OPENCLAW_GATEWAY_TOKEN", `canary gw "+/%27`, `\'<&> end`),
	} {
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	c.run([]int{0, 1}, lines.String(), "mb-secrets", "init")
	file := filepath.Join(c.root, "home", ".env")
	text := "OTHER=x\nANTHROPIC_API_KEY='" + c.values.special("ANTHROPIC_API_KEY", `canary "+/%22 $X {`, ` ü}\n`) + "'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.run(done, "", "mb-secrets", "import", file, "--yes", "--remove")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		c.t.Errorf("the imported file is still there: %v", err)
	}
}

// hostile has the databases log as much as they can.
func (c *canaryRun) hostile() {
	c.t.Helper()
	for _, setting := range []string{"log_statement = 'all'", "log_min_duration_statement = 0", "log_connections = on", "log_min_error_statement = 'debug5'", "log_min_messages = 'debug1'"} {
		c.direct.docker("exec", c.container("postgres"), "psql", "-U", "minibot", "-d", "minibot", "-qc", "ALTER SYSTEM SET "+setting)
	}
	c.direct.docker("exec", c.container("postgres"), "psql", "-U", "minibot", "-d", "minibot", "-qc", "SELECT pg_reload_conf()")
	password := c.shows("", "mb-secrets", "get", "REDIS_PASSWORD")
	if out, err := c.redis(password, "CONFIG SET slowlog-log-slower-than 0", "CONFIG SET slowlog-max-len 10000", "CONFIG SET loglevel debug"); err != nil || strings.Count(out, "OK") != 4 {
		c.t.Errorf("Redis does not log all: %q, %v", out, err)
	}
}

// heals kills Postgres, and has Redis be up but unhealthy.
func (c *canaryRun) heals(*testing.T) {
	before, sick := c.direct.started("postgres"), c.direct.started("redis")
	if out, err := c.redis(c.shows("", "mb-secrets", "get", "REDIS_PASSWORD"), "ACL SETUSER default resetpass >another"); err != nil || strings.Count(out, "OK") != 2 {
		c.t.Errorf("Redis' password is not another: %q, %v", out, err)
	}
	c.direct.docker("kill", c.container("postgres"))
	c.poll("Postgres and Redis started again", time.Minute, func() bool { return c.direct.started("postgres") != before && c.direct.started("redis") != sick }, c.log.String)
	c.healthy(2 * time.Minute)
	c.hostile()
}

func (c *canaryRun) changes(*testing.T) {
	c.run(done, c.values.special("TELEGRAM_BOT_TOKEN", "canary\nof two lines+/%", ` "é`), "mb-secrets", "set", "TELEGRAM_BOT_TOKEN")
	c.run(done, c.values.special("POSTGRES_PASSWORD", `canary '); -- "+/%`, `\ ü $1`), "mb-secrets", "set", "POSTGRES_PASSWORD")
	c.run(done, c.values.special("OPENCLAW_GATEWAY_TOKEN", `canary {"+/%`, `\\"}`), "mb-secrets", "set", "OPENCLAW_GATEWAY_TOKEN")
	c.run(done, "", "mb-secrets", "generate", "REDIS_PASSWORD", "--yes")
	c.run(done, "", "mb-secrets", "rotate", "--all", "--plan", "--json")
	c.run(done, "", "mb-secrets", "rotate", "--all", "--rehearse")
	c.run(done, "", "mb-secrets", "rotate", "--all", "--yes")
	c.inForce()
	c.run(done, "", "mb-secrets", "rollback", "POSTGRES_PASSWORD")
	c.run(done, "", "minibotd", "restart", "redis")
	c.inForce()
}

// reads calls everything that tells something.
func (c *canaryRun) reads(t *testing.T) {
	for _, command := range [][]string{
		{"mb-secrets", "list", "--json"}, {"mb-secrets", "list"}, {"mb-secrets", "history", "--steps"}, {"mb-secrets", "history", "--json"},
		{"minibotd", "status", "--json"}, {"minibotd", "status"}, {"minibotd", "events", "--json"}, {"minibotd", "logs", "--tail", "0"}, {"minibotd", "reload"},
	} {
		c.run(done, "", command[0], command[1:]...)
	}
	help := c.run(done, "", "minibotd", "--help").stdout
	for _, command := range [][]string{{"audit", "--json"}, {"check", "--json", c.file("compose.yaml")}} {
		if strings.Contains(help, "\n  "+command[0]+" ") { // where there is such a command
			c.run([]int{0, 1}, "", "minibotd", command...)
		}
	}
	// it runs for a while, for its environment to be seen, and has no children
	const shown = `: ` + execMarker + `; printf %s "$POSTGRES_PASSWORD$REDIS_PASSWORD"; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done`
	want := c.shows("", "mb-secrets", "get", "POSTGRES_PASSWORD") + c.shows("", "mb-secrets", "get", "REDIS_PASSWORD")
	if got := c.shows("", "mb-secrets", "exec", "--", "sh", "-c", shown); got != want {
		t.Errorf("exec's command has other values than the store")
	}
}

// refuses gives orders that cannot be carried out, some with values in them.
func (c *canaryRun) refuses(t *testing.T) {
	c.run([]int{1, 2}, c.values.special("POSTGRES_PASSWORD", "canary\n", " of two lines"), "mb-secrets", "set", "POSTGRES_PASSWORD")
	c.run([]int{1, 2}, c.values.special("OPENCLAW_GATEWAY_TOKEN", "canary ü", "\x01"), "mb-secrets", "set", "OPENCLAW_GATEWAY_TOKEN")
	c.run([]int{1, 2}, c.values.special("REDIS_PASSWORD", strings.Repeat("canary", 3000), ""), "mb-secrets", "set", "REDIS_PASSWORD")
	c.run([]int{2}, "REDIS_PASSWORD = "+c.values.special("REDIS_PASSWORD", "canary", "")+"\n", "mb-secrets", "init")
	for _, edit := range [][2]string{
		{"services:\n", "services: ["},
		{"POSTGRES_USER: minibot", "POSTGRES_USER: minibot\n      LEAK: ${POSTGRES_PASSWORD}"},
		{"POSTGRES_USER: minibot", "POSTGRES_USER: minibot\n      LEAK: ${REDIS_PASSWORD:?missing}"},
		{"on_change: openclaw", "on_change: \"${OPENCLAW_GATEWAY_TOKEN}\""},
		{"image: ${MINIBOT_REDIS_IMAGE:-redis:8.2.3-alpine}", "image: \"${ANTHROPIC_API_KEY}\""},
	} {
		text := strings.Replace(c.compose, edit[0], edit[1], 1)
		if text == c.compose {
			t.Errorf("the compose file has no %q", edit[0])
			continue
		}
		c.write("compose.yaml", text)
		c.run(failed, "", "minibotd", "reload")
		c.run([]int{0, 1}, "", "minibotd", "status")
	}
	c.write("compose.yaml", c.compose)
	c.run(done, "", "minibotd", "reload")
	c.healthy(2 * time.Minute)
}

// losesEngine takes the engine away in the middle of a change.
func (c *canaryRun) losesEngine(*testing.T) {
	c.proxy.intercept(func(r *http.Request) {
		if r.Method == http.MethodPut {
			c.proxy.intercept(nil)
			go c.proxy.close()
			<-r.Context().Done()
		}
	})
	c.run(broken, c.values.special("REDIS_PASSWORD", "canary\n\"", "+/%\x80"), "mb-secrets", "set", "REDIS_PASSWORD")
	c.run([]int{0, 1}, "", "minibotd", "status", "--json")
	c.proxy.open()
	c.healthy(2 * time.Minute)
	c.finished()
}

// rollsBack has the engine refuse what the last step of a change wants of OpenClaw.
func (c *canaryRun) rollsBack(t *testing.T) {
	id := strings.TrimSpace(c.direct.docker("inspect", "-f", "{{.Id}}", c.container("openclaw")))
	cut := 0
	c.proxy.intercept(func(r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/containers/"+id+"/exec") && cut < 3 {
			cut++
			panic(http.ErrAbortHandler)
		}
	})
	c.run(broken, c.values.special("OPENCLAW_GATEWAY_TOKEN", `canary <"+/%`, `>`), "mb-secrets", "set", "OPENCLAW_GATEWAY_TOKEN")
	c.proxy.intercept(nil)
	if cut == 0 {
		t.Error("nothing was cut")
	}
	c.healthy(2 * time.Minute)
	c.finished()
}

// isKilled has the daemon die in the middle of a change of all that can be made up.
func (c *canaryRun) isKilled(*testing.T) {
	c.kill()
	c.begin("MINIBOT_DIE_AT=" + rotation.Point{Step: rotation.StepSwitch, Moment: rotation.BeforeEffect}.String())
	c.healthy(2 * time.Minute)
	c.run([]int{1, 5, 6}, "", "mb-secrets", "rotate", "--all", "--yes")
	<-c.exited
	c.daemon = nil
	c.begin()
	c.healthy(2 * time.Minute)
	c.finished()
}

// dumps has the daemon write its stacks, and its memory where that is allowed.
func (c *canaryRun) dumps(t *testing.T) {
	if err := c.daemon.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-c.exited
	c.daemon = nil
	if !strings.Contains(c.log.String(), "SIGQUIT") {
		t.Error("there is no dump in the log")
	}
	c.begin()
	c.healthy(2 * time.Minute)
}

// losesStore damages the store, and then its key.
func (c *canaryRun) losesStore(t *testing.T) {
	for _, name := range []string{"store.age", "age.key"} {
		kept, err := os.ReadFile(c.file(name))
		if err != nil {
			t.Fatal(err)
		}
		c.write(name, strings.Replace(string(kept[:len(kept)-40]), "1", "2", 1))
		c.run([]int{0, 1, 4, 7}, c.values.special("REDIS_PASSWORD", "canary", ""), "mb-secrets", "set", "REDIS_PASSWORD") // an open store needs no key
		c.run([]int{0, 1, 7}, "", "minibotd", "reload")
		c.run([]int{0, 1}, "", "minibotd", "status")
		c.write(name, string(kept))
	}
	c.run(done, "", "minibotd", "reload")
	c.healthy(2 * time.Minute)
}

func (c *canaryRun) locksDown(*testing.T) {
	c.run(done, "", "minibotd", "lockdown", "--reason", "the canary run")
	c.lockedDown(5 * time.Second)
	c.run(done, c.values.special("TELEGRAM_BOT_TOKEN", "canary/while locked", "+"), "mb-secrets", "set", "TELEGRAM_BOT_TOKEN")
	c.run(failed, "", "minibotd", "start")
	c.run(done, "", "minibotd", "unlock")
	c.healthy(2 * time.Minute)
	c.inForce()
}

// goes is the end: launchd runs the daemon at last, and an uninstall stops the stack, takes the secrets out of memory and ends the
// daemon. The containers stay, and are removed after the last search.
func (c *canaryRun) goes(t *testing.T) {
	for _, service := range []string{"postgres", "redis", "openclaw"} {
		c.evidence.keep(false, "docker logs", c.direct.docker("logs", c.container(service)))
		c.evidence.keep(false, "docker inspect", c.direct.docker("inspect", c.container(service)))
		c.evidence.keep(false, "docker diff", c.direct.docker("diff", c.container(service)))
	}
	slow, err := c.redis(c.shows("", "mb-secrets", "get", "REDIS_PASSWORD"), "SLOWLOG GET -1", "ACL LOG", "ACL LIST", "CLIENT LIST", "INFO all")
	if err != nil || len(slow) < 1000 {
		c.t.Errorf("Redis tells %d bytes: %v", len(slow), err)
	}
	c.evidence.keep(false, "what Redis remembers", slow)
	c.term()
	m := onAMac(c.t, c.installation)
	c.run(done, "", "minibotd", "install", "--program", m.program)
	c.healthy(2 * time.Minute)
	c.inForce()
	secretsIn := "/volumes/" + c.name + "_secrets-"
	if !strings.Contains(c.mounts(), secretsIn) {
		t.Errorf("%s is not mounted while all runs", secretsIn)
	}
	c.run(done, "", "minibotd", "uninstall")
	if status, err := c.status(); err == nil {
		t.Errorf("after the uninstall a daemon answers: %+v", status)
	}
	if _, err := os.Stat(m.plist()); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", m.plist(), err)
	}
	project := "label=com.docker.compose.project=" + c.name
	if up := c.direct.docker("ps", "-q", "--filter", project); up != "" {
		t.Errorf("after the uninstall there still runs %s", up)
	}
	if keeper := c.direct.docker("ps", "-aq", "--filter", project, "--filter", "label=com.docker.compose.service=keeper"); keeper != "" {
		t.Errorf("after the uninstall the keeper is still there: %s", keeper)
	}
	if strings.Contains(c.mounts(), secretsIn) {
		t.Error("after the uninstall there are secrets in memory")
	}
	c.evidence.keep(false, "docker events", c.direct.docker("events", "--since", c.since.Format(time.RFC3339), "--until", time.Now().Format(time.RFC3339)))
}

// searchRest goes through what is on this machine's disk beside the engine.
func (c *canaryRun) searchRest() {
	t := c.t
	t.Helper()
	for _, place := range []struct {
		root  string
		least int
	}{{c.home, 6}, {filepath.Join(c.root, "home"), 0}, {filepath.Join(c.root, "tmp"), 6}, {c.work(), 0}} {
		found := c.values.tree(t, place.root)
		c.clean(place.root, found.hits)
		if found.files < place.least {
			t.Errorf("only %d files in %s", found.files, place.root)
		}
	}
	left, err := os.CreateTemp("/tmp", "mb-planted-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(left.Name())
	if _, err := left.WriteString(c.planted.special("planted", "canary ", " planted")); err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	paths := c.changedFiles([]string{"/tmp", "/var/tmp", "/dev/shm", "/var/log", "/var/crash", "/run", c.realHome}, c.evidence.dir, c.engineDir, c.root)
	found := c.values.files(t, paths)
	t.Logf("%d files were made or changed elsewhere", found.files)
	c.clean("the machine", found.hits)
	if hits := c.planted.files(t, paths).hits; !slices.ContainsFunc(hits, func(h hit) bool { return h.path == left.Name() }) {
		t.Error("what was planted in /tmp is not found")
	}
	if journal, err := exec.Command("journalctl", "--no-pager", "--since=@"+fmt.Sprint(c.since.Unix()), "-o", "export").Output(); err == nil {
		c.evidence.keep(false, "the system's journal", string(journal))
	}
}

// searchEvidence goes through all that was said, by the programs, over the engine's socket, and in the lists of processes.
func (c *canaryRun) searchEvidence() {
	t := c.t
	t.Helper()
	c.evidence.keep(false, "the daemon's log", c.log.String())
	c.evidence.flush()
	c.clean("what was said", c.values.tree(t, c.evidence.part(false)).hits)
	c.evidence.mu.Lock()
	requests, strict, exempt := 0, c.evidence.bytes[false], c.evidence.bytes[true]
	for class, n := range c.evidence.streams {
		if strings.HasPrefix(class, "request ") && !strings.HasSuffix(class, " body") {
			requests += n
		}
	}
	c.evidence.mu.Unlock()
	t.Logf("%d requests to the engine; %d MB searched, %d KB may hold values; %d values, the store read %d times", requests, strict>>20, exempt>>10, c.values.size(), c.storeReads)
	if requests < 300 || strict < 2<<20 || exempt < 10<<10 || exempt > strict/4 || c.values.size() < 20 {
		t.Error("that cannot have been all")
	}
	c.mustHit(c.values, true, "request PUT containers - archive body", "answer POST exec - start input", "output of mb-secrets get", "environments")
	c.mustHit(c.planted, false, "command lines", "environments")
}

// mustHit sees that a search finds what it must in what was kept, by class.
func (c *canaryRun) mustHit(set *secretSet, exempt bool, classes ...string) {
	c.t.Helper()
	found := set.tree(c.t, c.evidence.part(exempt))
	for _, class := range classes {
		if !slices.ContainsFunc(found.hits, func(h hit) bool { return filepath.Base(h.path) == class }) {
			c.t.Errorf("%q holds nothing of what it must: the search is blind there; %d hits", class, len(found.hits))
		}
	}
}
