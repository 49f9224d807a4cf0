package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"minibot/hint"
)

func TestLoad(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string // parts of the error; none: no error
	}{
		"empty":         {"", nil},
		"all":           {"store='age'\ncompose_file='/x/y.yaml'\ndocker_host='unix:///x'\nlog_level='debug'\n[env]\nTZ='UTC'", nil},
		"unknown key":   {"store = 'age'\nstor = 'x'", []string{"config.toml:2: unknown key stor"}},
		"two of them":   {"a=1\n[env]\nX='1'\n[b]\nc=1", []string{"config.toml:1: unknown key a", "config.toml:4: unknown key b"}},
		"syntax":        {"store = 'age'\nlog_level = ", []string{"config.toml:2:"}},
		"type":          {"\nstore = 7", []string{"config.toml:2:9: store: "}},
		"env type":      {"[env]\nA=1", []string{"config.toml:2:"}},
		"twice":         {"store='age'\nstore='age'", []string{"config.toml"}},
		"unknown store": {"store='vault'\nlog_level='loud'", []string{`store: unknown store "vault"`, "log_level: "}},
		"warns":         {"exposure='warn'", nil},
		"exposure":      {"exposure='allow'", []string{`exposure: unknown value "allow", want refuse or warn`}},
		"no compose":    {"compose_file=''", []string{"compose_file: "}},
		"docker host":   {"docker_host='/var/run/docker.sock'", []string{"docker_host: want unix:///PATH"}},
		"variables":     {"[env]\n'1A'='x'\n'A-B'='x'", []string{`env: "1A" is no name`, `env: "A-B"`}},
		"engine":        {"[engine]\nstart='auto'\n[env]\nA='b'", nil},
		"engine start":  {"engine.start='always'", []string{`engine.start: unknown value "always", want off or auto`}},
		"engine key":    {"[engine]\nstop='auto'", []string{"config.toml:2: unknown key engine.stop"}},
		"log":           {"[log]\nmax_size_mb=1\nmax_files=100\nmax_age_days=0\ncompress=false", nil},
		"log bounds": {"[log]\nmax_size_mb=0\nmax_files=101\nmax_age_days=-1",
			[]string{"log.max_size_mb: 0 is not between 1 and 1024", "log.max_files: 101 is not", "log.max_age_days: -1 is not"}},
		"log keys":               {"[log]\nmax_size=1", []string{"config.toml:2: unknown key log.max_size"}},
		"log type":               {"[log]\ncompress=1", []string{"config.toml:2:10: log.compress: "}},
		"notify":                 {"[notify]\ncommand=['/x/hook','a']\nwebhook='secret:SLACK_URL'\nheartbeat_url='https://u:p@example.com/x?y'\nheartbeat_every='30s'\non=['flapping']\nrepeat='0'", nil},
		"notify on this machine": {"[notify]\nwebhook='http://127.0.0.1:80/x'\nheartbeat_url='http://[::1]/'\non=[]\nrepeat='12h'", nil},
		"notify bounds": {"[notify]\ncommand=['hook']\nheartbeat_every='1s'\nrepeat='1s'\non=['sometimes']",
			[]string{"notify.command: want a program by its absolute path", `notify.heartbeat_every: "1s" is not`, `notify.repeat: "1s" is neither`, `notify.on: unknown kind "sometimes"`}},
		"notify plain http":  {"[notify]\nwebhook='http://canary.example.com/canary'", []string{"notify.webhook: want an https URL"}},
		"notify no URL":      {"[notify]\nwebhook='https:canary'\nheartbeat_url=\"https://canary\\u0007\"", []string{"notify.webhook: want an https URL", "notify.heartbeat_url: want an https URL"}},
		"notify no secret":   {"[notify]\nwebhook='secret:canary'\nheartbeat_url='secret:'", []string{"notify.webhook: want secret:NAME", "notify.heartbeat_url: want secret:NAME"}},
		"notify NUL":         {"[notify]\ncommand=['/x', \"canary\\u0000\"]", []string{"notify.command: it holds a NUL"}},
		"notify type":        {"[notify]\nwebhook=['https://canary']", []string{"config.toml:2"}},
		"notify unknown key": {"[notify]\nurl='https://canary'", []string{"config.toml:2: unknown key notify.url"}},
		"NUL":                {`env.A="canary\u0000"`, []string{"env.A: the value holds a NUL byte"}},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(home)
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("%v", err)
			}
			if err != nil && (!errors.Is(err, ErrInvalid) || hint.Of(err) == "" || strings.Contains(err.Error(), "canary")) {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v lacks %q", err, part)
				}
			}
		})
	}
}

