package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minibot/secrets"
	"minibot/stack"
)

// engineSuite is what an engine does, as far as the daemon counts on it. The real one and the simulated one pass it alike. p is of
// tinyCompose; rename is what a person's `docker rename` does.
type engineSuite struct {
	*testing.T
	e      engine
	p      *stack.Project
	rename func(from, to string)
	sicken func(id string)

	mu     sync.Mutex
	events []string // service and action
}

func (s *engineSuite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *engineSuite) is(what string, got, want any) {
	s.Helper()
	if got != want {
		s.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (s *engineSuite) see(service string) stack.Container {
	s.Helper()
	seen, more, err := s.e.Look(s.Context(), s.p)
	for err == nil && more {
		seen, more, err = s.e.Look(s.Context(), s.p)
	}
	s.must(err)
	return seen[service]
}

// until looks every tenth of a second.
func (s *engineSuite) until(what string, holds func() bool) {
	s.Helper()
	tick, end := time.NewTicker(100*time.Millisecond), time.After(40*time.Second)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.Fatalf("%s: never; events %q", what, s.events)
		}
	}
}

func (s *engineSuite) heard(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.events {
		if e == event {
			n++
		}
	}
	return n
}

func (s *engineSuite) hears(event string) {
	s.Helper()
	s.until("event "+event, func() bool { return s.heard(event) > 0 })
}

func (s *engineSuite) run() {
	ctx, cancel := context.WithCancel(s.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.e.Watch(ctx, s.p, func() { close(ready) }, func(e stack.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			action := e.Action
			if action == "die" {
				action = fmt.Sprint(action, " ", e.ExitCode)
			}
			s.events = append(s.events, e.Service+" "+action)
		})
	}()
	<-ready
	s.created()
	s.lives()
	s.sickens()
	s.goes()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		s.Error("watch:", err)
	}
}

func (s *engineSuite) created() {
	s.must(s.e.Create(s.Context(), s.p, func(string, string) {}))
	c := s.see("a")
	s.is("created: running", c.Running, false)
	s.is("created: never started", c.StartedAt.IsZero(), true)
	s.is("created: foreign", c.Foreign, false)
	s.must(s.e.Create(s.Context(), s.p, func(string, string) {}))
	s.is("a second create: id", s.see("a").ID, c.ID)
	s.hears("a create")
	seen, _, err := s.e.Look(s.Context(), s.p)
	s.must(err)
	s.is("fed before any delivery", s.e.Fed(seen), false)
	value, err := secrets.NewValue([]byte(tinyCanary))
	s.must(err)
	delivery, err := s.e.Feed(s.Context(), s.p, map[secrets.Name]secrets.Value{"K": value})
	s.must(err)
	s.is("delivered to", len(delivery.Changed), 3)
	seen, _, err = s.e.Look(s.Context(), s.p)
	s.must(err)
	s.is("fed", s.e.Fed(seen), true)
}

func (s *engineSuite) lives() {
	id := s.see("a").ID
	s.must(s.e.Start(s.Context(), id))
	s.must(s.e.Start(s.Context(), id)) // no error
	c := s.see("a")
	s.is("started: running", c.Running, true)
	s.is("started: health", c.Health, "starting")
	s.hears("a start")
	s.hears("a health_status: healthy")
	s.is("healthy", s.see("a").Health, "healthy")
	result, err := s.e.Exec(s.bounded(), id, stack.Exec{Cmd: []string{"sh", "-c", "exit 3"}})
	s.must(err)
	s.is("a command's exit code", result.ExitCode, 3)
	if err := s.e.Remove(s.Context(), id); err == nil {
		s.Error("a container that runs was removed")
	}
	s.must(s.e.Signal(s.Context(), id, "SIGKILL"))
	s.hears("a die 137")
	dead := s.see("a")
	s.is("killed: running", dead.Running, false)
	s.is("killed: exit code", dead.ExitCode, 137)
	s.is("killed: health", dead.Health, "")
	if _, err := s.e.Exec(s.bounded(), id, stack.Exec{Cmd: []string{"true"}}); err == nil {
		s.Error("a command ran in a dead container")
	}
	s.must(s.e.Restart(s.Context(), id, 0)) // one that does not run is started
	again := s.see("a")
	s.is("restarted: running", again.Running, true)
	s.is("restarted: the same run", again.Instance == c.Instance, false)
	s.is("restarted: exit code", again.ExitCode, 0)
	s.is("restarted: health", again.Health, "starting")
	s.until("healthy again", func() bool { return s.see("a").Health == "healthy" })
}

