package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/enginestart"
	"minibot/hint"
	"minibot/stack"
	"minibot/supervisor"
)

// shellProgram writes a stand-in program.
func shellProgram(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// messages are those of one kind of event.
func (d *daemon) messages(t *testing.T, kind string) (out []string) {
	t.Helper()
	if err := d.Events(t.Context(), control.EventQuery{}, func(e control.Event) error {
		if e.Kind == kind {
			out = append(out, e.Message)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnEngineThatIsNotWantedIsNotStarted(t *testing.T) {
	d := testDaemon(t, nil)
	if err := d.needsNoEngine(); err != nil { // the project is not loaded yet
		t.Error(err)
	}
	d.project = &stack.Project{Services: map[string]stack.Service{"a": {}, "b": {}}}
	d.intent = intent{Services: []string{"a"}}
	if err := d.needsNoEngine(); err != nil {
		t.Error(err)
	}
	d.intent = intent{All: true}
	if err := d.needsNoEngine(); err == nil || !strings.Contains(err.Error(), "stopped on request") {
		t.Errorf("%v", err)
	}
	d.intent = intent{}
	if _, err := d.lock.file.Begin(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	d.heed(t.Context())
	if err := d.needsNoEngine(); err == nil || !strings.Contains(err.Error(), "locked down") {
		t.Errorf("%v", err)
	}
}

// The starter of a daemon whose engine is absent runs the stand-in, and the event log tells of it. With start = "off" it returns.
func TestAnAbsentEngineHasItsProgramRun(t *testing.T) {
	dir := t.TempDir()
	shellProgram(t, filepath.Join(dir, "bin/systemctl"), `echo "$@" > "`+dir+`/asked"; echo canary >&2; exit 4`)
	shellProgram(t, filepath.Join(dir, "units/docker.service"), "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	d := testDaemon(t, nil)
	d.config.DockerHost = "unix://" + dir + "/docker.sock"
	d.world.host = d.config.DockerHost
	d.startEngine(t.Context()) // off: returns at once
	starter := d.engineStarter(enginestart.Machine{GOOS: "linux", Path: []string{filepath.Join(dir, "bin")}, Units: []string{filepath.Join(dir, "units")}})
	failed := make(chan error, 1)
	starter.Say = func(message string, err error) {
		d.sayEngine(message, err)
		if err != nil {
			failed <- err
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	supervised, started := make(chan error, 1), make(chan struct{})
	go func() { supervised <- d.supervisor.Serve(ctx) }()
	go func() { defer close(started); starter.Serve(ctx) }()
	err := <-failed
	cancel()
	<-started
	if err := <-supervised; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err.Error() != "start rootless Docker: exit status 4" || hint.Of(err) == "" {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	if asked, err := os.ReadFile(filepath.Join(dir, "asked")); err != nil || string(asked) != "--user start docker\n" {
		t.Errorf("%q, %v", asked, err)
	}
	want := "no engine answers: starting rootless Docker with `systemctl --user start docker`, attempt 1\n" +
		"start rootless Docker: exit status 4 (run `systemctl --user start docker` and see what it says)"
	if got := strings.Join(d.messages(t, "engine"), "\n"); got != want {
		t.Errorf("events:\n%s", got)
	}
}

// A wake lets go of the connection: the next look makes a new one.
func TestAWakeForgetsTheConnection(t *testing.T) {
	w := testDaemon(t, nil).world
	w.engine = connection{&stack.Engine{}}
	w.forget()
	if w.engine != nil {
		t.Error("the connection of before the sleep is kept")
	}
	w.forget() // twice is no harm
	if text := eventText(supervisor.Event{Kind: supervisor.EventWoke, Reason: "woke after 3h12m"}); text != "woke after 3h12m" {
		t.Errorf("%q", text)
	}
}

// Only macOS has caffeinate: elsewhere, and where nobody wants it, nothing runs.
func TestStayAwakeHeedsTheConfiguration(t *testing.T) {
	d := testDaemon(t, nil)
	stayAwake(t.Context(), config.Config{}, d.log) // returns at once
}

// No engine answers at the start; minibotd starts the rootless one, here a stand-in that lets the test's own engine appear,
// and the stack comes up.
func TestAbsentEngineIsStarted(t *testing.T) {
	t.Parallel()
	socket, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if !ok {
		socket = "/var/run/docker.sock"
	}
	dir, err := os.MkdirTemp("", "mb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the temporary folder
	shellProgram(t, filepath.Join(dir, "bin/systemctl"), `test "$*" = "--user start docker" && ln -s "`+socket+`" "`+dir+`/docker.sock"`)
	shellProgram(t, filepath.Join(dir, ".config/systemd/user/docker.service"), "")
	compose := tinyCompose[:strings.Index(tinyCompose, "  b:")] + tinyCompose[strings.Index(tinyCompose, "secrets:\n  K: {"):]
	in := install(t, "unix://"+dir+"/docker.sock", compose, nil)
	in.env = append(in.env, "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	in.configure(`engine.start = "auto"`)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	status := in.healthy(60 * time.Second)
	if status.Engine.Reason != "docker_host or --docker-host" || status.Engine.Host == "" {
		t.Errorf("%+v", status.Engine)
	}
	if out := in.must("", "minibotd", "events"); !strings.Contains(out, "starting rootless Docker with `systemctl --user start docker`, attempt 1") {
		t.Errorf("%s", out)
	}
	if out := in.must("", "minibotd", "status"); !strings.Contains(out, " by docker_host or --docker-host, store ") {
		t.Errorf("%s", out)
	}
}
