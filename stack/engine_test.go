package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/compose/v5/pkg/api"

	"minibot/hint"
)

const plainServices = `
services:
  a: { image: IMAGE, entrypoint: SLEEP, stop_grace_period: 1s }
  b:
    image: IMAGE
    entrypoint: SLEEP
    environment: { MARK: "1" }
    depends_on: { a: { condition: service_healthy } }
`

func TestCreateReplacesOnlyWhatDiverged(t *testing.T) {
	r := newRig(t, plainServices)
	var mu sync.Mutex
	var reports []string
	report := func(service, message string) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, service+":"+message)
	}
	r.must(r.engine.Create(t.Context(), r.project, report))
	for _, want := range []string{"a:created", "b:created", "keeper:created", ":network " + r.name + "_default created"} {
		if !slices.Contains(reports, want) {
			t.Errorf("%q is not reported: %q", want, reports)
		}
	}
	r.start("a", "b")
	a, b := r.container("a"), r.container("b")
	reports = nil
	r.must(r.engine.Create(t.Context(), r.project, report))
	r.equal("an idle create", []string{r.container("a").Instance, r.container("b").Instance}, []string{a.Instance, b.Instance})
	r.load(strings.Replace(plainServices, `MARK: "1"`, `MARK: "2"`, 1))
	r.create()
	r.equal("a", r.container("a").Instance, a.Instance)
	now := r.container("b")
	if now.ID == b.ID || now.Running || now.Name != b.Name {
		t.Errorf("b: %+v", now)
	}
	if changed := slices.ContainsFunc(reports, func(s string) bool { return strings.Contains(s, "recreat") }); changed {
		t.Errorf("an idle create reports %q", reports)
	}
}

func TestInterruptedReplacementIsMended(t *testing.T) {
	r := newRig(t, plainServices)
	r.create()
	a, b := r.container("a"), r.container("b")
	// Killed before the old container was removed: both are there.
	info, err := r.engine.docker.ContainerInspect(t.Context(), a.ID)
	r.must(err)
	_, err = r.engine.docker.ContainerCreate(t.Context(), info.Config, info.HostConfig, nil, nil, a.ID[:12]+"_"+a.Name)
	r.must(err)
	// Killed after it: the new one alone, under its interim name.
	r.must(r.engine.docker.ContainerRename(t.Context(), b.ID, strings.Repeat("0", 12)+"_"+b.Name))
	if c := r.container("b"); c.ID != b.ID || !r.project.Unfinished(c) {
		t.Fatalf("what is left of b is taken for finished: %+v", c)
	}
	r.create()
	r.equal("b is unfinished", r.project.Unfinished(r.container("b")), false)
	r.equal("a", r.container("a").ID, a.ID)
	r.equal("b", r.container("b").ID, b.ID)
	list, err := r.engine.list(t.Context(), r.project)
	r.must(err)
	r.equal("containers", len(list), 3)
}

func TestCreateKeepsDataVolumes(t *testing.T) {
	const text = `
services: { a: { image: IMAGE, entrypoint: SLEEP, volumes: [data:/kept], secrets: [ONE] } }
volumes: { data: { labels: [kind=one] } }
secrets: { ONE: { environment: ONE } }
`
	r := newRig(t, text)
	r.create()
	r.load(strings.Replace(text, "kind=one", "kind=two", 1))
	err := r.engine.Create(t.Context(), r.project, nil)
	if err == nil || !strings.Contains(err.Error(), r.name+"_data") || !strings.Contains(hint.Of(err), "volume rm") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	r.load(text)
	r.engine.noswap = !r.engine.noswap // the engine's kernel changed: memory-backed volumes are made anew
	if !r.engine.noswap {
		r.create()
	}
}

func TestImageMissing(t *testing.T) {
	r := newRig(t, "services: { a: { image: \"mbstack/none:1\" } }\n")
	err := r.engine.Create(t.Context(), r.project, nil)
	if !errors.Is(err, ErrImageMissing) || !strings.Contains(err.Error(), "service a") || !strings.Contains(err.Error(), "mbstack/none:1") ||
		!strings.Contains(hint.Of(err), "docker pull mbstack/none:1") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	list, err := r.engine.list(t.Context(), r.project)
	r.must(err)
	r.equal("containers", len(list), 0)
}

func TestPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	r := newRig(t, fmt.Sprintf(`
services:
  a: { image: IMAGE, entrypoint: SLEEP, ports: ["127.0.0.1:%d:80"], network_mode: bridge }
`, port))
	r.create()
	c := r.container("a")
	err = r.engine.Start(t.Context(), c.ID)
	var taken *PortError
	if !errors.As(err, &taken) || taken.Port != fmt.Sprint(port) || !strings.Contains(err.Error(), c.Name) || !strings.Contains(hint.Of(err), "lsof") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestContainerStates(t *testing.T) {
	r := newRig(t, `
services:
  well: { image: IMAGE, entrypoint: SLEEP, healthcheck: { test: [CMD, "true"], interval: 100ms } }
  sick: { image: IMAGE, entrypoint: SLEEP, healthcheck: { test: [CMD, "false"], interval: 100ms, retries: 1 } }
  ends: { image: IMAGE, entrypoint: [/bin/sh, -c, exit 3] }
  lost: { image: IMAGE, entrypoint: [/no/such/program] }
`)
	r.create()
	r.equal("created", r.container("well").Status, "created")
	r.equal("never started", r.container("well").StartedAt.IsZero(), true)
	r.start("well", "sick", "ends")
	if err := r.engine.Start(t.Context(), r.container("lost").ID); err == nil || !strings.Contains(err.Error(), r.name+"-lost-1") {
		t.Errorf("a start that fails: %v", err)
	}
	r.eventually("healths", func() bool {
		seen := r.seen()
		return seen["well"].Health == "healthy" && seen["sick"].Health == "unhealthy" && !seen["ends"].Running
	})
	seen := r.seen()
	r.equal("exit code", seen["ends"].ExitCode, 3)
	r.equal("the engine's words", strings.Contains(seen["lost"].Error, "/no/such/program"), true)
	r.equal("all of them", len(seen), 5)
	before := seen["well"]
	r.pause(before.ID)
	r.equal("paused", r.container("well").Paused, true)
	r.must(r.engine.docker.ContainerUnpause(t.Context(), before.ID))
	if health := r.container("well").Health; health == "unhealthy" { // as the engine calls it until the next check
		t.Error("a pause made it unhealthy")
	}
	r.must(r.engine.docker.ContainerKill(t.Context(), before.ID, "KILL"))
	r.eventually("killed", func() bool { return !r.container("well").Running })
	after := r.container("well")
	r.equal("health counts only while it runs", after.Health, "")
	r.equal("exit code of a kill", after.ExitCode, 137)
	r.start("well")
	if again := r.container("well"); again.Instance == before.Instance || again.ID != before.ID {
		t.Errorf("instance %s, was %s", again.Instance, before.Instance)
	}
	if err := r.engine.Remove(t.Context(), before.ID); err == nil {
		t.Error("removed a running container")
	}
	r.must(r.engine.Stop(t.Context(), before.ID, 0))
	r.must(r.engine.Stop(t.Context(), before.ID, 0))
	r.must(r.engine.Remove(t.Context(), before.ID))
	for verb, err := range map[string]error{"start": r.engine.Start(t.Context(), before.ID), "restart": r.engine.Restart(t.Context(), before.ID, 0),
		"stop": r.engine.Stop(t.Context(), before.ID, 0), "remove": r.engine.Remove(t.Context(), before.ID), "signal": r.engine.Signal(t.Context(), before.ID, "SIGHUP")} {
		if !errors.Is(err, ErrNoContainer) {
			t.Errorf("%s what is gone: %v", verb, err)
		}
	}
	if _, there := r.seen()["well"]; there {
		t.Error("well is still seen")
	}
}

