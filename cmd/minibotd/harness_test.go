package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"minibot/control"
)

var programs string // folder of the two built programs

// atOnce is how many tests run at the same time: they wait for containers most of the time, whatever the machine has. Each of
// their healthchecks is an exec, some ten processes of the engine, so that more of them slow one another down.
const atOnce = "3"

func TestMain(m *testing.M) {
	listenIfAsked()
	debug.SetGCPercent(400)                                   // the simulations make much garbage and keep little
	if err := flag.Set("test.parallel", atOnce); err != nil { // the command line still wins
		panic(err)
	}
	if err := os.Unsetenv("DBUS_SESSION_BUS_ADDRESS"); err != nil { // whoever runs the tests has a keyring of their own
		panic(err)
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "minibot-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	if err := build(dir, ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes the two programs in a folder; linked is what is given to their linker.
func build(dir, linked string) error {
	cmd := exec.Command("go", "build", "-tags", "crashpoints", "-ldflags", linked, "-o", dir+"/", "minibot/cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w: %s", err, out)
	}
	return nil
}

var installations atomic.Int32

// installation is one MINIBOT_HOME with a compose project of its own on a real engine.
type installation struct {
	t          *testing.T
	home, name string
	engine     string // DOCKER_HOST; "" is the test's own
	programs   string // folder of programs of its own; "" for those of all tests
	env        []string
	compose    string // as installed
	daemon     *exec.Cmd
	exited     chan error
	log        *logBuffer
}

// logBuffer collects a daemon's output.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// install makes a home with the given compose file; env goes into config.toml's [env].
func install(t *testing.T, engine, compose string, env map[string]string) *installation {
	t.Helper()
	home, err := os.MkdirTemp("", "mb-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{t: t, home: home, engine: engine, log: &logBuffer{}, compose: compose,
		name: fmt.Sprintf("mbt-%d-%d", os.Getpid(), installations.Add(1))}
	lines := []string{}
	if engine != "" {
		lines = append(lines, fmt.Sprintf("docker_host = %q", engine))
	}
	lines = append(lines, "[env]", fmt.Sprintf("MINIBOT_NAME = %q", in.name))
	for _, key := range []string{"MINIBOT_POSTGRES_IMAGE", "MINIBOT_REDIS_IMAGE", "MINIBOT_OPENCLAW_IMAGE"} {
		if image := image(key); image != "" {
			lines = append(lines, fmt.Sprintf("%s = %q", key, image))
		}
	}
	for key, value := range env {
		lines = append(lines, fmt.Sprintf("%s = %q", key, value))
	}
	in.write("config.toml", strings.Join(lines, "\n")+"\n")
	in.write("compose.yaml", compose)
	t.Cleanup(in.remove)
	return in
}

// image is the image a compose variable stands for: the environment's, or the local one.
func image(variable string) string {
	if v := os.Getenv(variable); v != "" {
		return v
	}
	return "minibot/" + strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(variable, "MINIBOT_"), "_IMAGE")) + ":local"
}

// built is the path of one of the two programs.
func (in *installation) built(program string) string {
	return filepath.Join(cmp.Or(in.programs, programs), program)
}

// configure puts a line before those of config.toml.
func (in *installation) configure(line string) {
	in.t.Helper()
	text, err := os.ReadFile(in.file("config.toml"))
	if err != nil {
		in.t.Fatal(err)
	}
	in.write("config.toml", line+"\n"+string(text))
}

func (in *installation) write(name, text string) {
	in.t.Helper()
	if err := os.WriteFile(filepath.Join(in.home, name), []byte(text), 0o600); err != nil {
		in.t.Fatal(err)
	}
}

// remove ends the daemon and takes the project off the engine.
func (in *installation) remove() {
	in.kill()
	label := "label=com.docker.compose.project=" + in.name
	for _, kind := range []string{"container", "volume", "network"} {
		list := []string{kind, "ls", "-q", "--filter", label}
		if kind == "container" {
			list = append(list, "-a")
		}
		ids := strings.Fields(in.tryDocker(list...))
		if len(ids) == 0 {
			continue
		}
		rm := []string{kind, "rm"}
		if kind == "container" {
			rm = append(rm, "-f", "-v")
		}
		in.tryDocker(append(rm, ids...)...)
	}
	if in.t.Failed() {
		in.t.Logf("the daemon's log:\n%s", in.log)
	}
	_ = os.RemoveAll(in.home)
}

