// Package install puts minibot under the care of the system's manager of services (launchd, or systemd for a user), upgrades it
// in place, and takes it away again.
//
// It owns the order of the steps, what counts as done, and the choice of the manager: launchd on macOS, systemd where it is this
// machine's init and has a manager for this user. The environment variable MINIBOT_MANAGER, launchd or systemd, chooses one by
// name, for tests; launchctl and systemctl are then looked for in the PATH.
//
// It guarantees that a step which is done is not done again, that an interruption anywhere leaves a definition from which the old
// program or the new one starts, and that containers are not touched, but by an uninstall that stops the stack. It never removes
// what minibot did not make, never asks a person anything, and never prints: its callers do.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"minibot/config"
	"minibot/hint"
	"minibot/launchd"
	"minibot/launchd/systemd"
)

// Manager starts minibotd at login and keeps it running. [launchd.Manager] and [systemd.Manager] are the two. Its methods block
// until what they do is done, by deadlines of their own.
type Manager interface {
	Name() string                                          // "launchd" or "systemd"
	Definition() (path string, content []byte, err error)  // where the plist or unit lies, and what minibot wants in it
	State(ctx context.Context) (launchd.State, error)      // "not loaded" is a state, no error
	Load(ctx context.Context, report func(string)) error   // enable it, replace what is loaded, start it; idempotent
	Unload(ctx context.Context, report func(string)) error // end it, wait until it is gone; idempotent
	Kickstart(ctx context.Context) error                   // end it and start it anew
}

// Errors that callers may want to know.
var (
	// ErrNoManager: neither launchd nor a systemd for users is here.
	ErrNoManager = errors.New("nothing here starts minibotd at login")
	// ErrByHand: a minibotd runs that the manager did not start.
	ErrByHand = errors.New("a minibotd that was started by hand is running")
	// ErrOtherHome: the definition is another installation's.
	ErrOtherHome = errors.New("another installation is set up to start at login")
	// ErrNotInstalled: the manager does not run minibotd.
	ErrNotInstalled = errors.New("minibotd is not installed")
	// ErrTemporary: the program lies in a folder that is emptied.
	ErrTemporary = errors.New("this minibotd lies in a folder for temporary files")
	// ErrSilent: the daemon was started and does not answer.
	ErrSilent = errors.New("minibotd was started but does not answer")
)

// envManager names the manager for tests.
const envManager = "MINIBOT_MANAGER"

// Choose returns the manager of this machine for an installation. Where there is none the error wraps ErrNoManager and its hint
// says how to run minibotd without.
func Choose(ctx context.Context, paths config.Paths, program string) (Manager, error) {
	kind := os.Getenv(envManager)
	named := kind != ""
	if kind == "" && runtime.GOOS == "darwin" {
		kind = "launchd"
	}
	units := &systemd.Manager{Settings: systemd.Settings{Program: program, Home: paths.Home}}
	switch kind {
	case "launchd":
		return agent(paths, program, named)
	case "systemd":
		return units, nil
	case "":
		if units.Runs(ctx) {
			return units, nil
		}
		return nil, hint.Wrap(ErrNoManager, "run `%s` yourself, or have the supervisor in use run that line and restart it whenever it ends", runs(program, paths))
	}
	return nil, hint.Wrap(fmt.Errorf("%s names no manager", envManager), "set it to launchd or systemd, or unset it")
}

// runs is the command that runs minibotd without a manager.
func runs(program string, paths config.Paths) string {
	line := hint.Word(program)
	if program == AnyProgram {
		line = "minibotd"
	}
	if home, err := config.Home(); err != nil || home != paths.Home {
		line += " --home " + hint.Word(paths.Home)
	}
	return line + " run"
}

// Leftover returns the manager of a definition that lies here although Choose finds none, as after a `su` to this user, or nil.
func Leftover(paths config.Paths) Manager {
	units := &systemd.Manager{Settings: systemd.Settings{Program: AnyProgram, Home: paths.Home}}
	if path, err := units.Path(); err != nil || !exists(path) {
		return nil
	}
	return units
}