func TestRestartHonoursStopGracePeriod(t *testing.T) {
	r := newRig(t, `
services:
  a: { image: IMAGE, entrypoint: [/bin/sh, -c, "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"], stop_grace_period: 5s }
`)
	r.create()
	r.start("a")
	var die Event
	r.watching(func(events func(string) Event) {
		r.must(r.engine.Restart(t.Context(), r.container("a").ID, 0))
		die = events("die")
	})
	r.equal("exit code", die.ExitCode, 0) // 137 had it been killed
}

// watching runs during while a subscription stands; its events(action) waits for the next event of that name.
func (r *rig) watching(during func(events func(action string) Event)) []Event {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ready, stream, ended := make(chan struct{}), make(chan Event, 1024), make(chan error, 1)
	go func() {
		ended <- r.engine.Watch(ctx, r.project, func() { close(ready) }, func(e Event) { stream <- e })
	}()
	select {
	case <-ready:
	case err := <-ended:
		r.Fatal(err)
	}
	var all []Event
	during(func(action string) Event {
		r.Helper()
		timeout := time.After(20 * time.Second)
		for {
			select {
			case e := <-stream:
				if all = append(all, e); e.Action == action {
					return e
				}
			case <-timeout:
				r.Fatalf("no event %q; got %+v", action, all)
			}
		}
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		r.Errorf("watch ended with %v", err)
	}
	return all
}

func TestWatch(t *testing.T) {
	r := newRig(t, `
services:
  a: { image: IMAGE, entrypoint: SLEEP, healthcheck: { test: [CMD, test, "!", -e, /tmp/sick], interval: 200ms, retries: 1 } }
`)
	r.create()
	c := r.container("a")
	all := r.watching(func(next func(string) Event) {
		r.start("a")
		if e := next("start"); e.Service != "a" || e.Container != c.ID || time.Since(e.Time).Abs() > time.Minute {
			t.Errorf("%+v", e)
		}
		next("health_status: healthy")
		r.sh("a", "touch /tmp/sick")
		next("health_status: unhealthy")
		r.pause(c.ID)
		next("pause")
		r.must(r.engine.docker.ContainerUnpause(t.Context(), c.ID))
		next("unpause")
		r.must(r.engine.docker.ContainerKill(t.Context(), c.ID, "KILL"))
		r.equal("exit code", next("die").ExitCode, 137)
		r.must(r.engine.Remove(t.Context(), c.ID))
		next("destroy")
	})
	for _, e := range all {
		if strings.HasPrefix(e.Action, "exec") || strings.HasPrefix(e.Action, "kill") {
			t.Errorf("not filtered: %+v", e)
		}
	}
}

func TestWatchEndsWhenTheEngineDoes(t *testing.T) {
	h := newHome(t)
	h.other = func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(`{"Type":"container","Action":"die","Actor":{"ID":"1","Attributes":{"exitCode":"9"}}}`))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // as when it is killed
	}
	e, err := Dial(t.Context(), h.serve("fake.sock", "20.10.24"))
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, "name: x\nservices: { a: { image: a } }\n")
	var got []Event
	ready := 0
	err = e.Watch(t.Context(), p, func() { ready++ }, func(e Event) { got = append(got, e) })
	if !IsUnreachable(err) || ready != 1 || len(got) != 1 || got[0].ExitCode != 9 {
		t.Errorf("%v, ready %d times, events %+v", err, ready, got)
	}
	for call, err := range map[string]error{
		"containers": second(e.Containers(t.Context(), p)), "container": second(e.Container(t.Context(), p, "a")), "start": e.Start(t.Context(), "a"),
		"restart": e.Restart(t.Context(), "a", 0), "exec": second(e.Exec(t.Context(), "a", Exec{Cmd: []string{"a"}})), "feed": second(e.Feed(t.Context(), p, nil)), "mark": e.MarkTaken(t.Context(), p, "a", ""), "delivered": second(e.Delivered(t.Context(), p, "a")),
		"withdraw": e.Withdraw(t.Context(), p), "prepare": second(e.Prepare(t.Context(), p, nil)), "stream": second(e.Stream(t.Context(), "a", []string{"a"}, "")),
		"kill": e.KillProject(t.Context(), "x"), "logs": e.Logs(t.Context(), "a", LogOptions{}, nil), "create": e.Create(t.Context(), p, nil),
		"compose": wrap(e.compose.Create(t.Context(), p.forEngine(nil, false), api.CreateOptions{}), "create"),
	} {
		if !IsUnreachable(err) || hint.Of(err) == "" {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestWatchRefused(t *testing.T) {
	h := newHome(t)
	e, err := Dial(t.Context(), h.serve("fake.sock", "20.10.24"))
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, "name: x\nservices: { a: { image: a } }\n")
	if err := e.Watch(t.Context(), p, func() { t.Error("ready, though the engine refused") }, nil); err == nil || IsUnreachable(err) {
		t.Errorf("%v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestExec(t *testing.T) {
	r := newRig(t, "services: { a: { image: IMAGE, entrypoint: SLEEP } }\n")
	r.create()
	id := r.container("a").ID
	if _, err := r.engine.Exec(t.Context(), id, Exec{Cmd: []string{"true"}}); err == nil || !strings.Contains(err.Error(), r.name+"-a-1") {
		t.Errorf("in a container that does not run: %v", err)
	}
	r.start("a")
	run := func(x Exec) ExecResult {
		t.Helper()
		result, err := r.engine.Exec(t.Context(), id, x)
		r.must(err)
		return result
	}
	stdin := bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16)
	if got := run(Exec{Cmd: []string{"cat"}, Stdin: stdin}); !bytes.Equal(got.Stdout, stdin) || got.ExitCode != 0 {
		t.Errorf("64 KiB came back as %d bytes, exit %d", len(got.Stdout), got.ExitCode)
	}
	got := run(Exec{Cmd: []string{"/bin/sh", "-c", "echo out; echo err >&2; id -u; exit 7"}, User: "1000"})
	if string(got.Stdout) != "out\n1000\n" || string(got.Stderr) != "err\n" || got.ExitCode != 7 {
		t.Errorf("%+v", got)
	}
	if got := run(Exec{Cmd: []string{"false"}, Stdin: stdin}); got.ExitCode != 1 {
		t.Errorf("a command that does not read: %+v", got)
	}
	if got := run(Exec{Cmd: []string{"head", "-c", "3000000", "/dev/zero"}}); len(got.Stdout) != maxOutput {
		t.Errorf("%d bytes kept", len(got.Stdout))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := r.engine.Exec(ctx, id, Exec{Cmd: []string{"sleep", "5"}}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestLogs(t *testing.T) {
	r := newRig(t, `
services:
  a: { image: IMAGE, entrypoint: [/bin/sh, -c, "echo one; echo two >&2; echo three"] }
  tty: { image: IMAGE, tty: true, entrypoint: [/bin/sh, -c, echo tty] }
`)
	r.create()
	r.start("a", "tty")
	read := func(service string, o LogOptions) string {
		t.Helper()
		var text bytes.Buffer
		r.must(r.engine.Logs(t.Context(), r.container(service).ID, o, &text))
		return text.String()
	}
	if got := read("a", LogOptions{Follow: true}); len(got) != len("one\ntwo\nthree\n") || !strings.Contains(got, "two\n") {
		t.Errorf("%q", got)
	}
	if got := read("a", LogOptions{Tail: 1, Timestamps: true}); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "20") {
		t.Errorf("%q", got)
	}
	r.equal("tty", strings.TrimSpace(read("tty", LogOptions{Follow: true})), "tty")
	if err := r.engine.Logs(t.Context(), "none", LogOptions{}, nil); !errors.Is(err, ErrNoContainer) {
		t.Errorf("%v", err)
	}
}

func TestIdleFeedAsksOnce(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	begin := time.Now()
	const rounds = 20
	for range rounds {
		r.feed("ONE", "1", "TWO", "2")
	}
	t.Logf("an idle feed takes %v", time.Since(begin)/rounds)
}
