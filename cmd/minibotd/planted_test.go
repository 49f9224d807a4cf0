package main

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// plantedCompose is one sound service: it runs as nobody, has a volume, and its secret in memory.
const plantedCompose = `name: ${MINIBOT_NAME}
services:
  a: &a
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: "${MINIBOT_NAME}-a"
    entrypoint: ["sh", "-c", "test -s /run/secrets/K || exit 9; trap 'exit 0' TERM; while :; do sleep 3600 & wait $$!; done"]
    user: "65534:65534"
    tmpfs: [/data]
    volumes: ["kept:/kept"]
    secrets: [K]
    network_mode: none
volumes: { kept: {} }
secrets:
  K: { environment: K, x-minibot: { description: a canary, generate: { length: 32 } } }
`

// openService is a service with every door open but one: where the tests' own machine is a container, nothing privileged starts.
const openService = `
  open:
    <<: *a
    container_name: "${MINIBOT_NAME}-open"
    user: "0"
    secrets: []
    entrypoint: ["sleep", "3600"]
    network_mode: bridge
    pid: host
    cap_add: [SYS_PTRACE]
    volumes: ["/var/run/docker.sock:/x.sock"]
    ports: ["${MINIBOT_OPEN_PORT}:80"]
volumes:`

// planted is one leak: where the audit has to find it, and how to make it. A finding is it when its place has all of what.
type planted struct {
	kind string
	what []string
	slot string // "" is current
	form string // "" is plain
}

// garden is what a test has planted, and how it is removed again.
type garden struct {
	*installation
	value, former string
	leaks         []planted
	taken         [][]string // docker commands that remove it
}

func (g *garden) grow(kind string, what ...string) {
	g.leaks = append(g.leaks, planted{kind: kind, what: what})
}

// box makes a container of its own for a leak, with args before the image; command is what sh runs.
func (g *garden) box(name string, args []string, command ...string) string {
	g.t.Helper()
	full := g.name + "-" + name
	g.taken = append(g.taken, []string{"rm", "-f", "-v", full})
	all := append([]string{"create", "--name", full, "--network", "none", "--tmpfs", "/data", "--entrypoint", "sh"}, args...)
	g.docker(append(append(all, image("MINIBOT_REDIS_IMAGE")), command...)...)
	return full
}

const boxSleeps = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"

// plantInInspects plants what an inspect says.
func (g *garden) plantInInspects() {
	v := g.value
	box := g.box("inspect", []string{"-e", "X=" + v, "-e", "OLD=" + g.former, "-e", "HEX=" + hex.EncodeToString([]byte(v)),
		"--label", "x=" + v, "--label", v + "=1", "--health-cmd", "test " + v}, "-c", "echo "+v)
	g.grow("an environment", box, "Config.Env[")
	g.leaks = append(g.leaks, planted{"a former value", []string{box, "Config.Env["}, "previous", ""},
		planted{"a value in hex", []string{box, "Config.Env["}, "", "hex"})
	g.grow("an argument of a command", box, "Config.Cmd[1]")
	g.grow("a label's value", box, "Config.Labels.x")
	g.grow("a label's key", box, "Config.Labels key")
	g.grow("a healthcheck", box, "Config.Healthcheck.Test")
	g.taken = append(g.taken, []string{"rm", "-f", "-v", v})
	g.docker("create", "--name", v, "--network", "none", "--tmpfs", "/data", image("MINIBOT_REDIS_IMAGE"))
	g.grow("a container's name", "container [redacted]", "Name")
	volume, network := g.name+"-planted", g.name+"-planted"
	g.taken = append(g.taken, []string{"volume", "rm", "-f", volume}, []string{"network", "rm", network})
	g.docker("volume", "create", "--label", "x="+v, volume)
	g.grow("a volume's label", "volume "+volume, "Labels.x")
	g.docker("network", "create", "--internal", "--label", "x="+v, network)
	g.grow("a network's label", "network "+network, "Labels.x")
}

func (g *garden) plantInAnImage() {
	name := g.name + "-planted:1"
	build := g.dockerCommand("FROM "+image("MINIBOT_REDIS_IMAGE")+"\nENV X="+g.value+"\nLABEL x="+g.value+"\nARG T\nRUN true\n",
		"build", "-q", "--network", "none", "--build-arg", "T="+g.value, "-t", name, "-")
	build.Env = append(build.Env, "DOCKER_BUILDKIT=0")
	g.taken = append(g.taken, []string{"rmi", "-f", name})
	if out, err := build.CombinedOutput(); err != nil {
		g.t.Fatalf("docker build: %v: %s", err, out)
	}
	g.grow("an image's environment", "image "+name, "Config.Env[")
	g.grow("an image's label", "image "+name, "Config.Labels.x")
	g.grow("a build argument", "image "+name, "history[0].created_by")
}

