package takeover

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"minibot/config"
)

// dying is a launchctl, and a process, that ends at a point.
type dying struct{ at string }

func (d *dying) reach(point string) {
	if point == d.at {
		panic(d)
	}
}

func (d *dying) Disable(context.Context, string) error { d.reach("disable"); return nil }
func (d *dying) Unload(context.Context, string) error  { d.reach("unload"); return nil }

// carry runs an adoption, with the plan that what is on the disk leads to, until it is done or dies.
func (d *dying) carry(t *testing.T, user string) (undo []string) {
	t.Helper()
	home := filepath.Join(user, "minibot")
	paths, err := config.NewPaths(home)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := ReadJournal(paths)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{Findings: agents(Surroundings{UserHome: user, Home: home}), journal: journal}
	a := &Adopter{Paths: paths, Launchd: d, At: d.reach, Report: func(string, string) {}, Hold: func(bool) error { return nil }}
	func() {
		defer func() {
			if dead := recover(); dead != nil && dead != d {
				panic(dead)
			}
		}()
		if err := a.Carry(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		d.at = ""
	}()
	if journal, err = ReadJournal(paths); err != nil {
		t.Fatal(err)
	}
	return journal.UndoCommands()
}

// TestUndoOfAnAgentOutlivesEveryEnd ends an adoption at each point of disabling an agent, of a file and of a link: what brings the agent
// back is in the journal then, works, and is the same when the adoption goes on.
func TestUndoOfAnAgentOutlivesEveryEnd(t *testing.T) {
	for _, point := range []string{"agent/noted", "disable", "unload", "linked", "agent/disabled", ""} {
		for _, link := range []bool{false, true} {
			user := t.TempDir()
			file := filepath.Join(user, "Library", "LaunchAgents", "com.minibot.it's.plist")
			text := plistOf("com.minibot.gateway", "/bin/sh", user+"/minibot/start.sh")
			source := file
			if link {
				source = filepath.Join(user, "dotfiles.plist")
			}
			err := os.MkdirAll(filepath.Join(user, "minibot", "state"), 0o700)
			if err == nil {
				err = os.MkdirAll(filepath.Dir(file), 0o700)
			}
			if err == nil {
				err = os.WriteFile(source, []byte(text), 0o600)
			}
			if err == nil && link {
				err = os.Symlink("../../dotfiles.plist", file)
			}
			if err != nil {
				t.Fatal(err)
			}
			d := &dying{point}
			if point == "linked" { // between the two halves of the move
				d.at = "unload"
			}
			undo := d.carry(t, user)
			if point == "linked" {
				if link {
					err = os.Symlink("../../dotfiles.plist", file+Aside)
				} else {
					err = os.Link(file, file+Aside)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if len(undo) != 3 || !strings.HasPrefix(undo[0], "mv ") {
				t.Fatalf("%s: the journal has %q", point, undo)
			}
			d.at = ""
			if again := d.carry(t, user); strings.Join(again, "\n") != strings.Join(undo, "\n") {
				t.Errorf("%s: once more, the journal has %q, and had %q", point, again, undo)
			}
			if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 || left[0].Name() != filepath.Base(file)+Aside {
				t.Errorf("%s: there are %v, %v", point, left, err)
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-ec", undo[0]).CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", point, undo[0], err, out)
			}
			if back, err := os.ReadFile(file); err != nil || string(back) != text {
				t.Errorf("%s: the file is %q, %v", point, back, err)
			}
			if target, err := os.Readlink(file); link != (err == nil) {
				t.Errorf("%s: the link is %q, %v", point, target, err)
			}
		}
	}
}
