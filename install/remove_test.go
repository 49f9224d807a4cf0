package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// installedAt is an installation whose daemon is this process, as far as the lock tells.
func installedAt(t *testing.T) (*fake, *Removal, func()) {
	t.Helper()
	m, i := at(t)
	if _, err := outcomes(t, false, i.Install); err != nil {
		t.Fatal(err)
	}
	release, err := control.AcquireLock(t.Context(), i.Paths.DaemonLock)
	if err != nil {
		t.Fatal(err)
	}
	m.pid = os.Getpid()
	r := &Removal{Paths: i.Paths, Manager: m, Operate: func(_ context.Context, op control.Operation, report func(control.Progress)) error {
		if op.Verb != control.VerbStop || op.Service != "" || m.running == "" {
			t.Errorf("asked the daemon for %+v", op)
		}
		report(control.Progress{Service: "redis", Message: "stopped"})
		return os.WriteFile(i.Paths.Intent, []byte(`{"all":true}`), 0o600)
	}}
	m.ended = sync.OnceFunc(func() {
		if err := release(); err != nil {
			t.Fatal(err)
		}
	})
	return m, r, m.ended
}

func TestUninstallLeavesDataAlone(t *testing.T) {
	for _, before := range []string{"", `{"services":["redis"]}`} {
		m, r, release := installedAt(t)
		if before != "" {
			writeFile(t, r.Paths.Intent, before, 0o600)
		}
		got, err := outcomes(t, false, r.Uninstall)
		if err != nil || strings.Join(got, ", ") != "stack done, stop done, definition done, traces done" {
			t.Fatalf("%q, %v", got, err)
		}
		release()
		if m.running != "" || m.enabled || !m.forgot || exists(m.path) || exists(markOf(r.Paths)) {
			t.Errorf("left: %+v", m)
		}
		if after, _ := os.ReadFile(r.Paths.Intent); string(after) != before {
			t.Errorf("what is to be down was %q and is %q", before, after)
		}
		for _, path := range []string{r.Paths.Config, r.Paths.Compose} {
			if !exists(path) {
				t.Errorf("%s is gone", path)
			}
		}
		got, err = outcomes(t, false, r.Uninstall)
		if err != nil || strings.Join(got, ", ") != "stack already, stop already, definition already, traces already" {
			t.Errorf("again: %q, %v", got, err)
		}
	}
}

// TestUninstallKilledAndCarriedOn checks that an intent survives, whatever is killed when, also by an install that follows.
func TestUninstallKilledAndCarriedOn(t *testing.T) {
	for _, step := range []string{"stack", "stop", "definition", "traces"} {
		for _, then := range []string{"uninstall", "install"} {
			m, r, release := installedAt(t)
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("step %s was not reached", step)
					}
				}()
				_ = r.Uninstall(t.Context(), Sequence{Before: func(name string) { // it is ended, not returned from
					if name == step {
						panic("killed")
					}
				}})
			}()
			if then == "uninstall" {
				if _, err := outcomes(t, false, r.Uninstall); err != nil || exists(m.path) {
					t.Errorf("killed before %s: %v", step, err)
				}
				release()
			} else {
				release()
				i := &Installation{Paths: r.Paths, Program: filepath.Join(filepath.Dir(r.Paths.Home), "minibotd"), Manager: m, Status: m.Status}
				if _, err := outcomes(t, false, i.Install); err != nil || m.running != m.want {
					t.Errorf("killed before %s, then installed: %v", step, err)
				}
			}
			if exists(intentBefore(r.Paths)) || exists(r.Paths.Intent) {
				t.Errorf("killed before %s, then %s: the stack is to stay down", step, then)
			}
		}
	}
}