func (in *installation) environ() []string {
	env := append(os.Environ(), "MINIBOT_HOME="+in.home, "NO_COLOR=1")
	env = append(env, in.env...)
	if in.engine != "" {
		env = append(env, "DOCKER_HOST="+in.engine)
	}
	return env
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// run executes one of the two programs.
func (in *installation) run(stdin, program string, args ...string) result {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.built(program), args...)
	cmd.Env, cmd.Stdin = in.environ(), strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		in.t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is run, for what has to work; it returns both streams.
func (in *installation) must(stdin, program string, args ...string) string {
	in.t.Helper()
	r := in.run(stdin, program, args...)
	if r.code != 0 {
		in.t.Fatalf("%s %s: exit %d\n%s%s", program, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout + r.stderr
}

// start runs the daemon; env is added to its environment.
func (in *installation) start(env ...string) {
	in.t.Helper()
	cmd := exec.Command(in.built("minibotd"), "run")
	cmd.Env = append(in.environ(), env...)
	cmd.Stdout, cmd.Stderr = in.log, in.log
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	in.daemon, in.exited = cmd, make(chan error, 1)
	go func() { in.exited <- cmd.Wait() }()
}

// kill is SIGKILL, as a crash would be.
func (in *installation) kill() {
	if in.daemon != nil {
		_ = in.daemon.Process.Kill() // it may have ended
		<-in.exited
		in.daemon = nil
	}
}

// term ends the daemon as launchd would, and returns how long that took.
func (in *installation) term() time.Duration {
	in.t.Helper()
	begin := time.Now()
	if err := in.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		in.t.Fatal(err)
	}
	if err := <-in.exited; err != nil {
		in.t.Fatalf("minibotd ended with %v", err)
	}
	in.daemon = nil
	return time.Since(begin)
}

func (in *installation) status() (control.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return (&control.Client{Socket: filepath.Join(in.home, "run", "minibotd.sock")}).Status(ctx)
}

// until waits for the daemon to show a status that satisfies ok.
func (in *installation) until(what string, within time.Duration, ok func(control.Status) bool) control.Status {
	in.t.Helper()
	var last control.Status
	in.poll(what, within, func() bool {
		status, err := in.status()
		if err != nil {
			return false
		}
		last = status
		return ok(status)
	}, func() string { text, _ := json.MarshalIndent(last, "", " "); return string(text) })
	return last
}

// patience is how many times as long as on a quiet machine something may take: a busy one is no fault.
const patience = 3

// poll asks the real world again until ok or the deadline: every 100 ms, or as rarely as leaves the machine to what is asked for.
func (in *installation) poll(what string, within time.Duration, ok func() bool, state func() string) {
	in.t.Helper()
	for deadline := time.Now().Add(patience * within); ; {
		asked := time.Now()
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			in.t.Fatalf("not %s within %v: %s", what, patience*within, state())
		}
		<-time.After(min(max(100*time.Millisecond, 4*time.Since(asked)), time.Second))
	}
}

func (in *installation) healthy(within time.Duration) control.Status {
	in.t.Helper()
	return in.until("healthy", within, func(s control.Status) bool { return s.Phase == control.PhaseHealthy })
}

func service(s control.Status, name string) control.Service {
	for _, v := range s.Services {
		if v.Name == name {
			return v
		}
	}
	return control.Service{}
}

func (in *installation) dockerCommand(stdin string, args ...string) *exec.Cmd {
	cmd := exec.Command("docker", args...)
	cmd.Env, cmd.Stdin = in.environ(), strings.NewReader(stdin)
	return cmd
}

// docker runs the docker command, which must work, again where it could not freeze a container: it may not in the midst of a healthcheck.
func (in *installation) docker(args ...string) string {
	in.t.Helper()
	out, err := in.dockerCommand("", args...).CombinedOutput()
	for range 10 {
		if err == nil || !strings.Contains(string(out), "unable to freeze") {
			break
		}
		out, err = in.dockerCommand("", args...).CombinedOutput()
	}
	if err != nil {
		in.t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (in *installation) tryDocker(args ...string) string {
	out, err := in.dockerCommand("", args...).Output()
	if err != nil {
		in.t.Logf("docker %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// container is the name of a service's container.
func (in *installation) container(service string) string { return in.name + "-" + service }

// ports counts the ports handed out, from below those that the system gives to clients (32768 and up).
var ports atomic.Int32

// freePort is a loopback port that nobody uses now, and that no other call returns.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20000 + (os.Getpid()+int(ports.Add(1)))%12000)
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no free port")
	return ""
}
