// Package systemd keeps minibotd running under systemd's manager of a user's services, as package launchd does on macOS.
//
// It owns the unit minibot.service and a client of `systemctl --user`. It guarantees that every call ends by its deadline and
// that what systemctl printed is in no error. The unit's file is its caller's: write what Definition says before Load, remove
// it after Unload and call Forget. It needs no root and never touches the system's own manager.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"minibot/hint"
	"minibot/launchd"
	"minibot/process"
)

// Errors of a Manager.
var (
	// ErrNoManager: no manager of user services answers: no systemd, or no session of this user.
	ErrNoManager = errors.New("systemd's manager of user services does not answer")
	// ErrMasked: somebody masked the unit.
	ErrMasked = errors.New("the unit is masked")
	// ErrFailed: systemctl could not do it.
	ErrFailed = errors.New("systemctl could not do it")
)

// callTimeout is for one call of systemctl: a stop may take TimeoutStopSec of the unit, 60 s.
const callTimeout = 90 * time.Second

// maxPrinted bounds what is kept of what systemctl prints: six properties take less than a KiB.
const maxPrinted = 64 << 10

// Manager keeps minibotd running. Its methods block until systemd has done what they say, and may be called concurrently.
type Manager struct {
	Settings  Settings
	Systemctl string // "" is systemctl of the PATH
	Loginctl  string // "" is loginctl of the PATH
	UnitDir   string // "" is systemd/user below the user's configuration
}

// Name returns "systemd".
func (m *Manager) Name() string { return "systemd" }

// Path returns where the unit's file lies.
func (m *Manager) Path() (string, error) {
	if m.UnitDir != "" {
		return filepath.Join(m.UnitDir, Unit), nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("find the folder of units: %w", err), "set HOME")
	}
	return filepath.Join(config, "systemd", "user", Unit), nil
}

// Definition returns where the unit lies and what belongs in it. It reads nothing.
func (m *Manager) Definition() (path string, content []byte, err error) {
	path, err = m.Path()
	if err != nil {
		return "", nil, err
	}
	content, err = Render(m.Settings)
	return path, content, err
}

// State asks systemd. A unit that it does not know, and a manager that does not answer, are states.
func (m *Manager) State(ctx context.Context) (launchd.State, error) {
	out, err := m.systemctl(ctx, "show", Unit, "--property=LoadState,ActiveState,UnitFileState,MainPID,ExecMainCode,ExecMainStatus")
	if errors.Is(err, ErrNoManager) {
		return launchd.State{}, nil
	}
	if err != nil {
		return launchd.State{}, err
	}
	return parse(out)
}

// parse reads the properties that State asks for.
func parse(out string) (launchd.State, error) {
	p := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		p[key] = value
	}
	pid, err := strconv.Atoi(p["MainPID"])
	if err != nil || p["LoadState"] == "" || p["ActiveState"] == "" {
		return launchd.State{}, fmt.Errorf("ask systemd for the unit: %w: an answer that minibot does not know", ErrFailed)
	}
	state := launchd.State{Session: true, PID: pid}
	switch p["ActiveState"] {
	case "active", "activating", "reloading", "deactivating":
		state.Loaded = true
	}
	if p["LoadState"] == "not-found" && !state.Loaded { // systemd remembers its last end until it collects the unit, at its leisure
		return launchd.State{Session: true}, nil
	}
	state.Disabled = p["LoadState"] == "masked" || p["LoadState"] == "loaded" && p["UnitFileState"] != "enabled" && p["UnitFileState"] != "enabled-runtime"
	status := p["ExecMainStatus"]
	switch p["ExecMainCode"] { // of waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED
	case "1":
		state.LastExit = "exit status " + status
	case "2", "3":
		state.LastExit = "signal " + status
	}
	return state, nil
}

