package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
)

// Removal is what Uninstall sees to. Paths and Operate are required.
type Removal struct {
	Paths   config.Paths
	Manager Manager                                                                // nil where nothing starts minibotd at login
	Keep    bool                                                                   // leave the stack running, with its secrets in memory
	Project func() (string, error)                                                 // the project that a daemon loaded last; "" for none ever; nil is not known
	Operate func(context.Context, control.Operation, func(control.Progress)) error // orders to the daemon
	Purge   *Purge                                                                 // nil keeps secrets and data

	Terminate func(pid int) error // has a process end; nil sends SIGTERM
}

// Uninstall takes minibotd from the manager's care: it has the daemon stop the stack, ends the daemon, whoever started it, and removes
// the definition. Secrets, data, configuration and logs stay, but for a purge. It can be repeated, whatever interrupted it.
func (r *Removal) Uninstall(ctx context.Context, s Sequence) error {
	steps := []step{
		{"stack", "have minibotd stop the stack, and take the secrets out of memory", r.stackDown, r.stop},
		{"stop", "end minibotd", r.unloaded, r.unload},
	}
	path := ""
	if r.Manager != nil {
		var err error
		if path, err = r.definition(); err != nil {
			return err
		}
		steps[1].does = fmt.Sprintf("end minibotd and have %s no longer start it", r.Manager.Name())
		steps = append(steps, step{"definition", "remove " + path, r.undefined, r.undefine})
	}
	steps = append(steps, step{"traces", "remove the notes of the installation", r.traceless, r.forget})
	if r.Purge != nil {
		steps = append(steps, r.Purge.steps(r.Paths)...)
	}
	return s.inTurn(ctx, path, steps)
}

func (r *Removal) definition() (string, error) {
	path, _, err := r.Manager.Definition()
	return path, err
}

// runs tells whether a daemon holds the lock or the manager is about to start one.
func (r *Removal) runs(ctx context.Context) (bool, error) {
	pid, err := control.DaemonPID(r.Paths.DaemonLock)
	if err != nil || pid != 0 || r.Manager == nil {
		return pid != 0, err
	}
	state, err := r.Manager.State(ctx)
	return state.Loaded, err
}

// stackDown is done where the stack is to stay, and where no daemon runs or is about to.
func (r *Removal) stackDown(ctx context.Context) (string, bool, error) {
	if r.Keep {
		return "the stack stays up as asked for; nothing heals it, and its secrets stay in memory", true, nil
	}
	runs, err := r.runs(ctx)
	return "no minibotd runs: what there is of the stack stays as it is", !runs, err
}

func (r *Removal) stop(ctx context.Context, report func(string)) (string, error) {
	if err := saveIntent(r.Paths); err != nil {
		return "", err
	}
	err := r.Operate(ctx, control.Operation{Verb: control.VerbStop}, func(p control.Progress) {
		if p.Service != "" {
			p.Message = p.Service + ": " + p.Message
		}
		report(p.Message)
	})
	if err != nil && r.Project != nil {
		if project, projectErr := r.Project(); projectErr == nil && project == "" {
			return "minibotd never had a stack up", nil
		}
	}
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("stop the stack: %w", err), "`minibotd doctor` says what is wrong; `minibotd uninstall --keep-running` leaves it running; `minibotd start` takes the stop back")
	}
	return "the stack is down", nil
}

func (r *Removal) unloaded(ctx context.Context) (string, bool, error) {
	runs, err := r.runs(ctx)
	if r.Manager == nil || err != nil {
		return "no minibotd runs", !runs, err
	}
	path, err := r.definition()
	return r.Manager.Name() + " does not run minibotd", !runs && !isFile(path), err
}

// unload is not ended by an interruption: a daemon that is half gone is started again by nobody.
func (r *Removal) unload(ctx context.Context, report func(string)) (string, error) {
	ctx, cancel := insist(ctx, loadTimeout)
	defer cancel()
	if r.Manager != nil {
		if err := r.Manager.Unload(ctx, report); err != nil {
			return "", err
		}
	}
	return "", r.end(ctx, report)
}

