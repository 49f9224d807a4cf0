package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/lockdown"
)

func mustPaths(t *testing.T, home string) config.Paths {
	t.Helper()
	paths, err := config.NewPaths(home)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// stubborn is an installation of takenCompose whose services stay up without their secret: nothing but a kill ends them.
func stubborn(t *testing.T, engine string) *installation {
	t.Helper()
	in := install(t, engine, strings.ReplaceAll(takenCompose, "test -s /run/secrets/K || exit 9; ", ""), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	return in
}

// startedByHand starts a service past minibot, and sees it run.
func (in *installation) startedByHand(service string) {
	in.t.Helper()
	before := in.started(service)
	in.docker("start", in.container(service))
	if after := in.started(service); after == before {
		in.t.Errorf("%s was not started: this proves nothing", service)
	}
}

// alive lists the project's containers that run, the keeper whether it runs or not.
func (in *installation) alive() string {
	mine := "label=com.docker.compose.project=" + in.name
	return strings.TrimSpace(in.tryDocker("ps", "--format", "{{.Names}}", "--filter", mine) +
		in.tryDocker("ps", "-a", "--format", "{{.Names}}", "--filter", mine, "--filter", "label=com.docker.compose.service=keeper"))
}

// dead waits until nothing of the project runs and the keeper is gone with its volume.
func (in *installation) dead(within time.Duration) {
	in.t.Helper()
	in.poll("dead", within, func() bool { return in.alive() == "" }, in.alive)
	if v := strings.TrimSpace(in.tryDocker("volume", "ls", "-q", "--filter", "name=^"+in.name+"_secrets$")); v != "" {
		in.t.Errorf("volume %s is left", v)
	}
}

// staysDead watches for a while that nothing is started.
func (in *installation) staysDead(during time.Duration) {
	in.t.Helper()
	end := time.Now().Add(during)
	in.poll("watched", during+time.Minute, func() bool {
		if names := in.alive(); names != "" {
			in.t.Errorf("running in a lockdown: %s", names)
			return true
		}
		return time.Now().After(end)
	}, func() string { return "" })
}

// endsDead waits until nothing has run for a while: what the engine was told to start before a lockdown may come up once, for a moment.
func (in *installation) endsDead() {
	in.t.Helper()
	since := time.Now()
	in.poll("dead for good", time.Minute, func() bool {
		if in.alive() != "" {
			since = time.Now()
		}
		return time.Since(since) > 3*time.Second
	}, in.alive)
	in.dead(0)
}

func (in *installation) lockedDown(within time.Duration) control.Status {
	in.t.Helper()
	return in.until("locked down", within, func(s control.Status) bool { return s.Phase == control.PhaseLockedDown })
}

func TestLockdown(t *testing.T) {
	t.Parallel()
	in := stubborn(t, "")
	in.start()
	in.healthy(60 * time.Second)
	begin := time.Now()
	in.must("", "minibotd", "lockdown", "--reason", "key seen in a log")
	took := time.Since(begin)
	t.Logf("three services: %v", took)
	if took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	in.dead(0)
	s := in.lockedDown(5 * time.Second)
	if s.Reason != "key seen in a log" || s.Hint != "minibotd unlock" || s.Since.After(time.Now()) {
		t.Errorf("%+v", s)
	}
	for _, args := range [][]string{{"start"}, {"start", "a"}, {"restart", "a"}, {"reload"}} {
		in.fails(1, "", "minibotd", args, "locked down", "key seen in a log", "minibotd unlock")
	}
	in.fails(1, "", "mb-secrets", []string{"rotate", "K"}, "locked down", "mb-secrets rotate --compromised")
	if r := in.run("", "minibotd", "status"); r.code != 1 || !strings.Contains(r.stdout, "locked-down") {
		t.Errorf("status: exit %d: %s", r.code, r.stdout)
	}
	if err := in.daemon.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	in.startedByHand("b")
	in.dead(10 * time.Second)

	t.Run("secrets can be read and set", func(t *testing.T) {
		if got := in.must("", "mb-secrets", "get", "K"); got != tinyCanary {
			t.Errorf("K is %q", got)
		}
		if out := in.must("canary-while-locked", "mb-secrets", "set", "K"); !strings.Contains(out, "unlock") {
			t.Errorf("set says %q", out)
		}
		if out := in.must("", "mb-secrets", "list"); !strings.Contains(out, "current") {
			t.Errorf("list says %q", out)
		}
	})
	t.Run("a second lockdown", func(t *testing.T) {
		in.must("", "minibotd", "lockdown", "--reason", "again")
		if again := in.lockedDown(time.Second); !again.Since.Equal(s.Since) || again.Reason != s.Reason {
			t.Errorf("%+v", again)
		}
	})
	for how, end := range map[string]func(){"SIGTERM": func() { in.term() }, "SIGKILL": in.kill} {
		t.Run("minibotd and "+how, func(*testing.T) {
			end()
			in.start()
			in.lockedDown(10 * time.Second)
			in.staysDead(2 * time.Second)
		})
	}
	if out := in.must("", "minibotd", "unlock"); !strings.Contains(out, "unlocked") {
		t.Errorf("unlock says %s", out)
	}
	in.healthy(time.Second)
	if got := in.agree(); got != "canary-while-locked" {
		t.Errorf("the value is %q", got)
	}
	if out := in.must("", "minibotd", "unlock"); !strings.Contains(out, "not locked down") {
		t.Errorf("a second unlock says %s", out)
	}
}

// Without a daemon the command does all of it, and also where the compose file cannot be read.
func TestLockdownWithoutADaemon(t *testing.T) {
	t.Parallel()
	in := stubborn(t, "")
	in.start()
	in.healthy(60 * time.Second)
	compose, err := os.ReadFile(in.file("compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in.kill()
	in.write("compose.yaml", "services: [")
	begin := time.Now()
	in.must("", "minibotd", "lockdown")
	t.Logf("without a daemon: %v", time.Since(begin))
	in.dead(0)
	in.start()
	in.lockedDown(10 * time.Second)
	in.startedByHand("a")
	in.dead(10 * time.Second)
	in.write("compose.yaml", string(compose))
	in.kill()
	if out := in.must("", "minibotd", "unlock"); !strings.Contains(out, "next start") {
		t.Errorf("unlock says %q", out)
	}
	in.start()
	in.healthy(60 * time.Second)
	if r := lockdown.In(mustPaths(t, in.home)).Read(); r != nil {
		t.Errorf("the record is left: %+v", r)
	}
}

// A daemon that hangs is not waited for; when it goes on, it takes the lockdown in.
func TestLockdownWithAHungDaemon(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	if err := in.daemon.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	out := in.must("", "minibotd", "lockdown")
	t.Logf("with a hung daemon: %v", time.Since(begin))
	if !strings.Contains(out, "without it") {
		t.Errorf("lockdown says %s", out)
	}
	in.dead(0)
	if err := in.daemon.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	in.lockedDown(10 * time.Second)
	in.staysDead(2 * time.Second)
}

// Killed after the record is written, and in the middle of the kills, the command too: the next start carries on.
func TestLockdownCutShort(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := stubborn(t, proxy.host())
	in.start()
	in.healthy(60 * time.Second)
	for _, cut := range []struct {
		name  string
		kills int // so many containers are killed
	}{{"after the record", 0}, {"in the middle", 1}} {
		t.Run(cut.name, func(t *testing.T) {
			reached, never := make(chan string, 64), make(chan struct{})
			pass := make(chan struct{}, cut.kills)
			for range cut.kills {
				pass <- struct{}{}
			}
			proxy.intercept(func(r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/kill") && r.Method != http.MethodDelete {
					return
				}
				select {
				case <-pass:
				default:
					reached <- r.URL.Path
					<-never
					panic(http.ErrAbortHandler) // it never gets to the engine
				}
			})
			command := exec.Command(filepath.Join(programs, "minibotd"), "lockdown")
			command.Env = in.environ()
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-reached:
			case <-time.After(20 * time.Second):
				t.Fatal("nothing was killed")
			}
			if err := command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			in.kill()
			_ = command.Wait() // killed
			close(never)
			proxy.intercept(nil)
			if in.alive() == "" {
				t.Fatal("nothing is left to kill")
			}
			in.write("compose.yaml", "services: [") // the supervisor cannot be what kills
			in.start()
			in.dead(20 * time.Second)
			in.lockedDown(5 * time.Second)
			in.write("compose.yaml", in.compose)
			in.must("", "minibotd", "unlock")
			in.healthy(60 * time.Second)
		})
	}
}

func TestTwoLockdownsAtOnceWhileTheStackStarts(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.until("starting", 60*time.Second, func(s control.Status) bool { return service(s, "a").State == "running" })
	first, second := in.background("", "minibotd", "lockdown", "--reason", "one"), in.background("", "minibotd", "lockdown", "--reason", "two")
	for _, r := range []result{<-first, <-second} {
		if r.code != 0 {
			t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
	}
	in.endsDead()
	in.must("", "minibotd", "unlock")
	in.healthy(60 * time.Second)
}

// A lockdown cancels what is under way, and unlock goes on from there.
func TestLockdownDuringAChange(t *testing.T) {
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
	setting := in.background("canary-cut-by-a-lockdown", "mb-secrets", "set", "K")
	<-reached
	locking := in.background("", "minibotd", "lockdown")
	if r := <-setting; r.code == 0 || !strings.Contains(r.stderr, "locked down") {
		t.Errorf("set: exit %d: %s", r.code, r.stderr)
	}
	proxy.intercept(nil)
	close(release) // the engine carries out the restart that it was sent
	if r := <-locking; r.code != 0 {
		t.Errorf("lockdown: exit %d: %s", r.code, r.stderr)
	}
	in.endsDead()
	in.must("", "minibotd", "unlock")
	in.healthy(60 * time.Second)
	in.agree()
}

// loadImage copies an image of the services to another engine, unless that has it from an earlier run.
func loadImage(t *testing.T, engine, variable string) {
	t.Helper()
	id := func(host ...string) string {
		out, err := exec.Command("docker", append(host, "image", "inspect", "-f", "{{.Id}}", image(variable))...).Output()
		if err != nil {
			return ""
		}
		return string(out)
	}
	if have := id("--host", engine); have != "" && have == id() {
		return
	}
	save, load := exec.Command("docker", "save", image(variable)), exec.Command("docker", "--host", engine, "load")
	pipe, err := save.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	load.Stdin = pipe
	if err := save.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := load.CombinedOutput()
	if err := errors.Join(err, save.Wait()); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
