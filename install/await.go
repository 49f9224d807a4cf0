package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/launchd"
)

// awaitInterval is how often the daemon is asked; the manager is asked once for each answer.
const awaitInterval = 200 * time.Millisecond

// askTimeout is for one question: a daemon that is about to end may not answer any more.
const askTimeout = 5 * time.Second

// Awaited is the daemon to wait for. Status and Manager are required.
type Awaited struct {
	Manager  Manager
	Status   func(context.Context) (control.Status, error)
	Paths    config.Paths
	Not      int                       // the pid of the daemon that is to be gone; 0 for none
	Until    func(control.Status) bool // nil for the first answer
	Patience time.Duration             // 0 is DefaultPatience
}

// Await waits for an answer of the process that the manager runs and returns it. report gets each new thing that is waited for.
// After Patience the error is ErrSilent, with what is known of why, or for an Until the last answer.
func Await(ctx context.Context, a Awaited, report func(string)) (control.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(a.Patience, DefaultPatience), ErrSilent)
	defer cancel()
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	said := ""
	for {
		status, what, ok := a.look(ctx)
		if ok {
			return status, nil
		}
		if what != said {
			report(what)
			said = what
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrSilent) {
				return status, a.late(context.WithoutCancel(ctx), what)
			}
			return status, ctx.Err()
		}
	}
}

// look asks once. what says what is still waited for.
func (a Awaited) look(ctx context.Context) (status control.Status, what string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status, err := a.Status(ctx)
	if err != nil {
		return status, "waiting for minibotd to answer", false
	}
	if status.PID == a.Not {
		return status, "waiting for the old minibotd to end", false
	}
	state, err := a.Manager.State(ctx)
	if err != nil || state.PID != status.PID {
		return status, "waiting for the minibotd that " + a.Manager.Name() + " runs", false
	}
	if a.Until != nil && !a.Until(status) {
		what = string(status.Phase)
		if status.Reason != "" {
			what += ": " + status.Reason
		}
		return status, what, false
	}
	return status, "", true
}

// late is the error of a daemon that took too long.
func (a Awaited) late(ctx context.Context, what string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := fmt.Errorf("%w: %s", ErrSilent, what)
	if a.Until != nil {
		err = errors.New(what)
	}
	if state, stateErr := a.Manager.State(ctx); stateErr == nil && state.PID == 0 && state.LastExit != "" {
		err = fmt.Errorf("%w; it ended with %s", err, state.LastExit)
	}
	return hint.Wrap(err, "look at `%s` and `minibotd status`", a.logs())
}

// logs is the command that shows what the daemon said.
func (a Awaited) logs() string {
	if a.Manager.Name() == "systemd" {
		return "journalctl --user -u minibot"
	}
	return "tail " + filepath.Join(a.Paths.LogDir, launchd.ErrLog)
}