// plantInFiles plants in a container's layer, also where only docker cp gets, and in an ordinary volume.
func (g *garden) plantInFiles() {
	volume := g.name + "-files"
	g.docker("volume", "create", volume)
	box := g.box("files", []string{"-v", volume + ":/kept", "--tmpfs", "/quick"}, "-c", boxSleeps)
	g.taken = append(g.taken, []string{"volume", "rm", "-f", volume})
	g.docker("start", box)
	into := g.dockerCommand(g.value, "exec", "-i", box, "sh", "-c",
		`v=$(cat); mkdir /planted; echo "x=$v" >/planted/file; echo "x=$v" >>/etc/passwd; : >"/planted/$v"; echo "x=$v" >/kept/file; printf %s "$v" >/dev/shm/v`)
	if out, err := into.CombinedOutput(); err != nil {
		g.t.Fatalf("docker exec: %v: %s", err, out)
	}
	g.grow("a new file in a layer", box, "/planted/file")
	g.grow("a changed file in a layer", box, "/etc/passwd")
	g.grow("a file's name", box, "/planted/[redacted]")
	g.grow("a file in a volume", "volume "+volume, "/file")
	copied := g.box("copied", []string{"--tmpfs", "/quick"}, "-c", "true")
	for _, folder := range []string{"quick", "run/secrets"} { // as compose delivers its own secrets, and beneath a tmpfs
		if out, err := g.dockerCommand(string(archived(g.t, folder+"/K", g.value)), "cp", "-", copied+":/").CombinedOutput(); err != nil {
			g.t.Fatalf("docker cp: %v: %s", err, out)
		}
		g.grow("a copy in /"+folder, copied, "/"+folder+"/K")
	}
	g.docker("exec", "-d", box, "sh", "-c", "sleep 3600; :", g.value)
	g.grow("an exec", box, "ProcessConfig.arguments[2]")
	inner := g.box("process", []string{}, "-c", boxSleeps)
	g.docker("start", inner)
	if out, err := g.dockerCommand(g.value, "exec", "-i", inner, "sh", "-c", "cat >/dev/shm/v").CombinedOutput(); err != nil {
		g.t.Fatalf("docker exec: %v: %s", err, out)
	}
	g.docker("exec", "-d", inner, "sh", "-c", `exec sh -c 'sleep 3600; :' "$(cat /dev/shm/v)"`)
	g.grow("a process's argument", inner, "arguments of process")
}

func archived(t *testing.T, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// plantInLogs has containers say the value, which comes to them on their stdin.
func (g *garden) plantInLogs() {
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + g.value))
	for _, log := range []struct{ name, script, text, part, form string }{
		{"stdout", "cat", g.value, "stdout", ""}, {"stderr", "cat >&2", g.value, "stderr", ""}, {"base64", "cat", encoded, "stdout", "base64"},
	} {
		box := g.box("log-"+log.name, []string{"-i"}, "-c", log.script)
		if out, err := g.dockerCommand(log.text+"\n", "start", "-i", box).CombinedOutput(); err != nil {
			g.t.Fatalf("docker start: %v: %s", err, out)
		}
		g.leaks = append(g.leaks, planted{"a log, " + log.name, []string{box, log.part}, "", log.form})
	}
	box := g.box("log-terminal", []string{"-t"}, "-c", "while ! test -s /dev/shm/v; do sleep 0.1; done; cat /dev/shm/v; echo; "+boxSleeps)
	g.docker("start", box)
	if out, err := g.dockerCommand(g.value, "exec", "-i", box, "sh", "-c", "cat >/dev/shm/w; mv /dev/shm/w /dev/shm/v").CombinedOutput(); err != nil {
		g.t.Fatalf("docker exec: %v: %s", err, out)
	}
	g.poll("the line is logged", 60*time.Second, func() bool { return strings.Contains(g.tryDocker("logs", box), g.value) }, func() string { return "no line" })
	g.leaks = append(g.leaks, planted{"a log of a terminal", []string{box, "terminal"}, "", ""})
}

// remove takes everything away again.
func (g *garden) clear() {
	for _, args := range g.taken {
		g.tryDocker(args...)
	}
	g.taken = nil
}

