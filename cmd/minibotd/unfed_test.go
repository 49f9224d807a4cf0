package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"minibot/control"
)

// fedCompose has services whose very first instruction writes to the log whether their secret is there. zero ends with 0
// at TERM, the others with 143.
const fedCompose = `name: ${MINIBOT_NAME}
x-it: &it
  image: ${MINIBOT_REDIS_IMAGE}
  entrypoint: ["sh", "-c", "test -s /run/secrets/K && echo fed || echo unfed; [ $$0 != zero ] || trap 'exit 0' TERM; while :; do sleep 3600 & wait $$!; done"]
  init: true
  stop_grace_period: 2s
  tmpfs: [/data]
  secrets: [K]
  network_mode: none
services:
  zero: { <<: *it, container_name: "${MINIBOT_NAME}-zero", command: [zero] }
  ended: { <<: *it, container_name: "${MINIBOT_NAME}-ended", command: [ended], restart: always }
  killed: { <<: *it, container_name: "${MINIBOT_NAME}-killed", command: [killed], restart: unless-stopped }
  kept: { <<: *it, container_name: "${MINIBOT_NAME}-kept", command: [kept], deploy: { restart_policy: { condition: on-failure } } }
secrets:
  K: { environment: K }
`

var fedServices = []string{"zero", "ended", "killed", "kept"}

