// Package securitytest builds the program that stands in for macOS's /usr/bin/security and gives tests handles on it.
//
// It owns the directory of each stand-in, with its keychains (see standin.State), and guarantees that stand-ins are
// independent of one another and of the machine's keychains. It is for tests only and keeps made-up values in the clear.
package securitytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/secrets/security/securitytest/standin"
)

// Keychain is the path of the keychain that a new stand-in has. There is no such file.
const Keychain = "/Users/you/Library/Keychains/login.keychain-db"

// Build compiles the program into dir and returns its path. Build it once for all the tests of a package.
func Build(dir string) (string, error) {
	program := filepath.Join(dir, "security")
	cmd := exec.Command("go", "build", "-o", program, "minibot/secrets/security/securitytest/security") //nolint:noctx // ends by itself
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in for security: %w: %s", err, out)
	}
	return program, nil
}

// Standin is one stand-in with keychains of its own. Its methods fail the test where something is wrong with the
// stand-in itself.
type Standin struct {
	Program string // its path, for Options.Program of the store
	t       testing.TB
	files   standin.Files
}

// New makes a stand-in in a directory of its own from a program that [Build] made, with one unlocked, empty keychain.
func New(t testing.TB, program string) *Standin {
	t.Helper()
	s := &Standin{Program: filepath.Join(t.TempDir(), "security"), t: t}
	s.check(os.Link(program, s.Program))
	s.files = standin.FilesOf(s.Program)
	s.Set(func(state *standin.State) {
		state.Keychains = []*standin.Keychain{{Path: Keychain, Password: "keychain-password"}}
	})
	return s
}

func (s *Standin) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Set changes the state, which processes that run see at once.
func (s *Standin) Set(edit func(*standin.State)) {
	s.t.Helper()
	s.check(s.files.Update(edit))
}

// State returns the state as it is now.
func (s *Standin) State() *standin.State {
	s.t.Helper()
	state, err := s.files.Load()
	s.check(err)
	return state
}

// Lock locks or unlocks every keychain.
func (s *Standin) Lock(locked bool) {
	s.Set(func(state *standin.State) {
		for _, k := range state.Keychains {
			k.Locked = locked
		}
	})
}

// Refuse makes every use of a value end with an OSStatus, such as standin.StatusDenied; 0 ends it.
func (s *Standin) Refuse(status int) { s.Set(func(state *standin.State) { state.Refuse = status }) }

// Deny makes every use of a value denied, or allowed again.
func (s *Standin) Deny(denied bool) {
	status := 0
	if denied {
		status = standin.StatusDenied
	}
	s.Refuse(status)
}

// Block makes every use of a value open a dialog that nobody answers, or answers all dialogs.
func (s *Standin) Block(blocked bool) {
	s.Set(func(state *standin.State) { state.Blocked = blocked })
}

// Reads tells how many values were read so far.
func (s *Standin) Reads() int { return s.State().Reads }

// SetClock sets the clock for good.
func (s *Standin) SetClock(at time.Time) {
	s.Set(func(state *standin.State) { state.Clock = at })
}

// Add puts an item into the first keychain, as another program would do it. Its dates are now unless they are set.
func (s *Standin) Add(item standin.Item) {
	s.Set(func(state *standin.State) {
		if item.Modified.IsZero() {
			item.Created, item.Modified = time.Now().UTC(), time.Now().UTC()
		}
		state.Keychains[0].Items = append(state.Keychains[0].Items, &item)
	})
}

// Items returns the items of all keychains.
func (s *Standin) Items() []*standin.Item {
	s.t.Helper()
	var all []*standin.Item
	for _, k := range s.State().Keychains {
		all = append(all, k.Items...)
	}
	return all
}

// Run runs the program with arguments, as a person types it, and returns what it printed and its exit status.
func (s *Standin) Run(arguments ...string) (stdout, stderr string, exit int) {
	s.t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(s.t.Context(), s.Program, arguments...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		s.t.Fatalf("security %q: %v", arguments, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Record returns every start of the program and every command, in order.
func (s *Standin) Record() []standin.Event {
	s.t.Helper()
	events, err := s.files.Events()
	s.check(err)
	return events
}

// MustKeepSecret fails the test when a process was started with one of the words among its arguments or in its environment.
func (s *Standin) MustKeepSecret(words ...string) {
	s.t.Helper()
	for _, event := range s.Record() {
		for _, text := range slices.Concat(event.Argv, event.Env) {
			for _, word := range words {
				if strings.Contains(text, word) {
					s.t.Errorf("a process was started with %q in sight", word)
				}
			}
		}
	}
}

// Idle reports whether no process of the program is left.
func (s *Standin) Idle() bool { return s.files.Idle() }

// Wait returns when no process of the program is left.
func (s *Standin) Wait() {
	s.t.Helper()
	s.check(s.files.Wait())
}