// end ends a daemon that the manager did not start, and returns when it is gone.
func (r *Removal) end(ctx context.Context, report func(string)) error {
	first, err := control.DaemonPID(r.Paths.DaemonLock)
	if err != nil || first == 0 {
		return err
	}
	report(fmt.Sprintf("end the minibotd that was started by hand (pid %d)", first))
	terminate := r.Terminate
	if terminate == nil {
		terminate = func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }
	}
	if err := terminate(first); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end minibotd (pid %d): %w", first, err)
	}
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	for {
		pid, err := control.DaemonPID(r.Paths.DaemonLock)
		if err != nil || pid == 0 {
			return err
		}
		if pid != first {
			return hint.Wrap(fmt.Errorf("%w: something started it again (pid %d)", ErrByHand, pid), "have whatever runs minibotd here no longer do so, and try again")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return hint.Wrap(fmt.Errorf("%w (pid %d) and does not end", ErrByHand, pid), "end it with `kill -9 %d`, which leaves the stack as it is, and try again", pid)
		}
	}
}

func (r *Removal) undefined(context.Context) (string, bool, error) {
	path, err := r.definition()
	return "there is no " + path, !isFile(path), err
}

// isFile tells whether a definition may be at path: a file or a symlink. A folder is nobody's definition.
func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && !info.IsDir()
}

// undefine removes the definition, and has a manager that keeps what it read forget it.
func (r *Removal) undefine(ctx context.Context, _ func(string)) (string, error) {
	path, err := r.definition()
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", hint.Wrap(fmt.Errorf("remove the definition: %w", err), "look at the disk and the owner of %s, and try again", filepath.Dir(path))
	}
	if m, ok := r.Manager.(interface{ Forget(context.Context) error }); ok {
		return "", m.Forget(ctx)
	}
	return "", nil
}

// traces are files that mean nothing once nothing is installed. The lock is none of them: who waits for it has it open.
func (r *Removal) traces() []string { return []string{markOf(r.Paths)} }

func (r *Removal) traceless(context.Context) (string, bool, error) {
	for _, path := range append(r.traces(), intentBefore(r.Paths)) {
		if exists(path) {
			return "", false, nil
		}
	}
	return "there are none", true, nil
}

func (r *Removal) forget(context.Context, func(string)) (string, error) {
	err := restoreIntent(r.Paths)
	for _, path := range r.traces() {
		if removeErr := os.Remove(path); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove a note: %w", removeErr))
		}
	}
	return "", err
}

// intentBefore is where uninstall keeps what a person wanted to be down, while the stack is stopped for it.
func intentBefore(paths config.Paths) string {
	return filepath.Join(paths.StateDir, "intent-before-uninstall.json")
}

// saveIntent keeps a copy of what is to be down, unless an earlier attempt did. No file, nothing to be down, is an empty copy.
func saveIntent(paths config.Paths) error {
	if exists(intentBefore(paths)) {
		return nil
	}
	text, err := os.ReadFile(paths.Intent)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = config.ReplaceFile(intentBefore(paths), text)
	}
	if err != nil {
		return fmt.Errorf("keep what was stopped: %w", err)
	}
	return nil
}

// restoreIntent undoes what the stop of an uninstall left in the daemon's notes; no daemon may run that knows of it.
func restoreIntent(paths config.Paths) error {
	text, err := os.ReadFile(intentBefore(paths))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil: // told below
	case len(text) == 0:
		if err = os.Remove(paths.Intent); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	default:
		err = config.ReplaceFile(paths.Intent, text)
	}
	if err == nil {
		err = os.Remove(intentBefore(paths))
	}
	if err != nil {
		return fmt.Errorf("take back the stop: %w", err)
	}
	return nil
}
