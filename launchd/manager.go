package launchd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"minibot/hint"
)

// Defaults of a Manager's tunables.
const (
	DefaultPoll  = 250 * time.Millisecond
	DefaultGone  = 75 * time.Second // ExitTimeOut of the agent, and what launchd takes to forget it: 5 s were seen
	DefaultRetry = 30 * time.Second // launchd was seen to refuse a label for 5 s after it was gone
)

// State is what the system's manager of services knows of minibotd.
type State struct {
	Session  bool // there is a session to run it in: a desktop on macOS, a user manager on Linux
	Loaded   bool
	Disabled bool   // it will not be started at login
	PID      int    // 0 when it is not running
	LastExit string // how it ended last, in words; "" when it never did
}

// Manager loads minibot's LaunchAgent and keeps it as it should be. The file itself is its caller's: write what Definition
// says before Load, remove it after Unload. The fields are fixed once it is used; its methods may be called concurrently, but
// two Loads at a time get in each other's way.
type Manager struct {
	Launchctl Launchctl
	Settings  Settings
	AgentsDir string // "" is Library/LaunchAgents in the user's home folder

	Poll  time.Duration // between looks at what launchd does; 0 is DefaultPoll
	Gone  time.Duration // how long a bootout may take; 0 is DefaultGone
	Retry time.Duration // how long a bootstrap is tried again; 0 is DefaultRetry
}

// Name returns "launchd".
func (m *Manager) Name() string { return "launchd" }

func (m *Manager) path() string {
	if m.AgentsDir != "" {
		return filepath.Join(m.AgentsDir, Label+".plist")
	}
	return m.Settings.PlistPath()
}

// Definition returns where the property list lies and what belongs in it. It reads nothing.
func (m *Manager) Definition() (path string, content []byte, err error) {
	content, err = Render(m.Settings)
	return m.path(), content, err
}

// State asks launchd. An agent that is not loaded and a missing session are states, not errors.
func (m *Manager) State(ctx context.Context) (State, error) {
	var state State
	disabled, err := m.Launchctl.Disabled(ctx)
	if err != nil && !errors.Is(err, ErrNoSession) { // no domain of the user at all: nothing is known of marks
		return State{}, err
	}
	state.Disabled = disabled[Label]
	if state.Session, err = m.Launchctl.Session(ctx); err != nil || !state.Session {
		return state, err
	}
	job, err := m.Launchctl.Print(ctx, Label)
	if errors.Is(err, ErrNotLoaded) || errors.Is(err, ErrNoSession) { // logged out between the calls
		return state, nil
	}
	if err != nil {
		return State{}, err
	}
	state.Loaded, state.PID, state.LastExit = true, job.PID, job.LastExit
	return state, nil
}

// Load enables the agent, replaces what is loaded under its label by what the file says, and starts it. Interrupted anywhere, it
// can be called again, and so can it when all is done: then it starts the agent anew. report gets each step in words. Without a
// desktop session the agent is enabled and the error is ErrNoSession: launchd loads the file at the next login.
func (m *Manager) Load(ctx context.Context, report func(string)) error {
	if err := m.load(ctx, said(report)); err != nil {
		return fmt.Errorf("load the agent: %w", err)
	}
	return nil
}

func (m *Manager) load(ctx context.Context, report func(string, ...any)) error {
	target := m.Launchctl.Target(Label)
	report("launchctl enable %s", target)
	if err := m.Launchctl.Enable(ctx, Label); err != nil {
		return err
	}
	session, err := m.Launchctl.Session(ctx)
	if err != nil {
		return err
	}
	if !session {
		return hint.Wrap(ErrNoSession, hintUntilLogin)
	}
	if err := m.unload(ctx, Label, report); err != nil {
		return err
	}
	report("launchctl bootstrap %s %s", m.Launchctl.Domain(), m.path())
	if err := m.bootstrap(ctx); err != nil {
		return err
	}
	job, err := m.Launchctl.Print(ctx, Label)
	if err != nil || job.PID > 0 {
		return err
	}
	report("launchctl kickstart %s", target) // RunAtLoad starts it, but not always at once
	if err := m.Launchctl.Kickstart(ctx, Label, false); err != nil && !errors.Is(err, ErrBusy) {
		return err
	}
	return nil
}

