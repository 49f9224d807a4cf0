// Package takeover takes over from shell scripts that did minibot's work before it: it finds what they left on a machine, and moves
// their data into minibot's own stack.
//
// It owns the list of what such scripts leave behind (login agents, lines in shell files, .env files, Keychain items, containers, data folders), and the order of
// steps in which their data are adopted, with its journal in state/adopt.json. It guarantees that a finding names secrets and never holds a
// value; that nothing of theirs is removed: an agent's file is moved aside, a container is stopped and renamed, data are copied and only read
// where they lie; and that an adoption which ends anywhere can be run again, with half a copy discarded and never started. It never edits a
// person's shell file, never touches a container that it did not name before, and never decides without consent: that is asked by who calls it.
package takeover

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/stack"
)

// Kind says what was found.
type Kind string

// The kinds of findings.
const (
	KindAgent     Kind = "agent"     // a LaunchAgent that starts the stack, or a script of minibot's home, at login
	KindExport    Kind = "export"    // a shell file that puts a secret into the environment
	KindShadow    Kind = "shadow"    // an alias or function that stands before one of minibot's programs
	KindSource    Kind = "source"    // a shell file that reads a file of minibot's home in
	KindEnvFile   Kind = "env-file"  // a file of variables with secrets in it
	KindKeychain  Kind = "keychain"  // an item of the Keychain that a script reads or writes with security
	KindContainer Kind = "container" // a container with the name or a port of one of minibot's
	KindData      Kind = "data"      // a folder with a Postgres database
	KindUnread    Kind = "unread"    // what could not be looked at
)

// Finding is one thing that was left behind. It never holds a secret's value, nor a line of a file.
type Finding struct {
	Kind    Kind           `json:"kind"`
	Place   string         `json:"place"` // a file, file:line, "container NAME", or "item SERVICE (ACCOUNT)"
	Secrets []secrets.Name `json:"secrets,omitempty"`
	What    string         `json:"what"`
	Will    string         `json:"will,omitempty"` // what adopt does about it with consent; "" for nothing
	Advice  string         `json:"advice,omitempty"`

	Label     string          `json:"label,omitempty"` // of an agent
	Container *stack.Resident `json:"-"`
	Folder    string          `json:"-"` // of data, or one that may hold some
	Line      int             `json:"line,omitempty"`

	scripts []string // that an agent runs
}

// Findings is what Detect found, ordered by kind as above, then by place.
type Findings []Finding

// Of are the findings of one kind.
func (f Findings) Of(kind Kind) Findings {
	var some Findings
	for _, one := range f {
		if one.Kind == kind {
			some = append(some, one)
		}
	}
	return some
}

// Lines are the lines, as file:line, that a person is to remove by hand.
func (f Findings) Lines() []string {
	var lines []string
	for _, one := range f {
		if one.Kind == KindExport || one.Kind == KindShadow || one.Kind == KindSource {
			lines = append(lines, one.Place)
		}
	}
	return lines
}

// Surroundings says where to look. All paths are absolute.
type Surroundings struct {
	UserHome string // of the user: its shell files, Library/LaunchAgents
	Home     string // MINIBOT_HOME: its .env files and data folders
	Required []secrets.Name
	// Project is the stack that is to take over; its names and ports are compared with those of Residents. nil compares nothing.
	Project   *stack.Project
	Residents []stack.Resident // the containers of the engine; nil where there is none
	// Keychain returns where the items of the keychains lie. It is asked only where a script names items; nil where there is no Keychain.
	Keychain func(ctx context.Context) ([]security.Address, error)
}

// homes are the paths of minibot's home: as it is called, and where a link leads to.
func (s Surroundings) homes() []string {
	real, err := filepath.EvalSymlinks(s.Home)
	if err != nil || real == s.Home {
		return []string{s.Home}
	}
	return []string{s.Home, real}
}

// mentionsHome reports whether text names minibot's home, or something in it.
func (s Surroundings) mentionsHome(text string) bool {
	return slices.ContainsFunc(s.homes(), func(home string) bool { return mentions(text, home, s.UserHome) })
}

// Detect looks for what shell scripts left behind. What is not there is no finding; what cannot be read is one. It only
// fails when ctx ends. It changes nothing, runs no script, and reads no value that it keeps.
func Detect(ctx context.Context, s Surroundings) (Findings, error) {
	var all Findings
	for _, look := range []func(Surroundings) Findings{agents, shellFiles, envFiles, containers, dataFolders} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all = append(all, look(s)...)
	}
	all = append(all, keychain(ctx, s, all)...)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	order := []Kind{KindAgent, KindExport, KindShadow, KindSource, KindEnvFile, KindKeychain, KindContainer, KindData, KindUnread}
	slices.SortStableFunc(all, func(a, b Finding) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return all, nil
}

// unread is the finding of what could not be looked at.
func unread(place, what string) Finding {
	return Finding{Kind: KindUnread, Place: place, What: what, Advice: "look at it yourself"}
}

// mentions reports whether text names the folder, or something in it, in one of the ways that a shell or a plist would.
func mentions(text, folder, userHome string) bool {
	forms := []string{folder}
	if below, ok := strings.CutPrefix(folder, strings.TrimSuffix(userHome, "/")+"/"); ok {
		forms = append(forms, "~/"+below, "$HOME/"+below, "${HOME}/"+below)
	}
	for _, form := range forms {
		for rest := text; ; {
			_, after, ok := strings.Cut(rest, form)
			if !ok {
				break
			}
			if after == "" || strings.ContainsAny(after[:1], "/ \t\"';&|)") {
				return true
			}
			rest = after
		}
	}
	return false
}

// head reads the first part of a regular file, which is all that is looked at of any file here.
func head(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, os.ErrInvalid
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	data := make([]byte, min(info.Size(), maxFile))
	n, err := f.Read(data)
	if n == 0 && len(data) > 0 && err != nil {
		return nil, err
	}
	return data[:n], nil
}

// maxFile is the part of a file that is looked at, in bytes.
const maxFile = 1 << 20
