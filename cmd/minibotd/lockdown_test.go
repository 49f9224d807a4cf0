package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"minibot/control"
	"minibot/lockdown"
	"minibot/secrets"
	"minibot/supervisor"
)

func TestBreaker(t *testing.T) {
	var b breaker
	b.trip(errors.New("nobody is there"))
	first, leave := b.enter(t.Context())
	second, leaveSecond := b.enter(t.Context())
	leave()
	b.trip(control.ErrLockedDown)
	if !errors.Is(context.Cause(second), control.ErrLockedDown) || errors.Is(context.Cause(first), control.ErrLockedDown) {
		t.Errorf("%v, %v", context.Cause(first), context.Cause(second))
	}
	leaveSecond()
	if len(b.cancel) > 0 {
		t.Error("somebody is left")
	}
}

func TestHold(t *testing.T) {
	required := []secrets.Requirement{
		{Name: "DB", Rotate: secrets.Rotation{Driver: "postgres", Service: "db"}},
		{Name: "KEY"},
	}
	services := func() supervisor.Wanted {
		return supervisor.Wanted{Services: map[string]supervisor.Service{
			"db":   {DependsOn: []supervisor.Dependency{{Service: "disk"}}},
			"disk": {}, "app": {DependsOn: []supervisor.Dependency{{Service: "db"}}}, "tool": {},
		}}
	}
	w := services()
	hold(required, w)
	for name, held := range map[string]bool{"db": false, "disk": false, "app": true, "tool": true} {
		if s := w.Services[name]; (s.Held != "") != held || s.HeldHint != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if !strings.Contains(w.Services["app"].Held, "in force in db") {
		t.Errorf("app: %q", w.Services["app"].Held)
	}
	w = services()
	db := w.Services["db"]
	db.Stopped = true
	w.Services["db"] = db
	hold(required, w)
	if s := w.Services["app"]; s.HeldHint != "minibotd start db" {
		t.Errorf("app, with db stopped: %+v", s)
	}
}

// A record that a command wrote and did not tell of is heeded; without an engine, status says what may run.
func TestTheRecordIsHeeded(t *testing.T) {
	d := testDaemon(t, nil)
	if err := d.forbidden(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.unlock(t.Context(), control.Operation{}, func(_, message string) {
		if message != "not locked down" {
			t.Error(message)
		}
	})); err != nil {
		t.Error(err)
	}
	err := d.compromise(t.Context(), control.Operation{All: true}, func(string, string) {})
	if !errors.Is(err, control.ErrUsage) {
		t.Error("secrets are replaced while the stack may run:", err)
	}
	running, leave := d.lock.running.enter(t.Context())
	defer leave()
	if _, err := d.lock.file.Begin(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(d.forbidden(), control.ErrLockedDown) || d.lockedDown() != nil {
		t.Error("an action does not see the record before the daemon has")
	}
	if !d.heed(t.Context()) || d.lockedDown() == nil || !errors.Is(context.Cause(running), control.ErrLockedDown) {
		t.Errorf("not heeded: %v, %v", d.lockedDown(), context.Cause(running))
	}
	if err := d.Operate(t.Context(), control.Operation{Verb: control.VerbReload}, func(control.Progress) {}); !errors.Is(err, control.ErrLockedDown) || control.ExitCode(err) != 1 {
		t.Error("reload:", err)
	}
	d.world.host = "unix:///nowhere/docker.sock"
	if err := d.kill(t.Context()); err == nil {
		t.Error("nothing is reported where no engine is")
	}
	s, err := d.Status(t.Context())
	if err != nil || s.Phase != control.PhaseLockedDown || !strings.HasPrefix(s.Reason, "a test; containers may run: ") || s.Hint != "minibotd unlock" || s.Since.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	if err := d.lock.file.Unlock(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if d.heed(t.Context()) || d.forbidden() != nil {
		t.Error("locked down still")
	}
}

// What status and the notifier show is of one moment, whenever a lockdown begins or ends.
func TestALockdownBesideAStatus(t *testing.T) {
	d := testDaemon(t, nil)
	d.setPhase("", nil)
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	others.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			d.mu.Lock()
			if d.lock.record = nil; i%2 == 0 {
				d.lock.record = &lockdown.Record{Reason: "a test"}
			}
			d.mu.Unlock()
		}
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits for the store
	for range 10_000 {
		s, err := d.Status(gone)
		if locked := s.Phase == control.PhaseLockedDown; err != nil || locked != (s.Reason == "a test") {
			t.Fatalf("%s: %q, %v", s.Phase, s.Reason, err)
		}
		if p := d.picture(supervisor.Status{}); p.Phase == string(control.PhaseLockedDown) && p.Conditions[""].Reason != "a test" {
			t.Fatalf("%+v", p)
		}
	}
}

// A full disk keeps the record from being written; the stack is down all the same, and the record is written later.
func TestALockdownThatCannotBeWritten(t *testing.T) {
	d := testDaemon(t, nil)
	d.world.host = "unix:///nowhere/docker.sock"
	path := filepath.Join(d.paths.StateDir, "lockdown.json")
	state := d.paths.StateDir + "-away"
	if err := os.Rename(d.paths.StateDir, state); err != nil {
		t.Fatal(err)
	}
	err := d.lockDown(t.Context(), "no room", func(string, string) {})
	if err == nil || !strings.Contains(err.Error(), "record the lockdown") {
		t.Error(err)
	}
	if !d.heed(t.Context()) || d.forbidden() == nil {
		t.Error("it does not hold without its record")
	}
	if err := os.Rename(state, d.paths.StateDir); err != nil {
		t.Fatal(err)
	}
	if !d.heed(t.Context()) {
		t.Error("it ends when there is room again")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the record is not written once there is room:", err)
	}
}

func TestUnlockWithoutADaemonAndALockdown(t *testing.T) {
	home := t.TempDir()
	in := &installation{t: t, home: home, log: &logBuffer{}}
	if out := in.must("", "minibotd", "unlock"); out != "not locked down\n" {
		t.Errorf("unlock says %q", out)
	}
	if r := in.run("", "minibotd", "unlock", "--skip", "low"); r.code != 2 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if r := in.run("", "minibotd", "lockdown", "--reason", "two\nlines"); r.code != 2 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if r := lockdown.In(mustPaths(t, home)).Read(); r != nil {
		t.Errorf("%+v", r)
	}
}