// audited is what an audit reports: nothing it prints may be a value.
func (g *garden) audited() (auditReport, int) {
	g.t.Helper()
	r := g.run("", "minibotd", "audit", "--json")
	for _, v := range []string{g.value, g.former} {
		for _, form := range []string{v, base64.StdEncoding.EncodeToString([]byte(v))[:24], hex.EncodeToString([]byte(v))} {
			if strings.Contains(r.stdout+r.stderr, form) {
				g.t.Error("the audit's own output holds a value")
			}
		}
	}
	var report auditReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		g.t.Fatalf("exit %d: %v: %s", r.code, err, r.stderr)
	}
	return report, r.code
}

func (p planted) is(f control.Finding) bool {
	slot, form := p.slot, p.form
	if slot == "" {
		slot = "current"
	}
	if form == "" {
		form = "plain"
	}
	return f.Secret == "K" && f.Slot == slot && f.Form == form && !slices.ContainsFunc(p.what, func(w string) bool { return !strings.Contains(f.Place, w) })
}

// auditsClean expects an audit that finds nothing to do in this installation: notes at most. Others share the engine.
func (in *installation) auditsClean() {
	in.t.Helper()
	var report auditReport
	r := in.run("", "minibotd", "audit", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		in.t.Fatalf("exit %d: %v: %s", r.code, err, r.stderr)
	}
	if canary.MatchString(r.stdout) || report.Summary.Places < 100 {
		in.t.Errorf("the audit says a value, or has seen next to nothing: %+v", report.Summary)
	}
	for _, f := range report.Findings {
		if f.Severity != control.SeverityNote && (f.Service != "" || strings.Contains(f.Place, in.name) || strings.Contains(f.Place, in.home)) {
			in.t.Errorf("%s %s %s %s: %s", f.Severity, f.Code, f.Secret, f.Place, f.Message)
		}
	}
}

// TestPlantedLeaks plants a leak of every kind that the engine can keep, and opens every door of a service: the audit
// finds each, says no value, and finds none of them once they are gone.
func TestPlantedLeaks(t *testing.T) {
	t.Parallel()
	in := install(t, "", strings.Replace(plantedCompose, "\nvolumes:", openService, 1), map[string]string{"MINIBOT_OPEN_PORT": freePort(t)})
	user := filepath.Join(in.home, "user")
	if err := os.Mkdir(user, 0o700); err != nil {
		t.Fatal(err)
	}
	in.env = append(in.env, "HOME="+user)
	id := fmt.Sprintf("%d-%x", os.Getpid(), time.Now().UnixNano())
	g := &garden{installation: in, value: "canary-planted-" + id, former: "canary-formerly-" + id}
	t.Cleanup(g.clear)
	in.must("K="+g.former+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	in.must(g.value, "mb-secrets", "set", "K")
	g.plantInInspects()
	g.plantInAnImage()
	g.plantInFiles()
	g.plantInLogs()
	in.docker("update", "--restart=on-failure", in.container("a"))
	mighty := g.box("mighty", []string{"--privileged", "--label", "com.docker.compose.project=" + in.name, "--label", "com.docker.compose.service=mighty"}, "-c", "true")

	report, code := g.audited()
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, p := range g.leaks {
		if !slices.ContainsFunc(report.Findings, p.is) {
			t.Errorf("not found: %s (%s)", p.kind, strings.Join(p.what, ", "))
		}
	}
	open := in.container("open")
	doors := []string{"port-exposed " + open, "engine-socket-mounted " + open, "runs-as-root " + open, "privileged " + open,
		"privileged " + mighty, "restart-policy " + in.container("a")}
	for _, door := range doors {
		code, container, _ := strings.Cut(door, " ")
		if !slices.ContainsFunc(report.Findings, func(f control.Finding) bool {
			return f.Code == code && strings.Contains(f.Place, container) && f.Service != "" && f.Severity != control.SeverityNote
		}) {
			t.Errorf("not found: %s", door)
		}
	}
	t.Logf("%d leaks and %d doors planted, %+v", len(g.leaks), len(doors), report.Summary)
	if t.Failed() {
		for _, f := range report.Findings {
			if f.Secret == "K" || f.Service != "" {
				t.Logf("%s %s %s %s %s: %s", f.Severity, f.Code, f.Slot, f.Form, f.Place, f.Message)
			}
		}
	}

	g.clear()
	in.docker("update", "--restart=no", in.container("a"))
	in.write("compose.yaml", plantedCompose)
	in.must("", "minibotd", "reload")
	for _, how := range []string{"with the daemon", "without it"} {
		report, _ = g.audited()
		for _, f := range report.Findings {
			if f.Secret == "K" || f.Severity != control.SeverityNote && (f.Service != "" || strings.Contains(f.Place, in.name)) {
				t.Errorf("%s, clean: %s %s %s: %s", how, f.Severity, f.Code, f.Place, f.Message)
			}
		}
		if how == "with the daemon" {
			in.term()
		}
	}
}
