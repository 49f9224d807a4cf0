package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minibot/control"
)

// faultyCompose is three services on a network, one of them with data, that eat all their memory at SIGUSR1.
const faultyCompose = `name: ${MINIBOT_NAME}
x-tiny: &tiny
  image: ${MINIBOT_REDIS_IMAGE}
  entrypoint: ["sh", "-c", "trap 'exec tail /dev/zero' USR1; test -s /run/secrets/K || exit 9; while :; do sleep 3600 & wait $$!; done"]
  init: true
  stop_grace_period: 1s
  mem_limit: 24m
  memswap_limit: 24m
  tmpfs: [/tmp, /data]
  secrets: [K]
  healthcheck: { test: ["CMD-SHELL", "test -s /run/secrets/K && ! test -e /tmp/sick"], interval: 2s, timeout: 5s, retries: 1 }
services:
  a: { <<: *tiny, container_name: "${MINIBOT_NAME}-a" }
  b: { <<: *tiny, container_name: "${MINIBOT_NAME}-b", depends_on: { a: { condition: service_healthy, restart: true } } }
  c: { <<: *tiny, container_name: "${MINIBOT_NAME}-c", volumes: ["kept:/kept"] }
volumes: { kept: {} }
secrets:
  K: { environment: K }
`

const (
	wellWithin = 90 * time.Second // of the end of a fault, on a busy machine
	stateSize  = "size=400m"
)

// faulty is an installation whose engine is its own, and is reached by a wire. Its docker commands go to the engine directly.
type faulty struct {
	*installation
	wire *wire
	dir  string // the engine's
}