// On macOS the system is kept awake unless somebody says no; elsewhere there is nothing that could.
func TestKeepAwake(t *testing.T) {
	c := Default()
	if c.KeepAwake != (runtime.GOOS == "darwin") {
		t.Errorf("by default %v", c.KeepAwake)
	}
	c.KeepAwake = true
	if err := c.validate("darwin"); err != nil {
		t.Error(err)
	}
	if err := c.validate("linux"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "keep_awake: only on macOS") {
		t.Errorf("%v", err)
	}
}

func same(a, b Config) bool {
	return a.Store == b.Store && a.ComposeFile == b.ComposeFile && a.DockerHost == b.DockerHost &&
		a.LogLevel == b.LogLevel && a.Log == b.Log && a.Exposure == b.Exposure && a.KeepAwake == b.KeepAwake && a.Engine == b.Engine && reflect.DeepEqual(a.Notify, b.Notify) && maps.Equal(a.Env, b.Env)
}

func TestWriteAndLoad(t *testing.T) {
	home := t.TempDir()
	if c, err := Load(home); err != nil || !same(c, Default()) {
		t.Errorf("without a file: %+v, %v", c, err)
	}
	path := filepath.Join(home, "config.toml")
	c := Default()
	for range 2 { // new, and over an old one
		if err := Write(path, c); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(home); err != nil || !same(got, c) {
			t.Errorf("%+v, %v", got, err)
		}
		c.Env["A"], c.ComposeFile, c.LogLevel = "b 'c' \"d\"\n", "x/compose.yaml", "warn"
		c.Engine.Start = EngineStartAuto
		c.Notify.Command, c.Notify.Webhook = []string{"/x/hook", "it's"}, "secret:SLACK_URL"
		c.Log.MaxSizeMB, c.Log.Compress = 3, false
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Write(path, Config{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("an invalid one: %v", err)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestHome(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	for value, want := range map[string]string{"": "/home/x/minibot", "/a/../b/": "/b", "rel": ""} {
		t.Setenv("MINIBOT_HOME", value)
		got, err := Home()
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
	p, err := NewPaths("/b")
	if err != nil || p.Compose != "/b/compose.yaml" || p.Socket != "/b/run/minibotd.sock" {
		t.Errorf("%+v, %v", p, err)
	}
	if got := p.With(Config{ComposeFile: "/x/y.yaml"}).Compose; got != "/x/y.yaml" {
		t.Error(got)
	}
	if got := p.With(Config{ComposeFile: "x/y.yaml"}).Compose; got != "/b/x/y.yaml" {
		t.Error(got)
	}
}

func TestEnsureHome(t *testing.T) {
	paths := func() Paths {
		p, err := NewPaths(filepath.Join(t.TempDir(), "home"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := paths()
	old := syscall.Umask(0)
	err := errors.Join(EnsureHome(p), EnsureHome(p))
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{p.Home, p.RunDir, p.StateDir} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	for name, test := range map[string]struct {
		spoil func(Paths) error
		hint  string // "" where it is fine
	}{
		"readable home":  {func(p Paths) error { return os.Chmod(p.Home, 0o755) }, ""},
		"writable home":  {func(p Paths) error { return os.Chmod(p.Home, 0o770) }, "chmod go-w "},
		"readable state": {func(p Paths) error { return os.Chmod(p.StateDir, 0o750) }, "chmod 700 "},
		"file for run":   {func(p Paths) error { return errors.Join(os.Remove(p.RunDir), os.WriteFile(p.RunDir, nil, 0o600)) }, "move it away"},
	} {
		p := paths()
		if err := errors.Join(EnsureHome(p), test.spoil(p)); err != nil {
			t.Fatal(err)
		}
		if err := EnsureHome(p); (err != nil) != (test.hint != "") || !strings.HasPrefix(hint.Of(err), test.hint) {
			t.Errorf("%s: %v, hint %q", name, err, hint.Of(err))
		}
	}
	if err := checkPrivate(p.Home, 0, os.Geteuid()+1); err == nil || !strings.Contains(err.Error(), "belongs to uid") {
		t.Errorf("another owner: %v", err)
	}
}

// TestNoFile has something in config.toml's place that is no file: a FIFO must not be waited for.
func TestNoFile(t *testing.T) {
	for name, make := range map[string]func(string) error{
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		home := t.TempDir()
		if err := make(filepath.Join(home, "config.toml")); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(home); !errors.Is(err, ErrInvalid) || !strings.Contains(hint.Of(err), "`mv ") {
			t.Errorf("%s: %v, %s", name, err, hint.Of(err))
		}
	}
}

// TestLinesForEnvCanBeAdded adds a line to the end of a new file, as README has it done with the images that were built here.
func TestLinesForEnvCanBeAdded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := Write(path, Default()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(text, "MINIBOT_REDIS_IMAGE = \"redis:canary\"\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Load(filepath.Dir(path)); err != nil || c.Env["MINIBOT_REDIS_IMAGE"] != "redis:canary" {
		t.Errorf("%v, %v", c.Env, err)
	}
}