// bootstrap tries until launchd takes the file. ErrIO and ErrBusy pass while it tidies up after the one before, and ErrIO stays
// when there is no session or the file is unusable.
func (m *Manager) bootstrap(ctx context.Context) error {
	enabled := false
	return m.until(ctx, or(m.Retry, DefaultRetry), func() (bool, error) {
		err := m.Launchctl.Bootstrap(ctx, m.path())
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, ErrDisabled) && !enabled: // somebody disabled it since
			enabled = true
			if enableErr := m.Launchctl.Enable(ctx, Label); enableErr != nil {
				return false, enableErr
			}
			return false, pending{err}
		case !errors.Is(err, ErrIO) && !errors.Is(err, ErrBusy):
			return false, err
		}
		if session, sessionErr := m.Launchctl.Session(ctx); sessionErr == nil && !session {
			return false, hint.Wrap(ErrNoSession, hintUntilLogin)
		}
		job, printErr := m.Launchctl.Print(ctx, Label)
		if printErr == nil && job.Path == m.path() { // a login or another install loaded the same file
			return true, nil
		}
		return false, pending{hint.Wrap(err, hintRefused, m.path(), m.Launchctl.Target(Label))}
	})
}

// Unload ends the agent's process and waits until launchd has forgotten it, at most Gone. It is idempotent: what is not loaded
// is no error, and neither is a missing session.
func (m *Manager) Unload(ctx context.Context, report func(string)) error {
	if err := m.unload(ctx, Label, said(report)); err != nil {
		return fmt.Errorf("unload the agent: %w", err)
	}
	return nil
}

// Unload ends another agent, label, and returns when launchd has forgotten it, 75 s at the most. One that is not loaded is no error.
func (l Launchctl) Unload(ctx context.Context, label string) error {
	return (&Manager{Launchctl: l}).unload(ctx, label, func(string, ...any) {})
}

func (m *Manager) unload(ctx context.Context, label string, report func(string, ...any)) error {
	target := m.Launchctl.Target(label)
	if _, err := m.Launchctl.Print(ctx, label); errors.Is(err, ErrNotLoaded) || errors.Is(err, ErrNoSession) {
		return nil
	} else if err != nil {
		return err
	}
	report("launchctl bootout %s", target)
	err := m.Launchctl.Bootout(ctx, label)
	if err != nil && !errors.Is(err, ErrNotLoaded) && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrIO) {
		return err
	}
	report("wait until launchctl print %s no longer finds it", target)
	err = m.until(ctx, or(m.Gone, DefaultGone), func() (bool, error) {
		_, err := m.Launchctl.Print(ctx, label)
		switch {
		case errors.Is(err, ErrNotLoaded), errors.Is(err, ErrNoSession):
			return true, nil
		case err != nil && !errors.Is(err, ErrBusy):
			return false, err
		}
		return false, pending{ErrBusy}
	})
	return hint.Wrap(err, hintStillThere, target, target)
}

// Kickstart ends the process, possibly by SIGKILL, and starts a new one. The property list is not read anew.
func (m *Manager) Kickstart(ctx context.Context) error {
	if err := m.Launchctl.Kickstart(ctx, Label, true); err != nil {
		return fmt.Errorf("start the agent anew: %w", err)
	}
	return nil
}

// pending wraps an error that may pass.
type pending struct{ error }

// Unwrap implements errors.Unwrap.
func (p pending) Unwrap() error { return p.error }

// until calls try until it is done or fails for good, at most for the time given; then it returns the last pending error.
func (m *Manager) until(ctx context.Context, most time.Duration, try func() (done bool, err error)) error {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(or(m.Poll, DefaultPoll))
	defer tick.Stop()
	for {
		done, err := try()
		var passing pending
		if done || err != nil && !errors.As(err, &passing) {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return passing.error
		case <-ctx.Done():
			return fmt.Errorf("wait for launchd: %w", ctx.Err())
		}
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// said returns report as a formatting function that may be called when report is nil.
func said(report func(string)) func(string, ...any) {
	return func(format string, arguments ...any) {
		if report != nil {
			report(fmt.Sprintf(format, arguments...))
		}
	}
}
