package systemd_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/launchd"
	"minibot/launchd/systemd"
	"minibot/launchd/systemd/systemdtest"
)

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// awkward is a folder's name with all that a program's path may have.
const awkward = `mini bot 50% $HOME $$ ü #;`

func TestUnitPassesVerify(t *testing.T) {
	for _, name := range []string{"plain", awkward} {
		dir := filepath.Join(t.TempDir(), name)
		program := filepath.Join(dir, "minibotd")
		write(t, program, "#!/bin/sh\n", 0o700)
		content, err := systemd.Render(systemd.Settings{Program: program, Home: dir + `/"home" 'of' \ it`})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, systemd.Unit)
		write(t, path, string(content), 0o600)
		out, err := verify(t, path)
		if err != nil || out != "" {
			t.Errorf("%s: %v\n%s\n%s", name, err, out, content)
		}
		write(t, path, strings.Replace(string(content), "Restart=always", "Restart=allways", 1), 0o600)
		if out, _ := verify(t, path); !strings.Contains(out, "allways") { // a warning for some versions
			t.Errorf("%s: verify says nothing about a mistake: %s", name, out)
		}
	}
}

func verify(t *testing.T, path string) (string, error) {
	t.Helper()
	cmd := exec.Command("systemd-analyze", "verify", "--user", "--man=no", path)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestUnitRefusesWhatSystemdCannotHold(t *testing.T) {
	for name, s := range map[string]systemd.Settings{
		"relative program":   {Program: "minibotd", Home: "/h"},
		"relative home":      {Program: "/m", Home: "h"},
		"quote in program":   {Program: `/a"b/m`, Home: "/h"},
		"backslash":          {Program: `/a\b/m`, Home: "/h"},
		"line end in home":   {Program: "/m", Home: "/h\nExecStartPre=/bin/false"},
		"invalid UTF-8":      {Program: "/m", Home: "/h\xff"},
		"line end in both":   {Program: "/m\n", Home: "/h\n"},
		"nothing":            {},
		"control characters": {Program: "/m\x1b", Home: "/h"},
	} {
		if content, err := systemd.Render(s); err == nil {
			t.Errorf("%s: taken:\n%s", name, content)
		}
	}
}

func TestHomeOfAUnit(t *testing.T) {
	for _, home := range []string{"/home/you/minibot", `/h/"a" \b\\ 100% %h $x ü`} {
		content, err := systemd.Render(systemd.Settings{Program: "/m", Home: home})
		if err != nil || systemd.Home(content) != home {
			t.Errorf("%q: %q, %v", home, systemd.Home(content), err)
		}
	}
	for _, other := range []string{"", "[Service]\nExecStart=/x\n", "Environment=\"MINIBOT_HOME=/x"} {
		if home := systemd.Home([]byte(other)); home != "" {
			t.Errorf("%q: %q", other, home)
		}
	}
}

// TestOnARealManager takes a service through its life. The program stands in for minibotd: it notes what it was given.
func TestOnARealManager(t *testing.T) {
	sd := systemdtest.Start(t)
	for _, v := range sd.Env {
		key, value, _ := strings.Cut(v, "=")
		t.Setenv(key, value)
	}
	home := filepath.Join(t.TempDir(), `"h" \ `+awkward)
	program := filepath.Join(t.TempDir(), awkward, "minibotd")
	seen := filepath.Join(home, "seen")
	write(t, seen, "", 0o600)
	write(t, program, `#!/bin/sh
echo "$$ $1 $(umask) $(ulimit -c)" >> "$MINIBOT_HOME/seen"
trap 'exit 0' TERM
while :; do sleep 1 & wait $!; done
`, 0o700)
	m := &systemd.Manager{Settings: systemd.Settings{Program: program, Home: home}}
	is := func(what string, ok func(launchd.State) bool) launchd.State {
		t.Helper()
		state, err := m.State(t.Context())
		if err != nil || !ok(state) {
			t.Fatalf("%s: %+v, %v", what, state, err)
		}
		return state
	}
	unknown := func(s launchd.State) bool { return s == launchd.State{Session: true} }
	runs := func(s launchd.State) bool { return s.Session && s.Loaded && !s.Disabled && s.PID > 0 }

	is("before", unknown)
	if err := m.Unload(t.Context(), nil); err != nil {
		t.Fatalf("unload what is not there: %v", err)
	}
	path, content, err := m.Definition()
	if err != nil || path != filepath.Join(sd.UnitDir, systemd.Unit) {
		t.Fatal(path, err)
	}
	write(t, path, string(content), 0o600)
	var said []string
	for range 2 {
		if err := m.Load(t.Context(), func(s string) { said = append(said, s) }); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(said[:3], ", ") != "systemctl --user daemon-reload, systemctl --user enable minibot.service, systemctl --user restart minibot.service" {
		t.Errorf("said %q", said)
	}
	first := is("loaded", runs)
	if err := m.Kickstart(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := is("kickstarted", runs)
	if second.PID == first.PID {
		t.Error("kickstart left the old process")
	}
	if err := exec.Command("systemctl", "--user", "kill", "--signal=KILL", systemd.Unit).Run(); err != nil {
		t.Fatal(err)
	}
	until(t, "started again", func() bool {
		state, err := m.State(t.Context())
		return err == nil && state.PID > 0 && state.PID != second.PID && state.LastExit == ""
	})
	if got, err := os.ReadFile(seen); err != nil || !strings.HasSuffix(string(got), " run 0077 0\n") {
		t.Errorf("the daemon was given %q, %v", got, err)
	}
	for range 2 {
		if err := m.Unload(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	is("unloaded", func(s launchd.State) bool { return !s.Loaded && s.Disabled && s.PID == 0 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := m.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	is("forgotten", unknown)
	if left, _ := os.ReadDir(filepath.Join(sd.UnitDir, "default.target.wants")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("not " + what)
		}
	}
}

// TestFaults has a stand-in for systemctl that fails as the real one does.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   error
		hint   string
	}{
		"no manager": {"echo 'Failed to connect to bus: No medium found' >&2; exit 1", systemd.ErrNoManager, "log in as this user itself"},
		"no systemd": {"echo \"System has not been booted with systemd as init system (PID 1). Can't operate.\" >&2; exit 1", systemd.ErrNoManager, "minibotd run"},
		"masked":     {"echo 'Failed to enable unit: Unit file minibot.service is masked.' >&2; exit 1", systemd.ErrMasked, "unmask minibot.service"},
		"failed":     {"echo 'Job for canary-printed failed' >&2; exit 1", systemd.ErrFailed, "journalctl --user -u minibot.service"},
	} {
		program := filepath.Join(t.TempDir(), "systemctl")
		write(t, program, "#!/bin/sh\n"+test.script+"\n", 0o700)
		m := &systemd.Manager{Systemctl: program, UnitDir: t.TempDir()}
		err := m.Load(t.Context(), nil)
		if !errors.Is(err, test.want) || !strings.Contains(hint.Of(err), test.hint) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, hint %q", name, err, hint.Of(err))
		}
		state, err := m.State(t.Context())
		if wantErr := !errors.Is(test.want, systemd.ErrNoManager); (err != nil) != wantErr || state != (launchd.State{}) {
			t.Errorf("%s: state %+v, %v", name, state, err)
		}
	}
	absent := &systemd.Manager{Systemctl: "/nonexistent/systemctl", UnitDir: t.TempDir()}
	link := filepath.Join(absent.UnitDir, "default.target.wants", systemd.Unit)
	write(t, link, "", 0o600)
	if err := absent.Kickstart(t.Context()); !errors.Is(err, systemd.ErrNoManager) {
		t.Errorf("without systemctl: %v", err)
	}
	if err := errors.Join(absent.Unload(t.Context(), nil), absent.Forget(t.Context())); err != nil {
		t.Errorf("without systemctl there is nothing to unload: %v", err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without systemctl it is started at the next login: %v", err)
	}
	if err := absent.Unload(t.Context(), nil); err != nil {
		t.Errorf("and once more: %v", err)
	}
}

func TestStateOfStrangeAnswers(t *testing.T) {
	program := filepath.Join(t.TempDir(), "systemctl")
	m := &systemd.Manager{Systemctl: program, UnitDir: t.TempDir()}
	for answer, want := range map[string]launchd.State{
		`LoadState=loaded\nActiveState=activating\nUnitFileState=enabled\nMainPID=0\nExecMainCode=1\nExecMainStatus=203`: {Session: true, Loaded: true, LastExit: "exit status 203"},
		`LoadState=loaded\nActiveState=failed\nUnitFileState=disabled\nMainPID=0\nExecMainCode=2\nExecMainStatus=9`:      {Session: true, Disabled: true, LastExit: "signal 9"},
		`LoadState=not-found\nActiveState=inactive\nMainPID=0\nExecMainCode=1\nExecMainStatus=0`:                         {Session: true},
		`LoadState=not-found\nActiveState=active\nMainPID=7\nExecMainCode=1\nExecMainStatus=1`:                           {Session: true, Loaded: true, PID: 7, LastExit: "exit status 1"},
		`LoadState=masked\nActiveState=inactive\nUnitFileState=masked\nMainPID=0`:                                        {Session: true, Disabled: true},
	} {
		write(t, program, "#!/bin/sh\nprintf '"+answer+"\\n'\n", 0o700)
		if state, err := m.State(t.Context()); err != nil || state != want {
			t.Errorf("%s: %+v, %v", answer, state, err)
		}
	}
	for _, answer := range []string{"", "hello", "MainPID=12", "MainPID=x\nLoadState=loaded\nActiveState=active"} {
		write(t, program, "#!/bin/sh\necho '"+answer+"'\n", 0o700)
		if state, err := m.State(t.Context()); err == nil {
			t.Errorf("%q: %+v", answer, state)
		}
	}
	write(t, program, "#!/bin/sh\nhead -c 10000000 /dev/zero\nprintf '\\nLoadState=loaded\\nActiveState=active\\nMainPID=7\\n'\n", 0o700)
	if state, err := m.State(t.Context()); err == nil {
		t.Errorf("a flood: %+v", state)
	}
	write(t, program, "#!/bin/sh\nexec sleep 600\n", 0o700)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.State(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("systemctl hangs: %v", err)
	}
}

func TestAdvice(t *testing.T) {
	for answer, want := range map[string]bool{"no": true, "yes": false, "": false, "x; exit 1": false} {
		program := filepath.Join(t.TempDir(), "loginctl")
		write(t, program, "#!/bin/sh\necho "+answer+"\n", 0o700)
		got := (&systemd.Manager{Loginctl: program}).Advice(t.Context())
		if (len(got) == 1 && strings.Contains(got[0], "loginctl enable-linger")) != want || len(got) > 1 {
			t.Errorf("%q: %q", answer, got)
		}
	}
}
