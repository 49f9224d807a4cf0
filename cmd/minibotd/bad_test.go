package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/control"
)

// oneCompose is a single service that takes new values as they come, so that a change costs a delivery and no more.
const oneCompose = `name: ${MINIBOT_NAME}
services:
  a:
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: "${MINIBOT_NAME}-a"
    entrypoint: ["sh", "-c", "while :; do sleep 3600 & wait $$!; done"]
    init: true
    stop_grace_period: 2s
    network_mode: none
    secrets: [K]
    x-minibot: { on_change: none }
    tmpfs: [/data] # the image declares a volume there: memory leaves no nameless one behind
secrets:
  K: { environment: K, x-minibot: { description: a canary } }
`

// one is an installation of oneCompose, changed by edits (old, new, …), with its secret set.
func one(t *testing.T, engine string, edits ...string) *installation {
	t.Helper()
	in := install(t, engine, strings.NewReplacer(edits...).Replace(oneCompose), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	return in
}

// fails runs a command that must end with code, and say each of the texts on stderr, and a hint.
func (in *installation) fails(code int, stdin, program string, args []string, texts ...string) {
	in.t.Helper()
	r := in.run(stdin, program, args...)
	if r.code != code || !strings.Contains(r.stderr, "hint: ") {
		in.t.Errorf("%s %v: exit %d, want %d; %s%s", program, args, r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			in.t.Errorf("%s %v says nothing of %q: %s", program, args, text, r.stderr)
		}
	}
	if strings.Contains(r.stdout+r.stderr, "canary-") {
		in.t.Errorf("%s %v shows a value: %s%s", program, args, r.stdout, r.stderr)
	}
}

// has is what a service's container has as K.
func (in *installation) has(service string) string {
	in.t.Helper()
	return in.docker("exec", in.container(service), "cat", "/run/secrets/K")
}

func (in *installation) file(name string) string { return filepath.Join(in.home, name) }

// brokenCompose are compose files that cannot be loaded, and what is said of each.
var brokenCompose = []struct{ name, text, says string }{
	{"missing", "", "compose.yaml: no such file"},
	{"malformed", "services:\n  a:\n   image: [\n", "compose.yaml:"},
	{"unknown key", strings.Replace(oneCompose, "on_change", "on_chagne", 1), "compose.yaml:11: services.a.x-minibot.on_chagne: unknown key"},
	{"undeclared secret", strings.Replace(oneCompose, "secrets: [K]", "secrets: [K, OTHER]", 1), "compose.yaml:10: services.a"},
}

func (in *installation) breakCompose(text string) {
	in.t.Helper()
	if text != "" {
		in.write("compose.yaml", text)
	} else if err := os.Remove(in.file("compose.yaml")); err != nil {
		in.t.Fatal(err)
	}
}

func TestComposeFileBrokenAtTheStart(t *testing.T) {
	t.Parallel()
	in := one(t, "")
	in.breakCompose("")
	in.start()
	for i, broken := range brokenCompose {
		if i > 0 {
			in.breakCompose(broken.text)
		}
		if i%2 == 0 {
			in.until("degraded by a compose file: "+broken.name, 60*time.Second, func(s control.Status) bool {
				return s.Phase == control.PhaseDegraded && strings.Contains(s.Reason, broken.says) && s.Hint != ""
			})
		}
		in.fails(1, "", "minibotd", []string{"reload"}, broken.says)
		in.fails(1, "canary-not-stored", "mb-secrets", []string{"set", "K"}, broken.says)
		in.fails(1, "", "minibotd", []string{"stop"}, broken.says)
		if r := in.run("", "minibotd", "status"); r.code != 1 || !strings.Contains(r.stdout, broken.says) || !strings.Contains(r.stdout, "hint: ") {
			t.Errorf("status: exit %d, %s%s", r.code, r.stdout, r.stderr)
		}
	}
	in.write("compose.yaml", oneCompose)
	in.must("", "minibotd", "reload") // ends the wait, and returns when all is up
	in.healthy(time.Second)
	if got := in.has("a"); got != tinyCanary {
		t.Errorf("a has %q", got)
	}
}

func TestComposeFileBrokenWhileTheStackRuns(t *testing.T) {
	t.Parallel()
	in := one(t, "")
	in.start()
	in.healthy(60 * time.Second)
	before := in.started("a")
	for i, broken := range brokenCompose {
		in.breakCompose(broken.text)
		in.fails(1, "", "minibotd", []string{"reload"}, broken.says)
		value := fmt.Sprintf("canary-with-a-broken-file-%d", i)
		in.must(value, "mb-secrets", "set", "K") // what is loaded stays in force
		if got := in.has("a"); got != value {
			t.Errorf("a has %q, want %q", got, value)
		}
		in.write("compose.yaml", oneCompose)
	}
	if after := in.started("a"); after != before {
		t.Errorf("a was touched: %s, then %s", before, after)
	}
	in.breakCompose("")
	in.must("", "minibotd", "stop", "a")
	in.must("", "minibotd", "start", "a")
	in.healthy(time.Second)
}

func TestSecretDeclaredButNotSet(t *testing.T) {
	t.Parallel()
	second := "  b: { image: \"${MINIBOT_REDIS_IMAGE}\", container_name: \"${MINIBOT_NAME}-b\", entrypoint: [sleep, \"3600\"], init: true, network_mode: none, secrets: [X] }\nsecrets:\n  X: { environment: X }\n"
	in := install(t, "", strings.Replace(oneCompose, "\nsecrets:\n", "\n"+second, 1), nil)
	in.fails(1, "K="+tinyCanary+"\n", "mb-secrets", []string{"init"}, "X")
	in.start()
	s := in.until("b held back", 60*time.Second, func(s control.Status) bool {
		return s.Phase == control.PhaseDegraded && service(s, "a").State == "running" && service(s, "b").State == "waiting"
	})
	if s.Hint != "mb-secrets set X" || !strings.Contains(s.Reason, "b: not set: X") {
		t.Errorf("reason %q, hint %q", s.Reason, s.Hint)
	}
	if r := in.run("", "minibotd", "status"); r.code != 1 || !strings.Contains(r.stdout, "mb-secrets set X") {
		t.Errorf("status: exit %d, %s", r.code, r.stdout)
	}
	in.must("canary-for-b", "mb-secrets", "set", "X")
	in.healthy(time.Second)
	if got := in.docker("exec", in.container("b"), "cat", "/run/secrets/X"); got != "canary-for-b" {
		t.Errorf("b has %q", got)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	_, port, err := net.SplitHostPort(holder.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in := one(t, "", "network_mode: none", `ports: ["127.0.0.1:`+port+`:6379"]`)
	in.start()
	s := in.until("held up by the port", 60*time.Second, func(s control.Status) bool { return strings.Contains(s.Reason, "port "+port+" is in use") })
	if !strings.Contains(s.Hint, port) || !strings.Contains(service(s, "a").Reason, port) {
		t.Errorf("hint %q, a: %+v", s.Hint, service(s, "a"))
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	in.healthy(40 * time.Second)
}

func TestImageMissing(t *testing.T) {
	t.Parallel()
	missing := fmt.Sprintf("minibot/absent-%d:local", os.Getpid())
	in := one(t, "", "${MINIBOT_REDIS_IMAGE}", missing)
	in.start()
	in.until("held up by the image", 60*time.Second, func(s control.Status) bool {
		return strings.Contains(s.Reason, "service a: ") && strings.Contains(s.Reason, missing) && strings.Contains(s.Hint, "docker pull "+missing)
	})
	t.Cleanup(func() { in.tryDocker("rmi", missing) }) // before the installation's own, so its containers are still there
	in.docker("tag", image("MINIBOT_REDIS_IMAGE"), missing)
	in.must("", "minibotd", "reload")
	in.healthy(time.Second)
	in.kill()
	in.tryDocker("rm", "-f", "-v", in.container("a"))
}

// First secrets are kept, though nothing can take them yet: nobody is to type them twice.
func TestFirstSecretWhereTheImageIsMissing(t *testing.T) {
	t.Parallel()
	missing := fmt.Sprintf("minibot/absent-first-%d:local", os.Getpid())
	in := install(t, "", strings.ReplaceAll(oneCompose, "${MINIBOT_REDIS_IMAGE}", missing), nil)
	in.run("", "mb-secrets", "init") // the store; K is missing
	in.start()
	in.until("held up by the image", 60*time.Second, func(s control.Status) bool { return strings.Contains(s.Reason, missing) })
	in.fails(1, "K="+tinyCanary+"\n", "mb-secrets", []string{"init"}, "stored", missing)
	if r := in.run("", "mb-secrets", "get", "K"); r.stdout != tinyCanary {
		t.Errorf("get K: %+v", r)
	}
	t.Cleanup(func() { in.tryDocker("rmi", missing) })
	in.docker("tag", image("MINIBOT_REDIS_IMAGE"), missing)
	in.must("", "minibotd", "reload")
	in.healthy(60 * time.Second)
	if has := in.has("a"); has != tinyCanary {
		t.Errorf("the service has %q", has)
	}
	in.kill()
	in.tryDocker("rm", "-f", "-v", in.container("a"))
}

func TestStoreSpoilt(t *testing.T) {
	t.Parallel()
	in := one(t, "")
	kept, err := os.ReadFile(in.file("store.age"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(in.file("age.key"))
	if err != nil {
		t.Fatal(err)
	}
	torn := string(kept[:len(kept)/2])
	waits := func(state, says string) {
		t.Helper()
		in.until("waiting for the store", 60*time.Second, func(s control.Status) bool {
			return s.Phase == control.PhaseWaitingForStore && s.Store.State == state && strings.Contains(s.Reason, says) && s.Hint != ""
		})
	}
	in.write("store.age", torn)
	in.start()
	waits("error", "store.age")
	in.fails(1, "", "minibotd", []string{"reload"}, "store.age")
	in.write("store.age", string(kept))
	in.write("age.key", strings.Replace(string(key), "1", "2", 1))
	in.fails(7, "", "minibotd", []string{"reload"}, "age.key")
	in.fails(7, "canary-not-stored", "mb-secrets", []string{"set", "K"})
	waits("denied", "age.key")
	if err := os.Rename(in.file("store.age"), in.file("elsewhere")); err != nil {
		t.Fatal(err)
	}
	in.fails(7, "", "minibotd", []string{"reload"}, "store.age")
	waits("missing", "store.age")
	in.write("age.key", string(key))
	if err := os.Rename(in.file("elsewhere"), in.file("store.age")); err != nil {
		t.Fatal(err)
	}
	in.must("", "minibotd", "reload")
	in.healthy(time.Second)

	before := in.started("a")
	in.write("store.age", torn) // behind the daemon's back
	in.fails(1, "canary-not-stored", "mb-secrets", []string{"set", "K"}, "store.age")
	in.fails(1, "", "minibotd", []string{"reload"}, "store.age")
	if got := in.has("a"); got != tinyCanary || in.started("a") != before {
		t.Errorf("a has %q, runs since %s, before %s", got, in.started("a"), before)
	}
	s, err := in.status()
	if err != nil || s.Store.State != "error" {
		t.Errorf("status: %+v, %v", s.Store, err)
	}
	in.write("store.age", string(kept))
	in.must("canary-again", "mb-secrets", "set", "K")
	if got := in.has("a"); got != "canary-again" {
		t.Errorf("a has %q", got)
	}
}

func TestOneDaemonOnly(t *testing.T) {
	t.Parallel()
	in := one(t, "unix:///nonexistent/docker.sock")
	in.start()
	in.until("waiting for the engine", 60*time.Second, func(s control.Status) bool {
		return s.Phase == control.PhaseWaitingForEngine && strings.Contains(s.Reason, "/nonexistent/docker.sock") && s.Hint != ""
	})
	in.fails(1, "", "minibotd", []string{"run"}, fmt.Sprintf("pid %d", in.daemon.Process.Pid))
	if _, err := in.status(); err != nil {
		t.Errorf("the first daemon: %v", err)
	}
	in.kill() // its socket stays
	in.fails(6, "", "minibotd", []string{"status"}, "cannot reach minibotd")
	in.start()
	in.until("back on a stale socket", 60*time.Second, func(control.Status) bool { return true })
	in.term()

	const daemons = 4
	codes := make(chan int, daemons)
	var running []*exec.Cmd
	for range daemons {
		cmd := exec.Command(filepath.Join(programs, "minibotd"), "run")
		cmd.Env, cmd.Stderr = in.environ(), in.log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
		go func() {
			_ = cmd.Wait() // the code says it
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	for range daemons - 1 {
		if code := <-codes; code != 1 {
			t.Errorf("a daemon too many ended with %d", code)
		}
	}
	s := in.until("the last one serving", 60*time.Second, func(control.Status) bool { return true })
	for _, cmd := range running {
		if err := cmd.Process.Signal(syscall.SIGTERM); (err == nil) != (cmd.Process.Pid == s.PID) {
			t.Errorf("pid %d: %v; %d serves", cmd.Process.Pid, err, s.PID)
		}
	}
	if code := <-codes; code != 0 {
		t.Errorf("the daemon that served ended with %d", code)
	}
}

func TestDaemonRefusesToStart(t *testing.T) {
	t.Parallel()
	in := install(t, "", oneCompose, nil)
	long := in.file(strings.Repeat("long", 25))
	in.fails(1, "", "minibotd", []string{"run", "--home", long}, "socket path", "at most 103")
	in.write("config.toml", "log_level = \"info\"\nstoer = \"age\"\n")
	in.fails(1, "", "minibotd", []string{"run"}, "config.toml:2", "unknown key stoer")
	in.write("config.toml", "")
	if err := os.RemoveAll(in.file("run")); err != nil {
		t.Fatal(err)
	}
	in.write("run", "a file")
	in.fails(1, "", "minibotd", []string{"run"}, "run is not a folder")
}

// Every value arrives as it is, byte for byte, or is refused with the reason.
func TestValuesArriveByteForByte(t *testing.T) {
	t.Parallel()
	in := one(t, "")
	in.start()
	in.healthy(60 * time.Second)
	last := ""
	for name, value := range map[string]string{
		"spaces":  "  canary with  spaces ",
		"quotes":  `canary 'single' "double" ` + "`back` \\",
		"dollars": "canary $HOME ${K} $$ $(id)",
		"newline": "canary line one\nline two\r\n\tline three",
		"utf-8":   "canary ü 日本 🦊",
		"latin-1": "canary \xfc\xff",
		"64 KiB":  strings.Repeat("canary64", 8<<10),
	} {
		in.must(value, "mb-secrets", "set", "K")
		if got := in.has("a"); got != value {
			t.Errorf("%s: a has %d bytes, want %d", name, len(got), len(value))
		}
		if got := in.must("", "mb-secrets", "get", "K"); got != value {
			t.Errorf("%s: the store has %d bytes, want %d", name, len(got), len(value))
		}
		last = value
	}
	in.fails(2, "canary-\x00-nul", "mb-secrets", []string{"set", "K"}, "NUL")
	in.fails(2, strings.Repeat("canary64", 8<<10)+"x", "mb-secrets", []string{"set", "K"}, "65536")
	in.fails(2, "", "mb-secrets", []string{"set", "K"}, "empty")
	if got := in.has("a"); got != last {
		t.Error("a refused value changed something")
	}
}