func TestUninstallThatCannotStopTheStack(t *testing.T) {
	m, r, _ := installedAt(t)
	r.Operate = func(context.Context, control.Operation, func(control.Progress)) error { return control.ErrUnreachable }
	r.Project = func() (string, error) { return "minibot", nil }
	if _, err := outcomes(t, false, r.Uninstall); !errors.Is(err, control.ErrUnreachable) || m.running == "" || !exists(m.path) {
		t.Errorf("%v", err)
	}
	keep := *r
	r.Project = func() (string, error) { return "", nil }
	if got, err := outcomes(t, false, r.Uninstall); err != nil || got[0] != "stack done" || exists(m.path) || exists(intentBefore(r.Paths)) {
		t.Errorf("where there never was a stack: %q, %v", got, err)
	}
	m, r, _ = installedAt(t)
	r.Operate = keep.Operate
	r.Keep = true
	if got, err := outcomes(t, false, r.Uninstall); err != nil || got[0] != "stack already" || exists(m.path) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestUninstallEndsADaemonThatWasStartedByHand has a daemon that the manager, where there is one, knows nothing of.
func TestUninstallEndsADaemonThatWasStartedByHand(t *testing.T) {
	for _, managed := range []bool{true, false} {
		m, r, release := installedAt(t)
		m.pid, m.ended = 0, nil
		want := "stack done, stop done, definition done, traces done"
		if !managed {
			r.Manager, want = nil, "stack done, stop done, traces done"
		}
		r.Terminate = func(pid int) error {
			if pid != os.Getpid() {
				t.Errorf("ends %d", pid)
			}
			release()
			return nil
		}
		if got, err := outcomes(t, false, r.Uninstall); err != nil || strings.Join(got, ", ") != want {
			t.Errorf("managed %v: %q, %v", managed, got, err)
		}
		if pid, err := control.DaemonPID(r.Paths.DaemonLock); pid != 0 || err != nil {
			t.Errorf("managed %v: it runs, pid %d, %v", managed, pid, err)
		}
		if got, err := outcomes(t, false, r.Uninstall); err != nil || strings.Join(got, ", ") != strings.ReplaceAll(want, "done", Already) {
			t.Errorf("managed %v, again: %q, %v", managed, got, err)
		}
	}
}

// TestUninstallOfADaemonThatComesBack has one that does not end, and one that something else starts again: the notes are kept, so that
// the next attempt knows what was to be down before.
func TestUninstallOfADaemonThatComesBack(t *testing.T) {
	for want, after := range map[string]string{"does not end": "", "something started it again (pid 1)": "minibotd 1"} {
		synctest.Test(t, func(t *testing.T) {
			m, r, release := installedAt(t)
			defer release()
			m.pid, m.ended, r.Manager = 0, nil, nil
			r.Terminate = func(int) error {
				if after == "" {
					return nil
				}
				return os.WriteFile(r.Paths.DaemonLock, fmt.Appendf(nil, "%-31s\n", after), 0o600) // as the process 1 would, which always is
			}
			got, err := outcomes(t, false, r.Uninstall)
			if !errors.Is(err, ErrByHand) || !strings.Contains(err.Error(), want) || hint.Of(err) == "" || len(got) != 1 || !exists(intentBefore(r.Paths)) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// fakeEngine has some holdings.
type fakeEngine struct{ held []string }

func (f *fakeEngine) Held(context.Context) ([]string, error) { return f.held, nil }

func (f *fakeEngine) Discard(_ context.Context, report func(string)) error {
	for _, h := range f.held {
		report(h)
	}
	f.held = nil
	return nil
}

func TestPurgeTakesWhatIsMinibotsAndNoMore(t *testing.T) {
	_, r, release := installedAt(t)
	release()
	store, engine := secrets.NewMemory(), &fakeEngine{held: []string{"volume minibot_pgdata"}}
	value, err := secrets.NewValue([]byte("canary-purge"))
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range secrets.Slots {
		if err := store.Put(t.Context(), "K", slot, value); err != nil {
			t.Fatal(err)
		}
	}
	names := func(ctx context.Context) (names []string, err error) {
		list, err := store.List(ctx)
		for _, entry := range list {
			names = append(names, string(entry.Name))
		}
		return slices.Compact(names), err
	}
	r.Purge = &Purge{Engine: engine, Names: names, Store: func(context.Context) (secrets.Store, error) { return store, nil }}
	foreign := []string{filepath.Join(r.Paths.Home, "notes.txt"), filepath.Join(r.Paths.Home, "data", "pg"), filepath.Join(r.Paths.LogDir, "other.log")}
	for _, path := range append(foreign, filepath.Join(r.Paths.Home, "store.age"), filepath.Join(r.Paths.LogDir, "minibotd.err.log")) {
		writeFile(t, path, "x", 0o600)
	}
	gone, stays, err := r.Purge.Plan(t.Context(), r.Paths)
	plan := strings.Join(gone, "\n") + "\n"
	if err != nil || strings.Join(stays, " ") != filepath.Join(r.Paths.Home, "data")+" "+foreign[0]+" "+foreign[2] {
		t.Errorf("stays: %q, %v", stays, err)
	}
	for _, want := range []string{"volume minibot_pgdata\n", "secret K\n", "/store.age\n", "/config.toml\n", "/compose.yaml\n", "/state\n", "/minibotd.err.log\n"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan lacks %q:\n%s", want, plan)
		}
	}
	got, err := outcomes(t, false, r.Uninstall)
	if err != nil || !strings.HasSuffix(strings.Join(got, ", "), "data done, secrets done, files done") {
		t.Fatalf("%q, %v", got, err)
	}
	if list, err := store.List(t.Context()); err != nil || len(list) > 0 || len(engine.held) > 0 {
		t.Errorf("left: %v, %v, %v", list, engine.held, err)
	}
	left, err := others(r.Paths.Home)
	if err != nil || strings.Join(left, " ") != filepath.Join(r.Paths.Home, "data")+" "+foreign[0] {
		t.Errorf("left: %q, %v", left, err)
	}
	for _, path := range foreign {
		if !exists(path) {
			t.Errorf("%s is gone", path)
		}
	}
	if got, err = outcomes(t, false, r.Uninstall); err != nil || !strings.HasSuffix(strings.Join(got, ", "), "data already, secrets already, files already") {
		t.Errorf("again: %q, %v", got, err)
	}
}

func TestPurgeLeavesNoEmptyFolder(t *testing.T) {
	_, r, release := installedAt(t)
	release()
	r.Purge = &Purge{Engine: &fakeEngine{}, Names: func(context.Context) ([]string, error) { return nil, nil },
		Store: func(context.Context) (secrets.Store, error) { return nil, secrets.ErrNoStore }}
	if _, err := outcomes(t, false, r.Uninstall); err != nil || exists(r.Paths.Home) || exists(r.Paths.LogDir) {
		t.Errorf("%v; %s", err, tree(t, filepath.Dir(r.Paths.Home)))
	}
	if _, err := config.Load(r.Paths.Home); err != nil {
		t.Error(err)
	}
}
