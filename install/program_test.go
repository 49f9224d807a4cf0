package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/config"
	"minibot/hint"
	"minibot/launchd"
	"minibot/launchd/systemd"
)

func TestChoose(t *testing.T) {
	paths, err := config.NewPaths("/home/you/minibot")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	writeFile(t, filepath.Join(bin, "launchctl"), "#!/bin/sh\n", 0o700)
	for kind, want := range map[string]string{"launchd": "launchd", "systemd": "systemd", "upstart": "", "none": ""} {
		t.Setenv("PATH", bin)
		t.Setenv(envManager, kind)
		m, err := Choose(t.Context(), paths, "/usr/local/bin/minibotd")
		switch {
		case want == "" && (err == nil || errors.Is(err, ErrNoManager) || hint.Of(err) == ""):
			t.Errorf("%s: %v", kind, err)
		case want != "" && (err != nil || m.Name() != want):
			t.Errorf("%s: %v, %v", kind, m, err)
		case want != "":
			if _, content, err := m.Definition(); err != nil || homeOf(m, content) != paths.Home {
				t.Errorf("%s: home %q, %v", kind, homeOf(m, content), err)
			}
		}
	}
	t.Setenv(envManager, "")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for home, want := range map[string]string{"/home/you/minibot": "`/p/minibotd run`", "/another/home": "`/p/minibotd --home /home/you/minibot run`"} {
		t.Setenv("MINIBOT_HOME", home)
		if _, err := Choose(t.Context(), paths, "/p/minibotd"); !errors.Is(err, ErrNoManager) || !strings.Contains(hint.Of(err), want) {
			t.Errorf("where there is nothing: %v, %s", err, hint.Of(err))
		}
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if m := Leftover(paths); m != nil {
		t.Errorf("left behind: %+v", m)
	}
	writeFile(t, filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "systemd", "user", systemd.Unit), "", 0o600)
	if m := Leftover(paths); m == nil || m.Name() != "systemd" {
		t.Errorf("with a unit: %+v", m)
	}
}

var _ = []Manager{&launchd.Manager{}, &systemd.Manager{}}

func TestBrewedAndTemporary(t *testing.T) {
	prefix, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(prefix, "Cellar", "minibot", "1.2", "bin", "minibotd")
	writeFile(t, program, "", 0o700)
	if got := brewed(program); got != program {
		t.Errorf("without a link: %s", got)
	}
	if err := os.Mkdir(filepath.Join(prefix, "opt"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../Cellar/minibot/1.2", filepath.Join(prefix, "opt", "minibot")); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(prefix, "opt", "minibot", "bin", "minibotd")
	if got := brewed(program); got != linked {
		t.Errorf("with a link: %s", got)
	}
	if _, err := Program(linked); !errors.Is(err, ErrTemporary) || !strings.Contains(hint.Of(err), "--program") {
		t.Errorf("below the temporary folder: %v", err)
	}
	if got, err := Program("/bin/sh"); err != nil || !filepath.IsAbs(got) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestExposed(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bin", "minibotd")
	writeFile(t, program, "", 0o700)
	for _, test := range []struct {
		path string
		mode fs.FileMode
		want int
	}{{program, 0o755, 0}, {program, 0o757, 1}, {filepath.Dir(program), 0o777, 1}, {filepath.Dir(program), 0o777 | fs.ModeSticky, 0}} {
		if err := os.Chmod(test.path, test.mode); err != nil {
			t.Fatal(err)
		}
		if got := Exposed(program); len(got) != test.want {
			t.Errorf("%s with %v: %q", test.path, test.mode, got)
		}
		if err := os.Chmod(test.path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