// newFaulty starts an engine whose data lie on a small disk in memory.
func newFaulty(t *testing.T, name string, options ...string) *faulty {
	t.Helper()
	dir := filepath.Join(cacheDir(t), name)
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	script(t, "engine", "--private", dir, "--stop") // what a killed run left
	for mounted := true; mounted; {
		mounted = unix.Unmount(state, unix.MNT_DETACH) == nil
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, stateSize); err != nil {
		t.Fatalf("mount a small disk, as only root can: %v", err)
	}
	t.Cleanup(func() {
		script(t, "engine", "--private", dir, "--stop")
		if err := unix.Unmount(state, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	engine := script(t, "engine", append([]string{"--private", dir, "--again"}, options...)...)
	loadImage(t, engine, "MINIBOT_REDIS_IMAGE")
	w := newWire(t, engine)
	in := install(t, w.host(), faultyCompose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	direct := *in
	direct.engine = engine
	return &faulty{installation: &direct, wire: w, dir: dir}
}

// containers is what the engine itself says: name, service and status of each.
func (f *faulty) containers() [][]string {
	out := f.tryDocker("ps", "-a", "--no-trunc", "--filter", "label=com.docker.compose.project="+f.name,
		"--format", `{{.Names}}|{{.Label "com.docker.compose.service"}}|{{.Status}}`)
	var all [][]string
	for line := range strings.Lines(out) {
		all = append(all, strings.Split(strings.TrimSpace(line), "|"))
	}
	return all
}

var orphan = regexp.MustCompile(`^[0-9a-f]{12}_`)

// ill says what is not well, by the engine and by the daemon; "" when all is.
func (f *faulty) ill() string {
	s, err := f.status()
	if err != nil {
		return err.Error()
	}
	if s.Phase != control.PhaseHealthy {
		return fmt.Sprintf("%s: %s: %+v", s.Phase, s.Reason, s.Services)
	}
	count := map[string]int{}
	for _, c := range f.containers() {
		if len(c) != 3 || orphan.MatchString(c[0]) {
			return fmt.Sprint("there is ", c)
		}
		if healthy := strings.Contains(c[2], "(healthy)"); !strings.HasPrefix(c[2], "Up") || !healthy && c[1] != "keeper" || strings.Contains(c[2], "Paused") {
			return fmt.Sprint(c)
		}
		count[c[1]]++
	}
	if fmt.Sprint(count) != "map[a:1 b:1 c:1 keeper:1]" {
		return fmt.Sprint("containers by service: ", count)
	}
	return ""
}

// well waits until everything is well again, by itself.
func (f *faulty) well() {
	f.t.Helper()
	last := "?"
	f.poll("well", wellWithin, func() bool { last = f.ill(); return last == "" }, func() string {
		return last + "\n" + f.tryDocker("inspect", "-f", "{{.Name}} {{json .State}}", f.container("a"), f.container("b"), f.container("c"))
	})
}

// usage is what a daemon holds of the machine.
type usage struct{ descriptors, threads, anonymous int }

func (f *faulty) usage() usage {
	f.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", f.daemon.Process.Pid)
	count := func(name string) int {
		entries, err := os.ReadDir(proc + name)
		if err != nil {
			f.t.Fatal(err)
		}
		return len(entries)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		f.t.Fatal(err)
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		f.t.Fatalf("no RssAnon in %s", status)
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		f.t.Fatal(err)
	}
	return usage{count("fd"), count("task"), kib}
}

// notGrown allows for what a runtime keeps once it needed it: connections, threads, a heap. None of it rises with the rounds.
func (f *faulty) notGrown(base usage) {
	f.t.Helper()
	var now usage
	f.poll("as small as before", time.Minute, func() bool {
		now = f.usage()
		return now.descriptors <= base.descriptors+8 && now.threads <= base.threads+12 && now.anonymous <= base.anonymous+16<<10
	}, func() string { return fmt.Sprintf("%+v, before %+v", now, base) })
	f.t.Logf("descriptors, threads, RssAnon in KiB: %+v, before %+v", now, base)
}

// forgive has the daemon forget what failed so far, as a change of the definition does: twenty faults in two minutes would else make it
// wait ever longer, as it should.
func (f *faulty) forgive(mark string) {
	f.t.Helper()
	f.write("compose.yaml", faultyCompose+fmt.Sprintf("configs: { mark: { content: %q } }\n", mark))
	if out := f.must("", "minibotd", "reload"); strings.Contains(out, "nothing changed") {
		f.t.Fatalf("reload: %s", out)
	}
	f.well()
}

// rounds injects each fault, all of them as often as MINIBOT_FAULT_ROUNDS says.
func (f *faulty) rounds() {
	t := f.t
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("MINIBOT_FAULT_ROUNDS"), "1"))
	if err != nil {
		t.Fatal(err)
	}
	f.well()
	base := f.usage()
	for round := range rounds {
		for _, fault := range faults {
			ok := t.Run(fmt.Sprintf("%s/%d", fault.name, round+1), func(t *testing.T) {
				one := *f.installation
				one.t = t
				g := &faulty{&one, f.wire, f.dir}
				g.forgive(fmt.Sprint(fault.name, " ", round))
				began := time.Now()
				fault.inject(g)
				ended := time.Now()
				g.well()
				t.Logf("the fault took %v, the healing %v more", ended.Sub(began).Round(time.Millisecond), time.Since(ended).Round(time.Millisecond))
			})
			if !ok {
				t.FailNow() // what follows would be of no use
			}
		}
		if round == 0 && rounds > 1 { // what one round of everything needs is no leak
			base = f.usage()
		}
	}
	f.notGrown(base)
	if strings.Contains(f.log.String(), tinyCanary) {
		t.Error("the daemon's log holds the secret")
	}
}

// TestFaultsOnTheEngine has everything go wrong that can with an engine and what runs on it, one after the other: each time all is
// well again by itself, with one container for each service, and the daemon no larger.
func TestFaultsOnTheEngine(t *testing.T) {
	t.Parallel()
	newFaulty(t, "private-faults").rounds()
}

// TestFaultsOnANewerEngine is the same with Debian trixie's.
func TestFaultsOnANewerEngine(t *testing.T) {
	t.Parallel()
	newFaulty(t, "private-faults-trixie", "--release", "trixie").rounds()
}
