package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

const lookedAt = `
services:
  well: { image: IMAGE, entrypoint: SLEEP, stop_grace_period: 1s, healthcheck: { test: [CMD, "true"], interval: 100ms } }
  sick: { image: IMAGE, entrypoint: SLEEP, stop_grace_period: 1s, healthcheck: { test: [CMD, test, "!", -e, /tmp/sick], interval: 100ms, retries: 1 } }
  plain: { image: IMAGE, entrypoint: SLEEP, stop_grace_period: 1s }
  lost: { image: IMAGE, entrypoint: [/no/such/program] }
`

var oneContainer = regexp.MustCompile(`/containers/[^/]+/json$`)

// counted lets a rig's calls pass a proxy that counts how many containers are inspected.
func (r *rig) counted() *atomic.Int32 {
	r.Helper()
	dir, err := os.MkdirTemp("", "mb-look-") // t.TempDir's paths are too long for a socket
	r.must(err)
	r.Cleanup(func() { r.must(os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "docker.sock")
	listener, err := net.Listen("unix", socket)
	r.must(err)
	engineSocket := strings.TrimPrefix(r.engine.Info().Host, "unix://")
	var inspected atomic.Int32
	forward := &httputil.ReverseProxy{FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "docker" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", engineSocket)
		}},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if oneContainer.MatchString(q.URL.Path) && !strings.HasSuffix(q.URL.Path, "/containers/json") {
			inspected.Add(1)
		}
		forward.ServeHTTP(w, q)
	})}
	go func() { _ = server.Serve(listener) }() // ends with Close
	r.Cleanup(func() { _ = server.Close() })
	engine, err := Dial(r.Context(), "unix://"+socket)
	r.must(err)
	r.Cleanup(func() { r.must(engine.Close()) })
	direct := r.engine
	r.engine = engine
	r.Cleanup(func() { r.engine = direct }) // the proxy ends before the project
	return &inspected
}

func (r *rig) look() map[string]Container {
	r.Helper()
	seen, more, err := r.engine.Look(r.Context(), r.project)
	r.must(err)
	r.equal("more to see", more, false)
	for name, c := range seen {
		c.Checked = time.Time{} // no event tells of a check that changes nothing
		seen[name] = c
	}
	return seen
}

func (r *rig) whole() map[string]Container {
	r.Helper()
	seen := r.seen()
	for name, c := range seen {
		c.Checked = time.Time{}
		seen[name] = c
	}
	return seen
}

