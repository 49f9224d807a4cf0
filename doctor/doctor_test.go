package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/launchd"
	"minibot/secrets"
	"minibot/stack"
)

const compose = `name: patient
services:
  web:
    image: web:1
    ports: ["127.0.0.1:5000:80"]
    secrets: [key]
secrets:
  key: { environment: API_KEY, x-minibot: { generate: { length: 32 } } }
`

// well returns a doctor whose surroundings are all well: a Mac with a desktop, an engine and a daemon.
func well(t *testing.T) *Doctor {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	paths := config.Paths{Home: dir, Config: filepath.Join(dir, "config.toml"), Compose: filepath.Join(dir, "compose.yaml"),
		RunDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state"), LogDir: filepath.Join(dir, "log"), Socket: "/h/run/minibotd.sock"}
	d := &Doctor{
		Paths: paths, GOOS: "darwin", UID: os.Geteuid(), User: "you", UserHome: dir, Self: filepath.Join(dir, "minibotd"), Version: "1.2.3",
		Getenv: func(name string) string { return map[string]string{"PATH": dir, "MINIBOT_HOME": dir}[name] }, Apps: filepath.Join(dir, "Applications"), Timeout: time.Minute,
		DiskFree:  func(string) (uint64, error) { return 10 << 30, nil },
		Listen:    func(context.Context, string, string) (net.Listener, error) { return nopListener{}, nil },
		Daemon:    func(context.Context) (control.Status, error) { return control.Status{}, control.ErrUnreachable },
		ReadStore: func(_ context.Context, _ string, read func(secrets.Store) error) error { return read(fullStore(t)) },
	}
	setEngine(d, &fakeEngine{info: stack.EngineInfo{Version: "28.5", API: "1.51", Host: "unix:///Users/you/.colima/default/docker.sock"},
		checkup: stack.Checkup{Clock: time.Now()}, free: 10 << 30})
	standIn := func(name, script string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, "#!/bin/sh\n"+script+"\n", 0o700)
		return path
	}
	d.Programs = Programs{
		FDESetup: standIn("fdesetup", "echo FileVault is On."),
		PMSet: standIn("pmset", `printf 'System-wide power settings:\nCurrently in use:\n sleep                0 (sleep prevented by caffeinate)\n womp                 1\n`+
			` autorestart          1\n'`),
		Defaults:  standIn("defaults", `echo 'The domain/default pair of (…, autoLoginUser) does not exist' >&2; exit 1`),
		Codesign:  standIn("codesign", `printf 'Executable=x\nSignature size=9000\nTeamIdentifier=ABCDE12345\n' >&2`),
		Launchctl: standIn("launchctl", "echo Aqua"),
		Loginctl:  standIn("loginctl", "echo yes"),
		Lsof:      standIn("lsof", "exit 1"),
	}
	standIn("minibotd", "exit 1")
	standIn("mb-secrets", "echo mb-secrets 1.2.3")
	writeFile(t, paths.Config, "store = \"keychain\"\n", 0o600)
	writeFile(t, paths.Compose, compose, 0o600)
	for _, dir := range []string{paths.RunDir, paths.StateDir, paths.LogDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a := newAgent(t, d)
	d.Agent = a
	d.Daemon = func(context.Context) (control.Status, error) {
		return control.Status{Phase: control.PhaseHealthy, Version: "1.2.3", Store: control.Store{Kind: "keychain", State: "open"}}, nil
	}
	return d
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func setEngine(d *Doctor, e *fakeEngine) {
	d.Dial = func(context.Context, string) (Engine, error) { return e, nil }
}

type fakeEngine struct {
	info    stack.EngineInfo
	checkup stack.Checkup
	free    uint64
	err     error // of Free
}

func (e *fakeEngine) Info() stack.EngineInfo { return e.info }
func (e *fakeEngine) Close() error           { return nil }
func (e *fakeEngine) Checkup(context.Context, *stack.Project) (stack.Checkup, error) {
	return e.checkup, nil
}
func (e *fakeEngine) Free(context.Context, *stack.Project) (uint64, error) { return e.free, e.err }

type nopListener struct{ net.Listener }

func (nopListener) Close() error { return nil }

func fullStore(t *testing.T) secrets.Store {
	t.Helper()
	store := secrets.NewMemory()
	value, err := secrets.NewValue([]byte("canary-value"))
	if err == nil {
		err = store.Put(t.Context(), "API_KEY", secrets.Current, value)
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// agent is a LaunchAgent whose file is real and whose launchd is not.
type agent struct {
	launchd.Manager
	path  string
	state launchd.State
	err   error
	name  string
}

func newAgent(t *testing.T, d *Doctor) *agent {
	t.Helper()
	a := &agent{name: "launchd", path: filepath.Join(d.UserHome, "com.minibot.plist"), state: launchd.State{Session: true, Loaded: true, PID: 7}}
	a.Settings = launchd.Settings{Program: d.Self, Home: d.Paths.Home, UserHome: d.UserHome, LogDir: d.Paths.LogDir}
	_, content, err := a.Definition()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, a.path, string(content), 0o600)
	return a
}

func (a *agent) Name() string                                 { return a.name }
func (a *agent) State(context.Context) (launchd.State, error) { return a.state, a.err }
func (a *agent) Definition() (string, []byte, error) {
	_, content, err := a.Manager.Definition()
	return a.path, content, err
}

// said is what one check says.
func said(t *testing.T, d *Doctor, check string) []Finding {
	t.Helper()
	all, err := d.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []Finding
	for _, f := range all {
		if f.Check == check {
			found = append(found, f)
		}
		if strings.Contains(f.Message+f.Command, "canary") || f.Message == "" || strings.Contains(f.Message, "\n") {
			t.Errorf("%+v", f)
		}
	}
	return found
}

func TestAllIsWell(t *testing.T) {
	all, err := well(t).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 18 {
		t.Errorf("only %d checks", len(all))
	}
	for _, f := range all {
		if f.State != OK || f.Command != "" {
			t.Errorf("%+v", f)
		}
	}
}

// fault is one planted fault and what a check says of it.
type fault struct {
	check   string
	plant   func(t *testing.T, d *Doctor)
	state   State
	message string // a part of it
	command string // the beginning of it; "" for none
}

func testFaults(t *testing.T, faults map[string]fault) {
	t.Helper()
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			d := well(t)
			f.plant(t, d)
			found := said(t, d, f.check)
			for _, have := range found {
				if have.State == f.state && strings.Contains(have.Message, f.message) && strings.HasPrefix(have.Command, f.command) && (f.command != "") == (have.Command != "") {
					return
				}
			}
			t.Errorf("want %s %q `%s`, have %+v", f.state, f.message, f.command, found)
		})
	}
}

