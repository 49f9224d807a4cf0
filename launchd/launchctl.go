package launchd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"minibot/hint"
	"minibot/process"
)

// Defaults of a Launchctl.
const (
	DefaultProgram = "/bin/launchctl"
	DefaultTimeout = 20 * time.Second // bootout of some systems waits for the process, which may take its exit timeout
)

// maxPrinted bounds what is kept of an answer. `print gui/501` of a Mac is about 145 KB.
const maxPrinted = 4 << 20

// Launchctl runs the program launchctl for one user. The methods block until it has answered or their time is over, may be
// called concurrently, and return errors that wrap one of this package's, mostly with a hint. It is a value without state.
type Launchctl struct {
	Program string        // absolute path; "" is DefaultProgram
	UID     int           // whose desktop session, os.Getuid() for one's own
	Timeout time.Duration // of one call; 0 is DefaultTimeout
}

// Domain returns the name of the user's desktop session for launchd, such as gui/501.
func (l Launchctl) Domain() string { return "gui/" + strconv.Itoa(l.UID) }

// Target returns the name of an agent for launchd, such as gui/501/com.minibot.
func (l Launchctl) Target(label string) string { return l.Domain() + "/" + label }

// labelPattern and maxLabel are what a label may be: launchd takes more, this package does not need it.
var labelPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const maxLabel = 200

// ValidLabel tells whether label can be given to these methods, which refuse others.
func ValidLabel(label string) bool { return len(label) <= maxLabel && labelPattern.MatchString(label) }

// Enable takes away the mark that keeps label from being loaded. It is idempotent and works for a label that is not loaded.
// Without a desktop session it goes through the domain user/UID, which shares the marks.
func (l Launchctl) Enable(ctx context.Context, label string) error {
	return l.mark(ctx, "enable", label)
}

// Disable keeps label from being loaded, at login too, until it is enabled. What is loaded stays. It is idempotent.
func (l Launchctl) Disable(ctx context.Context, label string) error {
	return l.mark(ctx, "disable", label)
}

func (l Launchctl) mark(ctx context.Context, verb, label string) error {
	err := l.do(ctx, label, verb, l.Target(label))
	if errors.Is(err, ErrNoSession) {
		err = l.do(ctx, label, verb, fmt.Sprintf("user/%d/%s", l.UID, label))
	}
	return err
}

// Bootstrap loads the agent of a property list, which must be an absolute path. ErrIO and ErrBusy: its label may be loaded
// still; see [Manager.Load].
func (l Launchctl) Bootstrap(ctx context.Context, path string) error {
	if err := validPath(path); err != nil {
		return fmt.Errorf("launchctl bootstrap: %w", err)
	}
	label := strings.TrimSuffix(filepath.Base(path), ".plist")
	_, err := l.run(ctx, l.Target(label), "bootstrap", l.Domain(), path)
	if errors.Is(err, ErrBadOwner) {
		return hint.Wrap(err, "run `chmod 600 '%s'` as its owner", path)
	}
	if errors.Is(err, ErrBadFile) {
		return hint.Wrap(err, "run `plutil -lint '%s'`", path)
	}
	return err
}

// Bootout asks launchd to end the process of label and to forget it. It returns before that is done: poll [Launchctl.Print].
func (l Launchctl) Bootout(ctx context.Context, label string) error {
	return l.do(ctx, label, "bootout", l.Target(label))
}

// Kickstart starts label now. With kill a running process is ended first, possibly by SIGKILL. Without, a running process
// stays, which some systems report as ErrBusy. It does not read a changed property list.
func (l Launchctl) Kickstart(ctx context.Context, label string, kill bool) error {
	if kill {
		return l.do(ctx, label, "kickstart", "-k", l.Target(label))
	}
	return l.do(ctx, label, "kickstart", l.Target(label))
}

// Print returns what launchd knows of label, or ErrNotLoaded, or ErrNoSession.
func (l Launchctl) Print(ctx context.Context, label string) (Job, error) {
	if err := checkLabel("print", label); err != nil {
		return Job{}, err
	}
	out, err := l.run(ctx, l.Target(label), "print", l.Target(label))
	if err != nil {
		return Job{}, err
	}
	return parseJob(out, l.Target(label))
}

// Disabled returns the labels that were disabled (true) or enabled (false) by hand. A label that is not in it was neither.
func (l Launchctl) Disabled(ctx context.Context) (map[string]bool, error) {
	out, err := l.run(ctx, l.Domain(), "print-disabled", l.Domain())
	if errors.Is(err, ErrNoSession) {
		out, err = l.run(ctx, l.Domain(), "print-disabled", fmt.Sprintf("user/%d", l.UID))
	}
	if err != nil {
		return nil, err
	}
	return parseDisabled(out)
}

// Session tells whether the user has a desktop session that agents of session type Aqua are loaded into.
func (l Launchctl) Session(ctx context.Context) (bool, error) {
	out, err := l.run(ctx, l.Domain(), "print", l.Domain())
	if errors.Is(err, ErrNoSession) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return parseSession(out, l.Domain())
}

func checkLabel(verb, label string) error {
	if !ValidLabel(label) {
		return fmt.Errorf("launchctl %s: the label must be letters, digits, '.', '_' and '-', at most 200", verb)
	}
	return nil
}

func (l Launchctl) do(ctx context.Context, label, verb string, arguments ...string) error {
	if err := checkLabel(verb, label); err != nil {
		return err
	}
	_, err := l.run(ctx, l.Target(label), verb, arguments...)
	return err
}

// run runs launchctl and returns its stdout. target is for hints.
func (l Launchctl) run(ctx context.Context, target, verb string, arguments ...string) (string, error) {
	program, timeout := l.Program, l.Timeout
	if program == "" {
		program = DefaultProgram
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{verb}, arguments...)...) //nolint:gosec // the labels and paths are checked
	const afterKill = time.Second                                                     // for a child of its own that keeps the pipes open
	cmd.WaitDelay = afterKill
	stdout, stderr := process.Limited{Max: maxPrinted}, process.Limited{Max: maxPrinted}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	switch {
	case err == nil:
		if stdout.Over {
			return "", &Failure{Verb: verb, Exit: -1, Err: ErrUnknown}
		}
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", late(verb, ctx.Err())
	case errors.As(err, &exited) && exited.Exited():
		return "", classify(verb, exited.ExitCode(), stderr.String()+stdout.String(), target)
	case errors.As(err, &exited), errors.Is(err, exec.ErrWaitDelay): // a signal ended it, or a child of it lives on
		return "", &Failure{Verb: verb, Exit: -1, Err: ErrUnknown}
	}
	return "", hint.Wrap(&Failure{Verb: verb, Exit: -1, Err: fmt.Errorf("%w: %w", ErrNoProgram, errors.Unwrap(err))},
		"this needs macOS; %s belongs to it", DefaultProgram)
}