// fed is an installation of fedCompose that runs.
func fed(t *testing.T, engine string) *installation {
	t.Helper()
	in := install(t, engine, fedCompose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(2 * time.Minute)
	return in
}

// allFed checks that every service runs, and that it has found its secret at each of at least so many starts.
func (in *installation) allFed(starts int) {
	in.t.Helper()
	for _, service := range fedServices {
		if !strings.HasSuffix(in.started(service), "true") {
			in.t.Errorf("%s does not run", service)
		}
		said := strings.Fields(in.docker("logs", in.container(service)))
		if len(said) < starts || slices.ContainsFunc(said, func(s string) bool { return s != "fed" }) {
			in.t.Errorf("%s says %q, want fed at least %d times and nothing else", service, said, starts)
		}
	}
}

// servicesUp lists the containers of the project that run, without the keeper, which the engine may start: it is empty then.
func (in *installation) servicesUp() string {
	in.t.Helper()
	names := strings.Fields(in.docker("ps", "--format", "{{.Names}}", "--filter", "label=com.docker.compose.project="+in.name))
	return strings.Join(slices.DeleteFunc(names, func(name string) bool { return name == in.name+"-keeper-1" }), " ")
}

// endEach ends three services by hand, with 0, 143 and 137; the daemon must be away.
func (in *installation) endEach() {
	in.t.Helper()
	in.docker("stop", in.container("zero"), in.container("ended"))
	in.docker("kill", in.container("killed"))
	for service, code := range map[string]string{"zero": "0", "ended": "143", "killed": "137"} {
		if got := strings.TrimSpace(in.docker("inspect", "-f", "{{.State.ExitCode}}", in.container(service))); got != code {
			in.t.Errorf("%s ended with %s, want %s: this proves nothing", service, got, code)
		}
	}
}

// happening is one of the engine's events.
type happening struct {
	at            int64 // nanoseconds, by the engine's clock
	what, service string
	code          string // of what ended
}

// listen collects the engine's events of the project, as it tells them, until the returned func is called. The engine itself
// remembers 256 of all projects only.
func (in *installation) listen() (happened func() []happening) {
	in.t.Helper()
	heard, begin := &logBuffer{}, time.Now()
	cmd := in.dockerCommand("", "events", "--since", fmt.Sprintf("%d.%09d", begin.Unix(), begin.Nanosecond()), "--filter", "label=com.docker.compose.project="+in.name,
		"--format", `{{.TimeNano}} {{index .Actor.Attributes "com.docker.compose.service"}} {{index .Actor.Attributes "exitCode"}} {{.Action}}`)
	cmd.Stdout = heard
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	end := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it was killed
	in.t.Cleanup(end)
	return func() []happening {
		in.t.Helper()
		in.poll("told of the start", 60*time.Second, func() bool { return strings.Contains(heard.String(), " killed  start\n") }, heard.String)
		end()
		var all []happening
		for line := range strings.Lines(heard.String()) {
			parts := strings.SplitN(strings.TrimSpace(line), " ", 4)
			at, err := strconv.ParseInt(parts[0], 10, 64)
			if err != nil || len(parts) != 4 {
				in.t.Fatalf("an event that says %q: %v", line, err)
			}
			what, _, _ := strings.Cut(parts[3], ":")
			all = append(all, happening{at, what, parts[1], parts[2]})
		}
		return all
	}
}

// TestKeeperIsFedBeforeAnyServiceStarts does something to the keeper and a service at once, while the daemon's calls are
// held so that it sees all of it together, and reads in the engine's own events what came first.
func TestKeeperIsFedBeforeAnyServiceStarts(t *testing.T) {
	t.Parallel()
	proxy := newEngineProxy(t)
	in := fed(t, proxy.host())
	for i, fault := range []struct {
		name     string
		commands [][]string
		up       string // the event by which the keeper is back
		kept     bool   // its files stay, so that nothing has to be delivered
	}{
		{"killed", [][]string{{"kill", "KEEPER", "SERVICE"}}, "start", false},
		{"removed", [][]string{{"kill", "SERVICE"}, {"rm", "-f", "-v", "KEEPER"}}, "start", false},
		{"restarted", [][]string{{"kill", "SERVICE"}, {"restart", "-t", "0", "KEEPER"}}, "start", false},
		{"paused", [][]string{{"kill", "SERVICE"}, {"pause", "KEEPER"}}, "unpause", true},
	} {
		t.Run("the keeper "+fault.name, func(t *testing.T) {
			direct := *in
			direct.t, direct.engine = t, "" // past the proxy
			before, happened := direct.started("killed"), direct.listen()
			direct.unseen(proxy, fault.commands)
			direct.poll("started again", time.Minute, func() bool {
				now := direct.started("killed")
				return now != before && strings.HasSuffix(now, "true")
			}, direct.servicesUp)
			direct.healthy(time.Minute)
			direct.allFed(1)
			first := fault.up
			if !fault.kept {
				first = "exec_die 0"
			}
			direct.inOrder(happened(), "keeper "+fault.up, "keeper "+first, "killed start")
			if said := strings.Count(direct.docker("logs", in.container("killed")), "fed\n"); said != i+2 {
				t.Errorf("it was started %d times, want %d", said, i+2)
			}
			if paused := strings.TrimSpace(direct.docker("inspect", "-f", "{{.State.Paused}}", in.name+"-keeper-1")); paused != "false" {
				t.Error("the keeper is paused still")
			}
		})
	}
}

// unseen runs commands of docker while the daemon's calls are held: it hears of everything and can do nothing.
func (in *installation) unseen(proxy *engineProxy, commands [][]string) {
	in.t.Helper()
	held := make(chan struct{})
	defer close(held)
	names := strings.NewReplacer("KEEPER", in.keeper(), "SERVICE", in.container("killed"))
	proxy.intercept(func(r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	})
	defer proxy.intercept(nil)
	for _, command := range commands {
		for i := range command {
			command[i] = names.Replace(command[i])
		}
		in.docker(command...)
	}
}

// inOrder checks that the first of each of the engine's events, "service what" or "service what code", came no earlier
// than that of the one before.
func (in *installation) inOrder(events []happening, wanted ...string) {
	in.t.Helper()
	last := int64(0)
	for _, want := range wanted {
		i := slices.IndexFunc(events, func(h happening) bool {
			text := h.service + " " + h.what
			return text == want || text+" "+h.code == want
		})
		if i < 0 {
			in.t.Fatalf("no %s in %+v", want, events)
		}
		if events[i].at < last {
			in.t.Errorf("%s came %v too early: %+v", want, time.Duration(last-events[i].at), events)
		}
		last = events[i].at
	}
}

// TestComposeAndDockerByHand does what people do past minibot; the services come back as minibot makes them.
func TestComposeAndDockerByHand(t *testing.T) {
	t.Parallel()
	in := fed(t, "")
	again := func() {
		t.Helper()
		in.poll("up as before", 60*time.Second, func() bool {
			s, err := in.status()
			return err == nil && s.Phase == control.PhaseHealthy && in.keeper() != "" && len(strings.Fields(in.servicesUp())) == len(fedServices) &&
				strings.TrimSpace(in.docker("inspect", "-f", `{{index .Config.Labels "com.minibot.made"}}{{.HostConfig.RestartPolicy.Name}}`, in.container("kept"))) == "1no"
		}, func() string { s, err := in.status(); return fmt.Sprintf("%+v %v %s", s, err, in.servicesUp()) })
		in.allFed(1)
	}
	t.Run("docker restart", func(t *testing.T) {
		in.docker("restart", "-t", "0", in.container("kept"))
		again()
		in.allFed(1)
		if said := in.docker("logs", in.container("kept")); said != "fed\nfed\n" {
			t.Errorf("it says %q", said)
		}
	})
	t.Run("docker compose up", func(t *testing.T) {
		// what it does to a service: another container in its place, by the file as it is, and started at once
		if err := in.daemon.Process.Signal(syscall.SIGSTOP); err != nil { // it would be faster
			t.Fatal(err)
		}
		in.docker("rm", "-f", "-v", in.container("kept"))
		args := []string{"run", "-d", "--name", in.container("kept"), "--restart", "always", "--network", "none", "--tmpfs", "/data", "--entrypoint", "sleep"}
		for key, value := range map[string]string{"project": in.name, "service": "kept", "oneoff": "False", "container-number": "1", "config-hash": "another"} {
			args = append(args, "--label", "com.docker.compose."+key+"="+value)
		}
		in.docker(append(args, image("MINIBOT_REDIS_IMAGE"), "3600")...)
		if err := in.daemon.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		again()
	})
	t.Run("docker compose down", func(*testing.T) {
		in.tryDocker("rm", "-f", "-v", in.container("zero"), in.container("ended"), in.container("killed"), in.container("kept"))
		again()
	})
	if log := in.log.String() + in.must("", "minibotd", "events"); strings.Contains(log, tinyCanary) {
		t.Error("the log or the events hold the secret")
	}
}