// program has one of the system's programs do something else.
func program(of func(*Programs) string, script string) func(*testing.T, *Doctor) {
	return func(t *testing.T, d *Doctor) {
		writeFile(t, of(&d.Programs), "#!/bin/sh\n"+script+"\n", 0o700)
	}
}

func gone(of func(*Programs) string) func(*testing.T, *Doctor) {
	return func(t *testing.T, d *Doctor) {
		if err := os.Remove(of(&d.Programs)); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	fdesetup  = func(p *Programs) string { return p.FDESetup }
	pmset     = func(p *Programs) string { return p.PMSet }
	defaults  = func(p *Programs) string { return p.Defaults }
	codesign  = func(p *Programs) string { return p.Codesign }
	launchctl = func(p *Programs) string { return p.Launchctl }
	loginctl  = func(p *Programs) string { return p.Loginctl }
	lsof      = func(p *Programs) string { return p.Lsof }
)

func TestTheMac(t *testing.T) {
	root := ""
	if os.Geteuid() != 0 {
		root = "sudo "
	}
	onAge := func(script string) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) {
			writeFile(t, d.Paths.Config, "store = \"age\"\n", 0o600)
			program(codesign, script)(t, d)
		}
	}
	testFaults(t, map[string]fault{
		"FileVault off":       {"filevault", program(fdesetup, "echo FileVault is Off."), Warning, "off: ", root + "fdesetup enable"},
		"FileVault encrypts":  {"filevault", program(fdesetup, "printf 'FileVault is On.\\nEncryption in progress: 12\\n'"), Warning, "cannot tell", ""},
		"FileVault fails":     {"filevault", program(fdesetup, "echo FileVault is On.; exit 1"), Warning, "cannot tell", ""},
		"no fdesetup":         {"filevault", gone(fdesetup), Warning, "cannot tell: fdesetup cannot be run", ""},
		"fdesetup dies":       {"filevault", program(fdesetup, "kill -9 $$"), Warning, "cannot tell: fdesetup was ended by a signal", ""},
		"fdesetup floods":     {"filevault", program(fdesetup, "head -c 2000000 /dev/zero"), Warning, "cannot tell: fdesetup says too much", ""},
		"auto-login":          {"auto-login", program(defaults, "echo you"), Warning, "on: ", root + "sysadminctl -autologin off"},
		"auto-login unknown":  {"auto-login", program(defaults, "echo 'no permission' >&2; exit 1"), Warning, "cannot tell", ""},
		"auto-login is empty": {"auto-login", program(defaults, "exit 0"), Warning, "cannot tell", ""},
		"it sleeps":           {"power", program(pmset, "printf ' sleep 10\\n womp 1\\n autorestart 1\\n'"), Warning, "sleep is 10", root + "pmset -a sleep 0"},
		"it stays off":        {"power", program(pmset, "printf ' sleep 0\\n womp 1\\n autorestart 0\\n'"), Warning, "autorestart is 0", root + "pmset -a autorestart 1"},
		"it cannot be woken":  {"power", program(pmset, "printf ' sleep 0\\n womp 0\\n autorestart 1\\n'"), Warning, "womp is 0", root + "pmset -a womp 1"},
		"a laptop":            {"power", program(pmset, "printf ' sleep 0\\n womp 1\\n'"), Warning, "cannot tell: pmset says nothing of autorestart", ""},
		"pmset says nonsense": {"power", program(pmset, "echo sleep"), Warning, "cannot tell: pmset says nothing of sleep", ""},
		"pmset fails":         {"power", program(pmset, "printf ' sleep 0\\n womp 1\\n autorestart 1\\n'; exit 1"), Warning, "cannot tell", ""},
		"ad hoc, keychain": {"signature", program(codesign, "printf 'Signature=adhoc\\nTeamIdentifier=not set\\n' >&2"),
			Warning, "no team signed it", "mb-secrets migrate --to security"},
		"unsigned, keychain":   {"signature", program(codesign, "echo \"$3: code object is not signed at all\" >&2; exit 1"), Warning, "no team signed it", "mb-secrets migrate --to security"},
		"ad hoc, another":      {"signature", onAge("printf 'Signature=adhoc\\nTeamIdentifier=not set\\n' >&2"), OK, "store age does without", ""},
		"signature is unknown": {"signature", program(codesign, "echo 'TeamIdentifier=canary; rm' >&2"), Warning, "cannot tell", ""},
		"codesign fails":       {"signature", program(codesign, "echo TeamIdentifier=ABCDE12345 >&2; exit 3"), Warning, "cannot tell", ""},
		"no codesign":          {"signature", gone(codesign), Warning, "cannot tell", ""},
		"over SSH":             {"session", program(launchctl, "echo Background"), OK, "session of another kind (Background)", ""},
		"nobody logged in": {"session", func(t *testing.T, d *Doctor) {
			program(launchctl, "echo Background")(t, d)
			d.Agent.(*agent).state = launchd.State{}
		}, Warning, "nobody is logged in", ""},
		"session is unknown": {"session", program(launchctl, "echo 'a b'"), Warning, "cannot tell", ""},
		"launchctl fails":    {"session", program(launchctl, "echo Aqua; exit 1"), Warning, "cannot tell", ""},
		"no launchctl":       {"session", gone(launchctl), Warning, "cannot tell", ""},
		"no folder of logs":  {"logs", func(_ *testing.T, d *Doctor) { d.Paths.LogDir = "/nonexistent/Lögs" }, Warning, "does not exist", "mkdir -p -m 700 '/nonexistent/Lögs'"},
	})
}

