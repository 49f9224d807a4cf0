package install

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/launchd"
)

// fake is a manager that runs what the definition on the disk said when it was loaded, and the daemon that it runs.
type fake struct {
	path     string
	want     string // the definition that minibot wants
	loggedIn bool

	running string // what runs by; "" for nothing
	pid     int
	enabled bool
	loads   int
	forgot  bool
	silent  bool // the daemon does not answer
	fail    error
	ended   func() // called when the daemon ends; nil for nothing
}

func (f *fake) Name() string { return "systemd" }

func (f *fake) Definition() (string, []byte, error) { return f.path, []byte(f.want), nil }

func (f *fake) State(context.Context) (launchd.State, error) {
	return launchd.State{Session: f.loggedIn, Loaded: f.running != "", Disabled: !f.enabled, PID: f.pid}, nil
}

func (f *fake) Load(ctx context.Context, report func(string)) error {
	if ctx.Err() != nil || f.fail != nil {
		return errors.Join(ctx.Err(), f.fail)
	}
	f.enabled = true
	if !f.loggedIn {
		return fmt.Errorf("load: %w", launchd.ErrNoSession)
	}
	report("load it")
	f.loads++
	f.login()
	return nil
}

// login starts what lies on the disk, as launchd does.
func (f *fake) login() {
	f.loggedIn = true
	content, err := os.ReadFile(f.path)
	if err != nil {
		f.running, f.pid = "", 0
		return
	}
	f.running = string(content)
	f.pid++
}

func (f *fake) Unload(context.Context, func(string)) error {
	if f.ended != nil {
		f.ended()
	}
	f.running, f.pid, f.enabled = "", 0, false
	return f.fail
}

func (f *fake) Kickstart(context.Context) error { f.pid++; return nil }

func (f *fake) Forget(context.Context) error { f.forgot = true; return nil }

func (f *fake) Status(context.Context) (control.Status, error) {
	if f.pid == 0 || f.silent {
		return control.Status{}, control.ErrUnreachable
	}
	return control.Status{Phase: control.PhaseHealthy, PID: f.pid, Version: "v1"}, nil
}

// at returns a manager and an installation in new folders.
func at(t *testing.T) (*fake, *Installation) {
	t.Helper()
	dir := t.TempDir()
	paths, err := config.NewPaths(filepath.Join(dir, "minibot"))
	if err != nil {
		t.Fatal(err)
	}
	paths.LogDir = filepath.Join(dir, "log")
	program := filepath.Join(dir, "minibotd")
	writeFile(t, program, "#!/bin/sh\necho minibotd v1\n", 0o700)
	m := &fake{path: filepath.Join(dir, "units", "minibot.service"), want: "Environment=\"MINIBOT_HOME=" + paths.Home + "\"\nfirst\n", loggedIn: true}
	return m, &Installation{Paths: paths, Program: program, Manager: m, Status: m.Status, Patience: 2 * time.Second,
		Choose: func(context.Context) (string, string) { return config.StoreAge, "of a test" }}
}