func (s *engineSuite) sickens() {
	id := s.see("a").ID
	s.sicken(id)
	s.hears("a health_status: unhealthy")
	s.until("unhealthy", func() bool { return s.see("a").Health == "unhealthy" })
	wait := time.Now().Add(4 * time.Second) // four checks
	s.until("some checks more", func() bool { return time.Now().After(wait) })
	s.is("unhealthy is told", s.heard("a health_status: unhealthy"), 1)
	s.must(s.e.Stop(s.Context(), id, 0))
	s.is("stopped: running", s.see("a").Running, false)
	s.is("stopped: health", s.see("a").Health, "")
	s.must(s.e.Stop(s.Context(), id, 0)) // no error
}

func (s *engineSuite) goes() {
	c := s.see("a")
	s.rename(c.Name, c.Name+"-x")
	s.hears("a rename")
	found, err := s.e.Container(s.Context(), s.p, "a")
	s.must(err)
	s.is("a renamed container", found.ID, c.ID)
	s.is("its name", found.Name, c.Name+"-x")
	s.must(s.e.Remove(s.Context(), c.ID))
	s.hears("a destroy")
	for what, err := range map[string]error{
		"start": s.e.Start(s.Context(), c.ID), "stop": s.e.Stop(s.Context(), c.ID, 0), "remove": s.e.Remove(s.Context(), c.ID),
	} {
		if !errors.Is(err, stack.ErrNoContainer) {
			s.Errorf("%s of a container that is gone: %v", what, err)
		}
	}
	if _, err := s.e.Container(s.Context(), s.p, "a"); !errors.Is(err, stack.ErrNoContainer) {
		s.Errorf("a container that is gone: %v", err)
	}
	s.is("listed", s.see("a").ID, "")
	s.must(s.e.Create(s.Context(), s.p, func(string, string) {}))
	s.is("made anew: the same", s.see("a").ID == c.ID, false)
	s.is("made anew: name", s.see("a").Name, c.Name)
	s.must(s.e.Withdraw(s.Context(), s.p))
	s.is("the keeper after a withdrawal", s.see(stack.KeeperService).ID, "")
}

func (s *engineSuite) bounded() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	s.Cleanup(cancel)
	return ctx
}

func TestSimulatedEngine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(tinyCompose), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := stack.Load(t.Context(), stack.LoadOptions{File: file, Env: map[string]string{"MINIBOT_NAME": "tiny", "MINIBOT_REDIS_IMAGE": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		app := simApp{check: true, boot: time.Second, stops: time.Second}
		m := newSimMachine(map[string]simApp{"a": app, "b": app, "c": app})
		e, err := m.dial(t.Context(), newMortal())
		if err != nil {
			t.Fatal(err)
		}
		locked := func(f func()) { m.mu.Lock(); defer m.mu.Unlock(); f() }
		(&engineSuite{T: t, e: e, p: p,
			rename: func(from, to string) {
				locked(func() { c := m.named(from); c.name = to; m.tell(c, "rename", 0) })
			},
			sicken: func(id string) { locked(func() { m.turn(m.all[id], "unhealthy") }) },
		}).run()
		locked(func() { m.down(false) })
	})
}

func TestRealEngineIsAsSimulated(t *testing.T) {
	t.Parallel()
	in := install(t, "", tinyCompose, nil)
	p, err := stack.Load(t.Context(), stack.LoadOptions{File: in.file("compose.yaml"),
		Env: map[string]string{"MINIBOT_NAME": in.name, "MINIBOT_REDIS_IMAGE": image("MINIBOT_REDIS_IMAGE")}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() }) // of this test alone
	s := &engineSuite{T: t, e: e, p: p, rename: func(from, to string) { in.docker("rename", from, to) }}
	s.sicken = func(id string) {
		_, err := e.Exec(s.bounded(), id, stack.Exec{Cmd: []string{"touch", "/tmp/sick"}})
		s.must(err)
	}
	s.run()
}