// Whatever happens to a container, by us or behind our back, Look sees what Containers sees: with the events of it, and, where
// the events are lost, by the list alone.
func TestLookSeesWhatContainersSees(t *testing.T) {
	r := newRig(t, lookedAt)
	r.create()
	docker := r.engine.docker
	id := func(service string) string { return r.container(service).ID }
	memory := r.engine.memory(r.name)
	changes := []struct {
		what   string
		change func() error
		is     func(seen map[string]Container) bool
		silent bool // no list shows it
	}{
		{"started", func() error { r.start("well", "sick", "plain"); return nil }, func(s map[string]Container) bool {
			return s["well"].Health == "healthy" && s["sick"].Health == "healthy" && s["plain"].Running
		}, false},
		{"does not start", func() error {
			if r.engine.Start(t.Context(), id("lost")) == nil {
				t.Error("lost started")
			}
			return nil
		}, func(s map[string]Container) bool { return s["lost"].Error != "" }, false},
		{"killed", func() error { return docker.ContainerKill(t.Context(), id("plain"), "KILL") },
			func(s map[string]Container) bool { return s["plain"].ExitCode == 137 }, false},
		{"started by hand", func() error { return docker.ContainerStart(t.Context(), id("plain"), container.StartOptions{}) },
			func(s map[string]Container) bool { return s["plain"].Running }, false},
		{"paused", func() error {
			r.pause(id("well"))
			return nil
		}, func(s map[string]Container) bool { return s["well"].Paused }, false},
		{"unpaused", func() error { return docker.ContainerUnpause(t.Context(), id("well")) },
			func(s map[string]Container) bool { return !s["well"].Paused && s["well"].Health == "healthy" }, false},
		{"sick after a pause", func() error {
			r.sh("sick", "touch /tmp/sick")
			r.eventually("unhealthy", func() bool { return r.container("sick").Health == "unhealthy" })
			r.pause(id("sick"))
			r.must(docker.ContainerUnpause(t.Context(), id("sick")))
			r.sh("sick", "rm /tmp/sick")
			return nil
		}, func(s map[string]Container) bool { return s["sick"].Health == "healthy" }, false},
		{"sick", func() error { r.sh("sick", "touch /tmp/sick"); return nil }, func(s map[string]Container) bool { return s["sick"].Health == "unhealthy" }, false},
		{"restarted by hand", func() error { return docker.ContainerRestart(t.Context(), id("plain"), container.StopOptions{}) },
			func(s map[string]Container) bool { return s["plain"].Running }, true},
		{"renamed", func() error { return docker.ContainerRename(t.Context(), id("plain"), r.name+"-other") },
			func(s map[string]Container) bool { return s["plain"].Name == r.name+"-other" }, false},
		{"removed", func() error {
			return docker.ContainerRemove(t.Context(), id("well"), container.RemoveOptions{Force: true})
		},
			func(s map[string]Container) bool { _, there := s["well"]; return !there }, false},
		{"created", func() error { return r.engine.Create(t.Context(), r.project, nil) }, func(s map[string]Container) bool { return s["well"].Status == "created" }, false},
	}
	for _, lossy := range []bool{false, true} {
		r.watching(func(func(string) Event) {
			for _, c := range changes {
				r.look()
				if lossy && c.silent {
					continue
				}
				r.must(c.change())
				r.eventually(fmt.Sprintf("%s, events lost: %v", c.what, lossy), func() bool {
					if lossy {
						memory.mu.Lock()
						memory.told = queue{}
						memory.mu.Unlock()
					}
					seen := r.look()
					return c.is(seen) && fmt.Sprint(seen) == fmt.Sprint(r.whole())
				})
			}
		})
		for _, name := range []string{r.name + "-other", id("sick"), id("lost")} {
			r.must(docker.ContainerRemove(t.Context(), name, container.RemoveOptions{Force: true}))
		}
		r.create()
	}
}

func TestLookAsksOnlyAboutWhatMayHaveChanged(t *testing.T) {
	r := newRig(t, lookedAt)
	inspected := r.counted()
	r.create()
	looks := func(what string, want int32) {
		t.Helper()
		before := inspected.Load()
		r.look()
		r.equal(what, inspected.Load()-before, want)
	}
	looks("without a watch", 5)
	looks("again", 5)
	r.watching(func(next func(string) Event) {
		looks("the first look of a watch", 5)
		looks("nothing happened", 0)
		r.start("plain")
		next("start")
		looks("one was started", 1)
		looks("nothing happened since", 0)
		r.engine.memory(r.name).full = time.Now().Add(-fullLook)
		looks("for long", 5)
		id := r.container("plain").ID
		r.must(r.engine.docker.ContainerKill(t.Context(), id, "KILL"))
		next("die")
		r.eventually("the list shows it", func() bool {
			r.look()
			list, err := r.engine.list(t.Context(), r.project)
			r.must(err)
			return strings.Contains(fmt.Sprint(list), "exited (137)")
		})
		r.look()
		looks("it stays dead", 0)
		r.create()
		looks("a create", 5)
	})
	r.watching(func(func(string) Event) { looks("a new watch", 5) })
}

