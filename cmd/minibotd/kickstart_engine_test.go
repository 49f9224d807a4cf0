package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minibot/control"
	"minibot/launchd"
)

// orders counts what passes a proxy on its way to the engine and may change something there, and can hold one of them.
type orders struct {
	all     atomic.Int64
	touches atomic.Int64 // those that start, end, make or remove something
	held    atomic.Pointer[held]
}

// held is an order that is not passed on.
type held struct {
	begun            func() bool  // tells whether what is to be cut has begun: other orders come before, as those that make sure of a database
	left             atomic.Int64 // orders until the one that is held
	reached, release chan struct{}
}

var touch = regexp.MustCompile(`/containers/(create|[^/]+/(start|stop|restart|kill))$`)

// see is what the proxy calls before it passes a request on.
func (o *orders) see(r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return
	}
	if r.Method == http.MethodDelete || touch.MatchString(r.URL.Path) {
		o.touches.Add(1)
	}
	o.all.Add(1)
	if h := o.held.Load(); h != nil && h.begun() && h.left.Add(-1) == 0 {
		close(h.reached)
		<-h.release
		panic(http.ErrAbortHandler)
	}
}

// cut has a change of mb-secrets come as far as one of its first orders to the engine, and the daemon started anew while that
// order is held.
func (o *orders) cut(m *mac, first int64, args ...string) {
	m.t.Helper()
	before := len(m.receipts())
	h := &held{begun: func() bool { return len(m.receipts()) > before }, reached: make(chan struct{}), release: make(chan struct{})}
	h.left.Store(1 + rand.N(first))
	o.held.Store(h)
	change := m.background("", "mb-secrets", args...)
	select {
	case <-h.reached:
	case r := <-change:
		m.t.Fatalf("%v ended before it was cut: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	m.kick()
	o.held.Store(nil)
	close(h.release)
	if r := <-change; r.code == 0 {
		m.t.Errorf("%v says that all is done, but was cut: %s", args, r.stdout)
	}
}

// kick has launchd end the daemon and start it anew.
func (m *mac) kick() {
	m.t.Helper()
	if _, stderr, exit := m.Run("kickstart", "-k", m.Target(launchd.Label)); exit != 0 {
		m.t.Fatalf("kickstart: exit %d: %s", exit, stderr)
	}
}

// later lets up to so much time pass.
func later(most time.Duration) { <-time.NewTimer(rand.N(most)).C }

// moments are what goes on at a kickstart, by name, and how many containers that starts or ends for a cause of its own.
func (m *login) moments() []moment {
	return []moment{
		{"at rest", 0, func(int) {
			later(2 * time.Second)
			m.must("", "minibotd", "kickstart", "--wait")
		}},
		{"at the start of another", 0, func(int) {
			m.kick()
			later(300 * time.Millisecond)
			m.kick()
		}},
		{"in a rotation", 0, func(int) { m.orders.cut(m.mac, 3, "rotate", "K", "--yes") }},
		{"around a change", 0, func(n int) {
			change := m.background(fmt.Sprintf("canary-login-%d", n), "mb-secrets", "set", "K")
			later(time.Second)
			m.kick()
			<-change // whatever became of it: the daemon went away
		}},
		{"around a restart", 2, func(int) { // one that was cut may have ended a container that is still to be started
			order := m.background("", "minibotd", "restart", "a")
			later(time.Second)
			m.kick()
			<-order
		}},
		{"while it waits for the store", 0, func(int) {
			m.keychain.Lock(true)
			m.kick()
			pid := m.waits(control.PhaseWaitingForStore, m.pid)
			later(2 * time.Second)
			m.kick()
			m.waits(control.PhaseWaitingForStore, pid)
			m.keychain.Lock(false)
		}},
		{"while it waits for the engine", 0, func(int) {
			m.proxy.close()
			pid := m.waits(control.PhaseWaitingForEngine, 0)
			later(2 * time.Second)
			m.kick()
			pid = m.waits(control.PhaseWaitingForEngine, pid)
			const tried = "starting Docker Desktop with `systemctl --user start docker-desktop`, attempt 1"
			m.poll("an attempt to start the engine", 20*time.Second, func() bool {
				return strings.Contains(m.must("", "minibotd", "events"), tried)
			}, m.log.String)
			m.proxy.open()
			// the next attempt would be after a minute: an engine that appears by itself is seen before
			m.until("on the engine again", 30*time.Second, func(s control.Status) bool { return s.PID == pid && s.Phase != control.PhaseWaitingForEngine })
		}},
	}
}

type moment struct {
	name    string
	touches int64
	live    func(n int)
}

// kickstarts goes through the moments, n in all. After each all is healthy, store and service agree, and no container was touched
// without a cause. It returns when the service was last started.
func (m *login) kickstarts(n int) (started string) {
	m.t.Helper()
	started = m.started("a")
	moments := m.moments()
	for i := range n {
		at := moments[i%len(moments)]
		m.pid = m.healthy(60 * time.Second).PID
		m.orders.touches.Store(0)
		at.live(i)
		m.until("healthy under another daemon", 60*time.Second, func(s control.Status) bool { return s.PID != m.pid && s.Phase == control.PhaseHealthy })
		if strings.Contains(at.name, "change") || strings.Contains(at.name, "rotation") {
			m.finished()
			m.healthy(60 * time.Second)
		}
		now := m.started("a")
		if touched := m.orders.touches.Load(); touched > at.touches || at.touches == 0 && now != started {
			m.t.Errorf("kickstart %d, %s: %d orders to containers; a started at %s, then at %s", i, at.name, touched, started, now)
		}
		started = now
		if has, want := m.has("a"), m.must("", "mb-secrets", "get", "K"); has != want || want == "" {
			m.t.Errorf("kickstart %d, %s: the service has %q, the store %q", i, at.name, has, want)
		}
	}
	return started
}

// TestKickstartInARotation starts the daemon anew in the midst of rotations of a real Postgres, of both kinds, and a real Redis.
func TestKickstartInARotation(t *testing.T) {
	t.Parallel()
	var o orders
	proxy := newEngineProxy(t)
	proxy.intercept(o.see)
	m := onAMac(t, rotating(t, proxy.host()))
	m.install()
	m.healthy(2 * time.Minute)
	values := m.agrees()
	started := func() string { return m.started("postgres") + " " + m.started("redis") }
	before := started()
	for range max(1, number(t, "MINIBOT_KICKSTARTS", 10)/3) {
		o.cut(m, 12, "rotate", "--all", "--yes")
		m.healthy(time.Minute)
		m.finished()
		m.healthy(time.Minute)
		values = m.agrees(values)
		if now := started(); now != before {
			t.Errorf("a database was restarted: %s, then %s", before, now)
		}
	}
}
