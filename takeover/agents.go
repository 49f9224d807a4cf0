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
	return Findings{{Kind: KindAgent, Place: file, Label: a.Label, scripts: scripts, What: "login agent " + a.Label + " " + reason,
		Will: "disable it, end it, and move the file aside", Advice: "it would start the old stack beside minibot's"}}
}

// reasonOf says what makes an agent one that minibot replaces, "" for another one, and which scripts it runs.
func reasonOf(s Surroundings, a launchd.Definition) (reason string, scripts []string) {
	words := strings.Join(append([]string{a.Program}, a.Arguments...), " ")
	composes, ours := composeCommand.MatchString(words), mentions(words, s.Home, s.UserHome) || mentions(a.WorkingDirectory, s.Home, s.UserHome)
	for _, word := range append([]string{a.Program}, a.Arguments...) {
		script, err := head(word)
		if !filepath.IsAbs(word) || err != nil || len(script) == 0 || strings.ContainsRune(string(script[:min(len(script), 512)]), 0) {
			continue // no path, nothing there, or a program that is no script
		}
		scripts = append(scripts, word)
		composes = composes || composeCommand.Match(script)
		ours = ours || mentions(string(script), s.Home, s.UserHome)
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

// DisableAgent keeps a found agent from starting: it disables the label, ends what runs of it, and moves its file aside, never over another one. One
// that is not loaded, or a machine without a desktop session, is no error. It returns the commands that undo it. It can be repeated wherever it ended.
func DisableAgent(ctx context.Context, f Finding, control Launchctl) (undo []string, err error) {
	if f.Kind != KindAgent {
		return nil, fmt.Errorf("disable %s: it is no login agent", f.Place)
	}
	if f.Label != "" {
		if err := control.Disable(ctx, f.Label); err != nil {
			return nil, fmt.Errorf("disable login agent %s: %w", f.Label, err)
		}
		if err := control.Unload(ctx, f.Label); err != nil {
			return nil, fmt.Errorf("end login agent %s: %w", f.Label, err)
		}
	}
	aside := f.Place + Aside
	for n := 2; ; n++ {
		// a link is made where nothing is, and nowhere else: a rename would replace what is there
		if err = os.Link(f.Place, aside); !errors.Is(err, fs.ErrExist) {
			break
		}
		aside = fmt.Sprintf("%s.%d", f.Place+Aside, n)
	}
	if err == nil {
		err = os.Remove(f.Place)
	}
	if err != nil {
		return nil, fmt.Errorf("move the file of login agent %s aside: %w", f.Label, err)
	}
	undo = []string{fmt.Sprintf("mv %s %s", hint.Word(aside), hint.Word(f.Place))}
	if f.Label != "" {
		undo = append(undo, fmt.Sprintf("launchctl enable gui/$(id -u)/%s", f.Label), fmt.Sprintf("launchctl bootstrap gui/$(id -u) %s", hint.Word(f.Place)))
	}
	return undo, nil
}