// Load makes systemd read the unit's file, start it at login, and start it now, anew where it runs. It is idempotent.
func (m *Manager) Load(ctx context.Context, report func(string)) error {
	for _, args := range [][]string{{"daemon-reload"}, {"enable", Unit}, {"restart", Unit}} {
		if report != nil {
			report("systemctl --user " + strings.Join(args, " "))
		}
		if _, err := m.systemctl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// Unload ends the daemon, waits until it is gone, and has it no longer started at login. It is idempotent. Where no manager answers, it
// only removes what has the unit started at login.
func (m *Manager) Unload(ctx context.Context, report func(string)) error {
	known, err := m.systemctl(ctx, "show", Unit, "--property=LoadState", "--value")
	if errors.Is(err, ErrNoManager) {
		return m.disable()
	}
	if err == nil && strings.TrimSpace(known) == "not-found" {
		return nil
	}
	for _, args := range [][]string{{"stop", Unit}, {"disable", Unit}, {"daemon-reload"}} { // without the last it may still say "enabled"
		if err != nil {
			return err
		}
		if report != nil {
			report("systemctl --user " + strings.Join(args, " "))
		}
		_, err = m.systemctl(ctx, args...)
	}
	return err
}

// disable is what `systemctl --user disable` does, without a manager that could.
func (m *Manager) disable() error {
	path, err := m.Path()
	if err == nil {
		err = os.Remove(filepath.Join(filepath.Dir(path), "default.target.wants", Unit))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("disable the unit: %w", err)
	}
	return nil
}

// Forget has systemd notice that the unit's file is gone.
func (m *Manager) Forget(ctx context.Context) error {
	_, err := m.systemctl(ctx, "daemon-reload")
	if errors.Is(err, ErrNoManager) {
		return nil
	}
	return err
}

// Kickstart ends the daemon and starts it anew, also where it was not running.
func (m *Manager) Kickstart(ctx context.Context) error {
	_, err := m.systemctl(ctx, "restart", Unit)
	return err
}

// Advice returns what a person should know who wants the daemon to run without a login, or nothing.
func (m *Manager) Advice(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	program := m.Loginctl
	if program == "" {
		program = "loginctl"
	}
	out, err := exec.CommandContext(ctx, program, "show-user", strconv.Itoa(os.Getuid()), "--property=Linger", "--value").Output()
	if err != nil || strings.TrimSpace(string(out)) != "no" { // a system without logind has no lingering either
		return nil
	}
	return []string{"minibotd starts at your login and ends with it; for a start at boot: loginctl enable-linger"}
}

// Runs tells whether systemd is this machine's init, and its manager of this user's services answers.
func (m *Manager) Runs(ctx context.Context) bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	_, err := m.systemctl(ctx, "show", "--property=Version")
	return err == nil
}

// systemctl runs `systemctl --user` and returns its stdout.
func (m *Manager) systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	program := m.Systemctl
	if program == "" {
		program = "systemctl"
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--user", "--no-pager", "--no-ask-password"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if runtime := "/run/user/" + strconv.Itoa(os.Getuid()); os.Getenv("XDG_RUNTIME_DIR") == "" && isDir(runtime) { // as with su and sudo
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+runtime)
	}
	cmd.WaitDelay = time.Second
	stdout, stderr := process.Limited{Max: maxPrinted}, process.Limited{Max: maxPrinted}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("systemctl --user %s: %w", args[0], ctx.Err())
	case !errors.As(err, &exited):
		return "", hint.Wrap(fmt.Errorf("%w: systemctl cannot be run: %w", ErrNoManager, err), "run `minibotd run`, or have the supervisor in use run it")
	case strings.Contains(stderr.String(), "connect to bus"), strings.Contains(stderr.String(), "booted with systemd"):
		return "", hint.Wrap(ErrNoManager, "log in as this user itself, not through su or sudo, or run `minibotd run`")
	case strings.Contains(stderr.String(), "is masked"):
		return "", hint.Wrap(ErrMasked, "run `systemctl --user unmask %s`", Unit)
	}
	return "", hint.Wrap(fmt.Errorf("systemctl --user %s: %w (exit status %d)", args[0], ErrFailed, exited.ExitCode()),
		"look at `systemctl --user status %s` and `journalctl --user -u %s`", Unit, Unit)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