func TestTheAgent(t *testing.T) {
	state := func(s launchd.State) func(*testing.T, *Doctor) {
		return func(_ *testing.T, d *Doctor) { d.Agent.(*agent).state = s }
	}
	file := func(change func(text string) string) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) {
			_, content, err := d.Agent.Definition()
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, d.Agent.(*agent).path, change(string(content)), 0o600)
		}
	}
	other := func(from, to string) func(string) string {
		return func(text string) string { return strings.Replace(text, from, to, 1) }
	}
	systemd := func(s launchd.State) func(*testing.T, *Doctor) {
		return func(_ *testing.T, d *Doctor) {
			d.GOOS = "linux"
			a := d.Agent.(*agent)
			a.name, a.state = "systemd", s
		}
	}
	enable := fmt.Sprintf("launchctl enable gui/%d/com.minibot", os.Geteuid())
	running := launchd.State{Session: true, Loaded: true, PID: 7}
	testFaults(t, map[string]fault{
		"nothing there":      {"agent", func(_ *testing.T, d *Doctor) { d.Agent = nil }, Warning, "nothing here starts minibotd", "minibotd run"},
		"not installed":      {"agent", func(_ *testing.T, d *Doctor) { d.Agent.(*agent).path += ".gone" }, Failure, "does not exist", "minibotd install"},
		"stale":              {"agent", file(other("<integer>63</integer>", "<integer>18</integer>")), Failure, "Umask has another value", "minibotd install"},
		"no plist":           {"agent", file(func(string) string { return "canary" }), Failure, "compare property lists", "minibotd install"},
		"program is missing": {"agent", file(other("/minibotd</string>", "/absent</string>")), Failure, "starts a program that is not there", "minibotd install"},
		"another program":    {"agent", file(other("/minibotd</string>", "/mb-secrets</string>")), Warning, "starts another program", "minibotd install"},
		"others write to it": {"agent", func(t *testing.T, d *Doctor) { chmod(t, d.Agent.(*agent).path, 0o666) }, Failure, "mode 0666", "chmod go-w "},
		"disabled":           {"agent", state(launchd.State{Session: true, Loaded: true, PID: 7, Disabled: true}), Failure, "it is disabled", enable},
		"not loaded":         {"agent", state(launchd.State{Session: true}), Failure, "not loaded", "minibotd install"},
		"does not run":       {"agent", state(launchd.State{Session: true, Loaded: true}), Failure, "does not run", "minibotd kickstart"},
		"ends":               {"agent", state(launchd.State{Session: true, Loaded: true, LastExit: "signal 9"}), Failure, "ended with: signal 9", "minibotd kickstart"},
		"no session":         {"agent", state(launchd.State{}), OK, "at the next login", ""},
		"launchd is silent":  {"agent", func(_ *testing.T, d *Doctor) { d.Agent.(*agent).err = errors.New("launchctl does not answer") }, Warning, "cannot tell", ""},
		"unit is right":      {"agent", systemd(running), OK, "own, loaded, and runs", ""},
		"unit is disabled":   {"agent", systemd(launchd.State{Session: true, Loaded: true, PID: 7, Disabled: true}), Failure, "disabled", "systemctl --user enable --now com.minibot.plist"},
		"unit is another one": {"agent", func(t *testing.T, d *Doctor) {
			systemd(running)(t, d)
			file(func(string) string { return "[Unit]" })(t, d)
		}, Failure, "not what this minibotd writes", "minibotd install"},
		"no linger":         {"linger", func(t *testing.T, d *Doctor) { systemd(running)(t, d); program(loginctl, "echo no")(t, d) }, Warning, "off: ", "loginctl enable-linger you"},
		"linger":            {"linger", systemd(running), OK, "on: ", ""},
		"linger is unknown": {"linger", func(t *testing.T, d *Doctor) { systemd(running)(t, d); program(loginctl, "echo perhaps")(t, d) }, Warning, "cannot tell", ""},
		"no loginctl":       {"linger", func(t *testing.T, d *Doctor) { systemd(running)(t, d); gone(loginctl)(t, d) }, Warning, "cannot tell", ""},
	})
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
