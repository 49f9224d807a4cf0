package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

const exposingTwo = `name: test
services:
  s:
    image: example/s
    environment: [A]
  other: { image: example/o, secrets: [B] }
secrets:
  A: { environment: A }
  B: { environment: B }
`

// exposing is a daemon with exposure = "warn" and the compose file, and its store.
func exposing(t *testing.T, compose string) (*daemon, *guarded) {
	t.Helper()
	g := &guarded{Memory: secrets.NewMemory(), denied: map[secrets.Name]bool{}}
	d := testDaemon(t, nil)
	d.config.Exposure = config.ExposureWarn
	if err := os.WriteFile(d.paths.Compose, []byte(compose), 0o600); err != nil {
		t.Fatal(err)
	}
	d.store.set(g, nil)
	return d, g
}

func mustRefresh(t *testing.T, d *daemon) {
	t.Helper()
	if _, _, err := d.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestExposureIsRefusedUnlessTheConfigurationSaysWarn(t *testing.T) {
	d, g := exposing(t, exposingTwo)
	g.put(t, "A", "canary-a")
	d.config.Exposure = config.ExposureRefuse
	_, _, err := d.refresh(t.Context())
	var located *stack.LoadError
	if !errors.As(err, &located) || located.Line != 5 || !strings.Contains(hint.Of(err), "warn") {
		t.Errorf("%v", err)
	}
	d.config.Exposure = config.ExposureWarn
	mustRefresh(t, d)
}

// An exposed secret that is not set holds its service back, so that the daemon is up to take a value; one that is deleted
// stays in what was made of it.
func TestAnExposedSecretThatIsNotSetHoldsItsServiceBack(t *testing.T) {
	d, g := exposing(t, exposingTwo)
	mustRefresh(t, d)
	d.mu.Lock()
	if missing := d.wanted().Services["s"].Missing; !slices.Equal(missing, []string{"A"}) {
		t.Errorf("s lacks %v", missing)
	}
	unset := d.project.Hash()
	d.mu.Unlock()
	g.put(t, "A", "canary-a")
	mustRefresh(t, d)
	set := d.loaded().Hash()
	if set == unset {
		t.Error("a value that was set makes no other definition")
	}
	if err := g.Delete(t.Context(), "A", secrets.Current); err != nil {
		t.Fatal(err)
	}
	mustRefresh(t, d)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.project.Hash() != set || !slices.Equal(d.wanted().Services["s"].Missing, []string{"A"}) {
		t.Errorf("deleted: another definition %v, s lacks %v", d.project.Hash() != set, d.wanted().Services["s"].Missing)
	}
}

func TestANewValueOfAnExposedSecretIsCreatedOnce(t *testing.T) {
	d, g := exposing(t, exposingTwo)
	g.put(t, "A", "canary-a")
	g.put(t, "B", "canary-b")
	mustRefresh(t, d)
	before := d.loaded()
	for name, other := range map[secrets.Name]bool{"A": true, "B": false} {
		next, err := d.projectWith(t.Context(), map[secrets.Name]secrets.Value{name: value(t, "canary-new")})
		if err != nil || (next.Hash() != before.Hash()) != other {
			t.Errorf("%s: another definition %v, %v", name, err == nil && next.Hash() != before.Hash(), err)
		}
	}
	next, err := d.projectWith(t.Context(), map[secrets.Name]secrets.Value{"A": value(t, "canary-new")})
	if err != nil {
		t.Fatal(err)
	}
	s := &switching{daemon: d, project: next, values: map[secrets.Name]secrets.Value{"A": value(t, "canary-new")}}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.put(t, "A", "canary-new")
	mustRefresh(t, d)
	if d.creates != 2 {
		t.Errorf("%d definitions, want the first and the new one", d.creates)
	}
	if text := d.redact.Text("canary-new"); strings.Contains(text, "canary") {
		t.Error("the redaction does not know the new value")
	}
	if err := os.WriteFile(d.paths.Compose, []byte(exposingTwo+"x-note: edited\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(exposingTwo, "example/s", "example/new", 1)
	if err := os.WriteFile(d.paths.Compose, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	if next, err := d.projectWith(t.Context(), map[secrets.Name]secrets.Value{"A": value(t, "canary-third")}); err != nil || next != d.loaded() {
		t.Errorf("a file that was edited meanwhile comes into force before the change does: %v", err)
	}
}

func TestStatusAndEventsSayWhatIsExposed(t *testing.T) {
	d, g := exposing(t, exposingTwo)
	g.put(t, "A", "canary-a")
	for range 3 {
		mustRefresh(t, d)
	}
	status, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := control.Exposed{Secret: "A", Service: "s", Path: "services.s.environment.A", File: d.paths.Compose, Line: 5}
	if !slices.Equal(status.Exposed, []control.Exposed{want}) {
		t.Errorf("%+v", status.Exposed)
	}
	said := 0
	if err := d.events.Read(t.Context(), control.EventQuery{}, func(e control.Event) error {
		if e.Secret == "A" && e.Service == "s" && strings.Contains(e.Message, "passes it on in the clear: services.s.environment.A") {
			said++
		}
		return nil
	}); err != nil || said != 1 {
		t.Errorf("said %d times, %v", said, err)
	}
	silent := d.Silent("A")
	if len(silent) > 0 {
		t.Errorf("silent: %v", silent)
	}
	if users := d.usersOf([]secrets.Name{"A"}); !users["s"] || len(users) != 1 {
		t.Errorf("users: %v", users)
	}
}

// Whoever waits for one service is not done while its new container is still to be made: the old one is as well as ever.
func TestSettleWaitsForTheNewDefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := supervisor.Container{ID: "1", Running: true, Health: supervisor.HealthHealthy, Instance: "1@1", StartedAt: time.Unix(1, 0)}
		runtime := &fakeRuntime{takes: time.Minute, seen: supervisor.Seen{Fed: true, Containers: map[string]supervisor.Container{"a": running, "b": running}}}
		d := testDaemon(t, func(context.Context, string) (secrets.Store, error) { return secrets.NewMemory(), nil })
		d.supervisor = supervisor.New(runtime, supervisor.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.supervisor.Serve(ctx) }()
		services := map[string]supervisor.Service{"a": {}, "b": {}}
		for create := uint64(1); create < 3; create++ {
			began := time.Now()
			ticket := d.supervisor.Apply(supervisor.Wanted{Create: create, Services: services})
			if err := d.settle(ctx, ticket, map[string]bool{"a": true}, func(string, string) {}); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < runtime.takes {
				t.Errorf("settled after %v, before anything was made", took)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
