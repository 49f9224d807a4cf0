package takeover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"minibot/hint"
	"minibot/launchd"
)

var composeCommand = regexp.MustCompile(`\bdocker[- ]compose\b|\bdocker\b[^\n]*\bcompose\b`)

// agents finds LaunchAgents that do what minibot does.
func agents(s Surroundings) Findings {
	folder := filepath.Join(s.UserHome, "Library", "LaunchAgents")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Findings{unread(folder, "its login agents cannot be listed")}
	}
	var found Findings
	for _, entry := range entries {
		if file := filepath.Join(folder, entry.Name()); strings.HasSuffix(file, ".plist") {
			found = append(found, lookAtAgent(s, file)...)
		}
	}
	return found
}

func lookAtAgent(s Surroundings, file string) Findings {
	data, err := head(file)
	if errors.Is(err, fs.ErrNotExist) { // a link to nothing
		return nil
	}
	var a launchd.Definition
	if err == nil {
		a, err = launchd.Read(data)
	}
	if err != nil {
		return Findings{unread(file, "its property list cannot be read, so what it starts at login is not known")}
	}
	if a.Label == launchd.Label || a.Label == "" && strings.TrimSuffix(filepath.Base(file), ".plist") == launchd.Label {
		return nil
	}
	reason, scripts := reasonOf(s, a)
	if reason == "" {
		return nil
	}
	called := a.Label
	if !launchd.ValidLabel(a.Label) { // nor does launchctl take it as a word of its own
		a.Label, called = "", filepath.Base(file)
	}
	return Findings{{Kind: KindAgent, Place: file, Label: a.Label, scripts: scripts, What: "login agent " + called + " " + reason,
		Will: "disable it, end it, and move the file aside", Advice: "it would start the old stack beside minibot's"}}
}

// reasonOf says what makes an agent one that minibot replaces, "" for another one, and which scripts it runs.
func reasonOf(s Surroundings, a launchd.Definition) (reason string, scripts []string) {
	words := strings.Join(append([]string{a.Program}, a.Arguments...), " ")
	composes, ours := composeCommand.MatchString(words), s.mentionsHome(words) || s.mentionsHome(a.WorkingDirectory)
	for _, word := range append([]string{a.Program}, a.Arguments...) {
		script, err := head(word)
		if !filepath.IsAbs(word) || err != nil || len(script) == 0 || strings.ContainsRune(string(script[:min(len(script), 512)]), 0) {
			continue // no path, nothing there, or a program that is no script
		}
		scripts = append(scripts, word)
		composes = composes || composeCommand.Match(script)
		ours = ours || s.mentionsHome(string(script))
	}
	switch {
	case ours && composes:
		reason = "runs docker compose for minibot's folder"
	case ours:
		reason = "runs something of minibot's folder"
	case strings.HasPrefix(a.Label, launchd.Label+"."):
		reason = "has a label of minibot's"
	case composes && strings.Contains(strings.ToLower(words+a.WorkingDirectory+a.Label), "minibot"):
		reason = "runs docker compose for minibot"
	}
	return reason, scripts
}

// Launchctl is what disabling an agent needs of [launchd.Launchctl].
type Launchctl interface {
	Disable(ctx context.Context, label string) error
	Unload(ctx context.Context, label string) error
}

// Aside is what is appended to the name of an agent's file that is moved aside.
const Aside = ".disabled-by-minibot"

// DisableAgent keeps a found agent from starting: it disables the label, ends what runs of it, and moves its file aside, never over another one. Of
// one without a label that launchctl takes only the file is moved, so that what runs goes on until the session ends. One that is not loaded, or a machine without a desktop session, is no error. note is given the commands that undo it before anything is
// changed; its error ends it. It can be repeated wherever it ended, and gives note the same commands then.
func DisableAgent(ctx context.Context, f Finding, control Launchctl, note func(undo []string) error) error {
	if f.Kind != KindAgent {
		return fmt.Errorf("disable %s: it is no login agent", f.Place)
	}
	aside, err := asideOf(f.Place)
	if err != nil {
		return err
	}
	undo := []string{fmt.Sprintf("mv %s %s", hint.Word(aside), hint.Word(f.Place))}
	if f.Label != "" {
		undo = append(undo, "launchctl enable gui/$(id -u)/"+hint.Word(f.Label), "launchctl bootstrap gui/$(id -u) "+hint.Word(f.Place))
	}
	if err := note(undo); err != nil {
		return err
	}
	if f.Label != "" {
		if err := control.Disable(ctx, f.Label); err != nil {
			return fmt.Errorf("disable login agent %s: %w", f.Label, err)
		}
		if err := control.Unload(ctx, f.Label); err != nil {
			return fmt.Errorf("end login agent %s: %w", f.Label, err)
		}
	}
	if err := moveAside(f.Place, aside); err != nil {
		return hint.Wrap(fmt.Errorf("move the file of login agent %s aside: %w", f.Label, err), "move %s to another folder yourself, then do this again", hint.Word(f.Place))
	}
	return nil
}

// asideOf is where an agent's file goes: where nothing is, or where it stands already, since a move that was cut short leaves both.
func asideOf(place string) (string, error) {
	aside := place + Aside
	for n := 2; ; n++ {
		same, err := sameFile(place, aside)
		if errors.Is(err, fs.ErrNotExist) || same {
			return aside, nil
		}
		if err != nil {
			return "", fmt.Errorf("look for a place for %s: %w", place, err)
		}
		aside = fmt.Sprintf("%s.%d", place+Aside, n)
	}
}

// moveAside makes a second name where nothing is, and takes the first one away: a rename would replace what is there.
func moveAside(place, aside string) error {
	target, err := os.Readlink(place)
	if err == nil { // macOS would give the second name to what the link points to
		err = os.Symlink(target, aside)
	} else {
		err = os.Link(place, aside)
	}
	if errors.Is(err, fs.ErrExist) {
		var same bool
		if same, err = sameFile(place, aside); err == nil && !same {
			err = fmt.Errorf("%s: %w", aside, fs.ErrExist)
		}
	}
	if err == nil {
		err = os.Remove(place)
	}
	if _, gone := os.Lstat(place); errors.Is(gone, fs.ErrNotExist) { // another one has moved it
		return nil
	}
	return err
}

// sameFile reports whether two names are of one file, or are links to the same place; ErrNotExist where b is nothing.
func sameFile(a, b string) (bool, error) {
	infoB, err := os.Lstat(b)
	if err != nil {
		return false, err
	}
	infoA, err := os.Lstat(a)
	if err != nil {
		return false, err
	}
	targetA, errA := os.Readlink(a)
	targetB, errB := os.Readlink(b)
	return os.SameFile(infoA, infoB) || errA == nil && errB == nil && targetA == targetB, nil
}