func writeFile(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// outcomes carries f out and returns "step state" of each step.
func outcomes(t *testing.T, dry bool, f func(context.Context, Sequence) error) ([]string, error) {
	t.Helper()
	var out []string
	err := f(t.Context(), Sequence{DryRun: dry, Told: func(o Outcome) {
		out = append(out, o.Step+" "+o.State)
		if o.Message == "" {
			t.Errorf("step %s says nothing", o.Step)
		}
	}})
	return out, err
}

// tree is what lies below dir: names, and the sums of what is in them.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			fmt.Fprintln(&out, path)
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&out, "%s %x\n", path, sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const fresh = "program done, folders done, config done, compose done, definition done, stack already, start done, answer done"

func TestInstallTwiceAndUpgrade(t *testing.T) {
	m, i := at(t)
	check := func(what, want string) {
		t.Helper()
		got, err := outcomes(t, false, i.Install)
		if err != nil || strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	check("from nothing", fresh)
	c, err := config.Load(i.Paths.Home)
	if err != nil || c.Store != config.StoreAge || !exists(i.Paths.Compose) || m.running != m.want {
		t.Errorf("%+v, %v, running %q", c, err, m.running)
	}
	const all = "program done, folders already, config already, compose already, definition already, stack already, start already, answer already"
	check("again", all)
	if m.loads != 1 {
		t.Errorf("%d loads", m.loads)
	}
	m.want += "second\n"
	check("another definition", strings.Replace(strings.Replace(all, "definition already", "definition done", 1), "start already, answer already", "start done, answer done", 1))
	if m.running != m.want {
		t.Errorf("running %q", m.running)
	}
	writeFile(t, i.Program+".new", "#!/bin/sh\necho minibotd v2\n", 0o700)
	if err := os.Rename(i.Program+".new", i.Program); err != nil {
		t.Fatal(err)
	}
	check("another program under the same name", strings.Replace(all, "start already, answer already", "start done, answer done", 1))
	for what, spoil := range map[string]func(){
		"somebody disabled it": func() { m.enabled = false },
		"it does not run":      func() { m.pid = 0 },
		"it was unloaded":      func() { m.running = "" },
	} {
		spoil()
		check(what, strings.Replace(all, "start already, answer already", "start done, answer done", 1))
	}
	if err := os.Chmod(m.path, 0o666); err != nil {
		t.Fatal(err)
	}
	check("others can write to the definition", strings.Replace(all, "definition already", "definition done", 1))
}

func TestDryRunChangesNothing(t *testing.T) {
	m, i := at(t)
	dir := filepath.Dir(i.Paths.Home)
	before := tree(t, dir)
	got, err := outcomes(t, true, i.Install)
	want := strings.Replace(strings.ReplaceAll(fresh, "done", Planned), "answer planned", "answer planned", 1)
	if err != nil || strings.Join(got, ", ") != want {
		t.Errorf("%q, %v", got, err)
	}
	if after := tree(t, dir); after != before || m.loads > 0 {
		t.Errorf("before\n%safter\n%s", before, after)
	}
	if _, err := outcomes(t, false, i.Install); err != nil {
		t.Fatal(err)
	}
	before = tree(t, dir)
	r := &Removal{Paths: i.Paths, Manager: m}
	if got, err := outcomes(t, true, r.Uninstall); err != nil || strings.Join(got, ", ") != "stack planned, stop planned, definition planned, traces planned" {
		t.Errorf("uninstall: %q, %v", got, err)
	}
	if after := tree(t, dir); after != before || m.running == "" {
		t.Errorf("uninstall: before\n%safter\n%s", before, after)
	}
}

// TestKilledBeforeEachStep ends an upgrade before every step, as SIGKILL would, and looks at what a login would start then.
func TestKilledBeforeEachStep(t *testing.T) {
	for _, at0 := range []string{"first installation", "upgrade"} {
		for _, step := range []string{"program", "folders", "config", "compose", "definition", "start", "answer"} {
			m, i := at(t)
			first := m.want
			if at0 == "upgrade" {
				if _, err := outcomes(t, false, i.Install); err != nil {
					t.Fatal(err)
				}
				m.want += "second\n"
			}
			killed := kill(t, i, step)
			if at0 == "upgrade" && !killed && slices.Contains([]string{"program", "definition", "start", "answer"}, step) {
				t.Errorf("%s: step %s was not reached", at0, step)
			}
			m.login()
			if old := at0 == "upgrade" && m.running == first; m.running != m.want && !old && (at0 == "upgrade" || m.running != "") {
				t.Errorf("%s, killed before %s: a login starts %q", at0, step, m.running)
			}
			if _, err := outcomes(t, false, i.Install); err != nil || m.running != m.want {
				t.Errorf("%s, killed before %s and called again: %v, runs %q", at0, step, err, m.running)
			}
			if left, err := filepath.Glob(filepath.Join(i.Paths.Home, ".new-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

// kill ends an installation before a step, and tells whether it came so far.
func kill(t *testing.T, i *Installation, at string) (killed bool) {
	t.Helper()
	defer func() { killed = recover() != nil }()
	return i.Install(t.Context(), Sequence{Before: func(step string) {
		if step == at {
			panic("killed")
		}
	}}) == nil && false
}

func TestInterruptionDoesNotTearTheLoad(t *testing.T) {
	m, i := at(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := i.Install(ctx, Sequence{Before: func(step string) {
		if step == "start" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || m.running != m.want {
		t.Errorf("%v, runs %q", err, m.running)
	}
}

func TestInstallWithoutASession(t *testing.T) {
	m, i := at(t)
	m.loggedIn = false
	got, err := outcomes(t, false, i.Install)
	if err != nil || !strings.HasSuffix(strings.Join(got, ", "), "start skipped, answer skipped") {
		t.Fatalf("%q, %v", got, err)
	}
	m.login()
	if m.running != m.want || !m.enabled {
		t.Errorf("the login starts %q", m.running)
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	m, i := at(t)
	if err := i.Check(t.Context()); err != nil {
		t.Errorf("from nothing: %v", err)
	}
	writeFile(t, m.path, `Environment="MINIBOT_HOME=/another/home"`, 0o600)
	if err := i.Check(t.Context()); !errors.Is(err, ErrOtherHome) || !strings.Contains(hint.Of(err), "--yes") {
		t.Errorf("another home: %v", err)
	}
	writeFile(t, m.path, "damaged", 0o600)
	if err := i.Check(t.Context()); err != nil {
		t.Errorf("damaged: %v", err)
	}
	if err := config.EnsureHome(i.Paths); err != nil {
		t.Fatal(err)
	}
	release, err := control.AcquireLock(t.Context(), i.Paths.DaemonLock)
	if err != nil {
		t.Fatal(err)
	}
	byHand := fmt.Sprintf("kill %d", os.Getpid())
	if err := i.Check(t.Context()); !errors.Is(err, ErrByHand) || !strings.Contains(hint.Of(err), byHand) {
		t.Errorf("by hand: %v, %s", err, hint.Of(err))
	}
	m.running, m.pid = "it", os.Getpid()
	if err := i.Check(t.Context()); err != nil {
		t.Errorf("the manager's own: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	m.pid = 0
	if err := i.Check(t.Context()); err != nil {
		t.Errorf("nobody holds the lock: %v", err)
	}
}

func TestProgramThatCannotRunReplacesNothing(t *testing.T) {
	for what, text := range map[string]string{"fails": "exit 3", "another": "echo other 1", "more": "echo minibotd 1; echo x", "nothing": ""} {
		m, i := at(t)
		writeFile(t, i.Program, "#!/bin/sh\n"+text+"\n", 0o700)
		if _, err := outcomes(t, false, i.Install); err == nil || hint.Of(err) == "" || m.loads > 0 || exists(m.path) || exists(i.Paths.Home) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDaemonThatDoesNotAnswer(t *testing.T) {
	m, i := at(t)
	m.silent, i.Patience = true, 300*time.Millisecond
	if _, err := outcomes(t, false, i.Install); !errors.Is(err, ErrSilent) || !strings.Contains(hint.Of(err), "journalctl --user -u minibot") {
		t.Errorf("%v, %s", err, hint.Of(err))
	}
	m.silent = false
	if got, err := outcomes(t, false, i.Install); err != nil || m.loads != 2 {
		t.Errorf("again: %q, %v, %d loads", got, err, m.loads)
	}
}

func TestStoreIsChosenOnce(t *testing.T) {
	_, i := at(t)
	i.Store = config.StoreSecretService
	if _, err := outcomes(t, false, i.Install); err != nil {
		t.Fatal(err)
	}
	i.Choose = func(context.Context) (string, string) { t.Error("asked again"); return "", "" }
	for kind, ok := range map[string]bool{"": true, config.StoreSecretService: true, config.StoreAge: false} {
		i.Store = kind
		_, err := outcomes(t, false, i.Install)
		if (err == nil) != ok || !ok && (!errors.Is(err, control.ErrUsage) || hint.Of(err) != "mb-secrets migrate --to age moves the secrets there") {
			t.Errorf("%q: %v", kind, err)
		}
	}
	_, i = at(t)
	writeFile(t, filepath.Join(i.Paths.Home, "store.age"), "", 0o600)
	i.Choose = func(context.Context) (string, string) { t.Error("asked although there is a store"); return "", "" }
	if _, err := outcomes(t, false, i.Install); err != nil {
		t.Error(err)
	}
	if c, err := config.Load(i.Paths.Home); err != nil || c.Store != config.StoreAge {
		t.Errorf("%+v, %v", c, err)
	}
}
