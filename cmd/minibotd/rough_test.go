package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/control"
)

// keeper is the id of the running keeper's container, or "".
func (in *installation) keeper() string {
	return strings.TrimSpace(in.tryDocker("ps", "-q", "--filter", "label=com.docker.compose.project="+in.name, "--filter", "label=com.docker.compose.service=keeper"))
}

func TestMeddling(t *testing.T) {
	t.Parallel()
	compose := strings.ReplaceAll(takenCompose, "network_mode: none", "networks: [n]\n  volumes: [\"data:/kept\"]") + "networks: { n: {} }\nvolumes: { data: {} }\n"
	in := install(t, "", compose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	all := []string{in.container("a"), in.container("b"), in.container("c")}
	in.docker("exec", in.container("a"), "sh", "-c", "echo kept > /kept/file")
	again := func() {
		t.Helper()
		in.poll("up and well", 60*time.Second, func() bool {
			s, err := in.status()
			return err == nil && s.Phase == control.PhaseHealthy && in.keeper() != "" &&
				len(strings.Fields(in.tryDocker(append([]string{"ps", "-q", "--filter", "status=running"}, "--filter", "label=com.docker.compose.project="+in.name)...))) == 4
		}, func() string { s, err := in.status(); return fmt.Sprintf("%+v %v", s, err) })
		in.agree()
	}
	for _, fault := range []struct {
		name     string
		commands [][]string
	}{
		{"keeper and services removed", [][]string{append([]string{"rm", "-f", "-v", "KEEPER"}, all...)}},
	} {
		t.Run(fault.name, func(*testing.T) {
			for _, command := range fault.commands {
				for i := range command {
					if command[i] == "KEEPER" {
						command[i] = in.keeper()
					}
				}
				in.tryDocker(command...) // the daemon may be faster with the next one
			}
			again()
		})
	}
	if got := in.docker("exec", in.container("a"), "cat", "/kept/file"); got != "kept\n" {
		t.Errorf("the data is %q", got)
	}
	t.Run("paused", func(t *testing.T) {
		in.docker("pause", in.container("c"))
		s := in.until("c paused", 60*time.Second, func(s control.Status) bool { return service(s, "c").State == "paused" })
		if s.Phase != control.PhaseDegraded || s.Hint != "docker unpause "+in.container("c") {
			t.Errorf("%+v", s)
		}
		in.docker("unpause", in.container("c"))
		again()
	})
	t.Run("the keeper paused", func(*testing.T) {
		in.docker("pause", in.keeper())
		in.must("canary-while-paused", "mb-secrets", "set", "K")
		again()
	})
}

func TestNetworkRemovedWhileTheStackIsDown(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := install(t, proxy.host(), strings.Replace(oneCompose, "network_mode: none", "networks: [n]", 1)+"networks: { n: {} }\n", nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	proxy.close() // while the daemon is blind, as over a restart of the engine
	direct := *in
	direct.engine = ""
	direct.docker("kill", in.container("a"))
	direct.docker("network", "rm", in.name+"_n")
	proxy.open()
	in.healthy(40 * time.Second)
	if got := in.has("a"); got != tinyCanary {
		t.Errorf("a has %q", got)
	}
}

func TestStorm(t *testing.T) {
	t.Parallel()
	in := taking(t, "")
	in.start()
	hangups := func(n int) {
		t.Helper()
		for range n {
			if err := in.daemon.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
	}
	in.until("the daemon serving", 60*time.Second, func(control.Status) bool { hangups(20); return true })
	in.must("", "minibotd", "stop") // in the midst of starting
	in.until("stopped", 60*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseStopped })
	hangups(100)
	var orders []<-chan result
	for range 4 {
		orders = append(orders, in.background("", "minibotd", "stop"), in.background("", "minibotd", "start"))
		hangups(10)
	}
	for _, order := range orders {
		if r := <-order; r.code != 0 {
			t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
	}
	in.must("", "minibotd", "start")
	in.healthy(30 * time.Second)
	in.agree()
	before := in.started("a")
	hangups(200)
	in.must("", "minibotd", "reload")
	if in.started("a") != before {
		t.Error("reloads with nothing to do restarted a")
	}
}

func TestHomeRemovedWhileRunning(t *testing.T) {
	t.Parallel()
	in := one(t, "")
	in.start()
	in.healthy(60 * time.Second)
	before := in.started("a")
	if err := os.Rename(in.home, in.home+"-away"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(in.home + "-away") })
	select {
	case err := <-in.exited:
		in.exited <- err
		if err == nil || in.daemon.ProcessState.ExitCode() != 1 || !strings.Contains(in.log.String(), "minibotd.lock") {
			t.Errorf("minibotd ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("minibotd goes on without what keeps a second one away")
	}
	if in.started("a") != before {
		t.Error("a did not stay up")
	}
	in.kill()
	if err := os.Rename(in.home+"-away", in.home); err != nil {
		t.Fatal(err)
	}
	in.start()
	in.healthy(60 * time.Second)
	if in.started("a") != before {
		t.Error("a was restarted")
	}
}