// Of a storm's containers a look inspects some; none is forgotten, and one that is listed otherwise does not wait.
func TestStormIsLookedAtInParts(t *testing.T) {
	m := &memory{}
	defer m.watch()()
	list := make([]listed, 100)
	known := map[string]another{}
	for i := range list {
		list[i] = listed{ID: fmt.Sprint(i), state: "running", age: "Up 2 hours"}
		known[list[i].ID] = another{listed: list[i]}
	}
	m.learn(known, m.take(time.Now()))
	for i := range list {
		m.tell(list[99-i].ID)
		m.tell(list[99-i].ID)
	}
	list[0].state = "exited (1)" // its event came last
	chosen := map[string]int{}
	looks := (len(list) - 2 + lookedAtOnce) / lookedAtOnce // all but the one that does not wait
	for look := range looks {
		taken := m.take(time.Now())
		now := taken.choose(list)
		if look == 0 && (now[0].ID != "0" || len(now) != lookedAtOnce+1) {
			t.Errorf("the first look inspects %v", now)
		}
		for _, c := range now {
			chosen[c.ID]++
			known[c.ID] = another{listed: c}
		}
		m.learn(known, taken)
		if left := len(m.told.ids); (left == 0) != (look == looks-1) {
			t.Errorf("look %d leaves %d", look, left)
		}
	}
	for _, c := range list {
		if chosen[c.ID] != 1 {
			t.Errorf("%s was inspected %d times", c.ID, chosen[c.ID])
		}
	}
}

// An event after one that told nothing new waits, and is not forgotten; what the list shows to be different does not wait.
func TestToldInVain(t *testing.T) {
	m, now := &memory{}, time.Now()
	defer m.watch()()
	list := []listed{{ID: "0", state: "running", age: "Up 2 hours"}}
	seen := Container{ID: "0", Running: true}
	look := func() (inspected bool) {
		taken := m.take(now)
		inspected = len(taken.choose(list)) > 0
		m.learn(map[string]another{"0": taken.another(list[0], seen)}, taken)
		return inspected
	}
	look()
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"an event", func() {}, true},
		{"another one at once", func() {}, false},
		{"nothing but time", func() { now = now.Add(vainRest) }, true},
		{"an event of a change that only the inspection shows", func() { now = now.Add(vainRest); seen.ExitCode = 1 }, true},
		{"an event after one that told something", func() {}, true},
		{"an event at once, and the list differs", func() { list[0].state = "exited (1)" }, true},
		{"an event after that", func() { seen.Checked = now }, true},
		{"a check alone is nothing new", func() {}, false},
	} {
		step.do()
		if step.what != "nothing but time" {
			m.tell("0")
		}
		if got := look(); got != step.want {
			t.Errorf("%s: inspected %v, want %v", step.what, got, step.want)
		}
	}
}

func TestListedOtherwise(t *testing.T) {
	for _, test := range []struct {
		was, is string
		want    bool
	}{
		{"Up 3 seconds", "Up 5 seconds", false},
		{"Up 59 seconds (healthy)", "Up About a minute (healthy)", false},
		{"Up 59 minutes", "Up About an hour", false},
		{"Up 47 hours", "Up 2 days", false},
		{"Up 13 days", "Up 2 weeks", false},
		{"Up 8 weeks", "Up 2 months", false},
		{"Up 23 months", "Up 2 years", false},
		{"Up 2 hours", "Up 2 hours", false},
		{"Up 2 hours", "Up 3 minutes", true},
		{"Up About a minute", "Up 2 seconds", true},
		{"Up 3 seconds", "Up Less than a second", true},
		{"Up 3 seconds", "Up 1 second", true},
		{"Up 3 seconds (health: starting)", "Up 4 seconds (healthy)", true},
		{"Up 2 hours (healthy)", "Up 2 hours (unhealthy)", true},
		{"Exited (1) 3 minutes ago", "Exited (1) 4 minutes ago", false},
		{"Exited (1) 3 minutes ago", "Exited (1) 2 seconds ago", true},
		{"Exited (1) 3 minutes ago", "Exited (137) 3 minutes ago", true},
		{"Created", "Created", false},
		{"Created", "Up 1 second", true},
		{"Up 2 hours", "Up 2 hours (Paused)", true},
	} {
		was, is := summary("running", test.was), summary("running", test.is)
		if is.differs(was) != test.want {
			t.Errorf("%q, then %q: want %v", test.was, test.is, test.want)
		}
	}
}
