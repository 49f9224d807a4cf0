package takeover

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/launchd"
	"minibot/launchd/launchdtest"
)

// TestDisableAgent has an agent of the old kind run under the emulated launchd, disables it, logs in anew, and undoes it.
func TestDisableAgent(t *testing.T) {
	l := launchdtest.Start(t)
	file := filepath.Join(l.AgentsDir(), "com.minibot.gateway.plist")
	script := filepath.Join(l.UserHome(), "start.sh")
	for path, text := range map[string]string{file: plistOf("com.minibot.gateway", "/bin/sh", script), script: "cd minibot; : docker compose up\nexec sleep 600\n"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	control := launchd.Launchctl{Program: l.Launchctl(), UID: l.UID()}
	if err := control.Bootstrap(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	found := agents(Surroundings{UserHome: l.UserHome(), Home: filepath.Join(l.UserHome(), "minibot")})
	if len(found) != 1 || found[0].Label != "com.minibot.gateway" {
		t.Fatalf("found %+v", found)
	}
	if err := os.WriteFile(file+Aside, []byte("an older one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more, as after an end in the middle
		var undo []string
		err := DisableAgent(t.Context(), found[0], control, func(commands []string) error {
			undo = commands
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the undo is noted after the effect: %v", err)
			}
			return nil
		})
		if err != nil || len(undo) != 3 || !strings.Contains(undo[0], Aside+".2") {
			t.Fatalf("%q, %v", undo, err)
		}
		if disabled, err := control.Disabled(t.Context()); err != nil || !disabled["com.minibot.gateway"] {
			t.Errorf("disabled: %v, %v", disabled, err)
		}
		if _, err := control.Print(t.Context(), "com.minibot.gateway"); !errors.Is(err, launchd.ErrNotLoaded) {
			t.Errorf("the agent is still loaded: %v", err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Error("the agent's file is still in its place")
		}
		if older, err := os.ReadFile(file + Aside); err != nil || string(older) != "an older one" {
			t.Errorf("the file that was moved aside before: %q, %v", older, err)
		}
		if err := os.Rename(file+Aside+".2", file); err != nil { // the undo
			t.Fatal(err)
		}
	}
}

// TestDisableAgentOfAnOddLabel moves the file of an agent whose label launchctl would not take, and gives no word of it to a shell.
func TestDisableAgentOfAnOddLabel(t *testing.T) {
	for _, label := range []string{"", "my gateway; rm -rf ~", "a/b", "-x", "$(id)"} {
		user := t.TempDir()
		file := filepath.Join(user, "Library", "LaunchAgents", "x.plist")
		err := os.MkdirAll(filepath.Dir(file), 0o700)
		if err == nil {
			err = os.WriteFile(file, []byte(plistOf(label, "sh", "-c", "cd ~/minibot; docker compose up")), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		found := agents(Surroundings{UserHome: user, Home: filepath.Join(user, "minibot")})
		if len(found) != 1 || !strings.HasPrefix(found[0].What, "login agent x.plist runs") {
			t.Fatalf("%q: %+v", label, found)
		}
		control := launchd.Launchctl{Program: "/nonexistent/launchctl"}
		err = DisableAgent(t.Context(), found[0], control, func(undo []string) error {
			if len(undo) != 1 || !strings.HasPrefix(undo[0], "mv ") {
				t.Errorf("%q: undo %q", label, undo)
			}
			return nil
		})
		if _, gone := os.Stat(file); err != nil || gone == nil {
			t.Errorf("%q: %v; the file stays: %v", label, err, gone == nil)
		}
	}
}

// inTheWay puts a file where an agent's is to go, once that was decided.
type inTheWay struct{ aside string }

func (i inTheWay) Disable(context.Context, string) error {
	return os.WriteFile(i.aside, []byte("another"), 0o600)
}
func (i inTheWay) Unload(context.Context, string) error { return nil }

// TestDisableAgentReplacesNothing has another file appear in the place of the one that is moved: both stay, and what to do is said.
func TestDisableAgentReplacesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "com.minibot.gateway.plist")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := Finding{Kind: KindAgent, Place: file, Label: "com.minibot.gateway"}
	err := DisableAgent(t.Context(), f, inTheWay{file + Aside}, func([]string) error { return nil })
	if !errors.Is(err, os.ErrExist) || hint.Of(err) == "" {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	for path, want := range map[string]string{file: "one", file + Aside: "another"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	refused := errors.New("the disk is full")
	err = DisableAgent(t.Context(), f, inTheWay{filepath.Join(file, "no folder")}, func([]string) error { return refused })
	if !errors.Is(err, refused) {
		t.Errorf("the undo could not be noted, and it went on: %v", err)
	}
}