// AnyProgram stands for a program where it does not matter which one the definition names, and none is to be named in a hint.
const AnyProgram = "/usr/local/bin/minibotd"

// agent is launchd with the launchctl that macOS has, or that of the PATH where it was asked for by name.
func agent(paths config.Paths, program string, named bool) (Manager, error) {
	user, err := os.UserHomeDir()
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("find the home folder: %w", err), "set HOME")
	}
	launchctl := launchd.DefaultProgram
	if named {
		if launchctl, err = exec.LookPath("launchctl"); err != nil {
			return nil, hint.Wrap(fmt.Errorf("%w: there is no launchctl", ErrNoManager), "run `minibotd run`")
		}
	}
	return &launchd.Manager{
		Launchctl: launchd.Launchctl{Program: launchctl, UID: os.Getuid()},
		Settings:  launchd.Settings{Program: program, Home: paths.Home, UserHome: user, LogDir: paths.LogDir},
	}, nil
}

// homeOf returns the MINIBOT_HOME that a definition sets, or "" where it cannot be told.
func homeOf(m Manager, content []byte) string {
	if m.Name() == "systemd" {
		return systemd.Home(content)
	}
	d, err := launchd.Read(content)
	if err != nil { // damaged: nobody's any more
		return ""
	}
	return d.Environment["MINIBOT_HOME"]
}

// What became of a step.
const (
	Done    = "done"
	Already = "already" // it was done before
	Planned = "planned" // it would be done
	Skipped = "skipped" // it cannot be done now, and the message says why
)

// Outcome is what became of a step, or would.
type Outcome struct {
	Step    string `json:"step"`
	State   string `json:"state"` // Done, Already, Planned or Skipped
	Message string `json:"message"`
}

// step is one thing to see to.
type step struct {
	name, does string
	done       func(ctx context.Context) (note string, done bool, err error)           // changes nothing
	do         func(ctx context.Context, report func(string)) (note string, err error) // idempotent
}

// errSkipped makes a step Skipped, and the sequence go on.
type errSkipped struct{ why string }

func (e errSkipped) Error() string { return e.why }

// Sequence carries out steps. The zero value does them in silence.
type Sequence struct {
	DryRun bool
	Report func(step, message string) // progress within a step; may be nil
	Told   func(Outcome)              // each step's end; may be nil
	Before func(step string)          // called before each effect, for tests that end there; may be nil
}

// run does what is not done, in order, until the first failure.
func (s Sequence) run(ctx context.Context, steps []step) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		out, err := s.one(ctx, step)
		if err != nil {
			return err
		}
		if s.Told != nil {
			s.Told(out)
		}
	}
	return nil
}

func (s Sequence) one(ctx context.Context, step step) (Outcome, error) {
	note, done, err := step.done(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if done {
		return Outcome{step.name, Already, note}, nil
	}
	if s.DryRun {
		return Outcome{step.name, Planned, step.does}, nil
	}
	if s.Before != nil {
		s.Before(step.name)
	}
	note, err = step.do(ctx, func(message string) {
		if s.Report != nil {
			s.Report(step.name, message)
		}
	})
	if skipped := (errSkipped{}); errors.As(err, &skipped) {
		return Outcome{step.name, Skipped, skipped.why}, nil
	}
	if err != nil {
		return Outcome{}, err
	}
	if note == "" {
		note = step.does
	}
	return Outcome{step.name, Done, note}, nil
}

// never is for steps that are never done beforehand.
func never(context.Context) (string, bool, error) { return "", false, nil }

// insist keeps an interruption from ending what must not be left half done, and gives it a deadline.
func insist(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), most)
}

// exists tells whether anything is at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// others lists what lies in dir beside names.
func others(dir string, names ...string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look into the folder: %w", err)
	}
	var left []string
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left, nil
}
