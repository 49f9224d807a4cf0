package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// inTurn carries out steps while nobody else is at such steps for a definition in the same folder: there is one label, or unit, for a
// user, and two that load or unload it at a time get in each other's way. Whoever comes second finds done what the first one did. The
// lock is the folder's own, so that nothing is left behind, and ends with the process. A dry run waits for nobody.
func (s Sequence) inTurn(ctx context.Context, definition string, steps []step) error {
	if s.DryRun || definition == "" {
		return s.run(ctx, steps)
	}
	report := func(message string) {
		if s.Report != nil {
			s.Report(steps[0].name, message)
		}
	}
	return oneAtATime(ctx, definition, report, func() error { return s.run(ctx, steps) })
}

// oneAtATime calls f under the lock of the folder in which the definition lies.
func oneAtATime(ctx context.Context, definition string, report func(string), f func() error) error {
	folder, err := os.Open(filepath.Dir(definition))
	if errors.Is(err, fs.ErrNotExist) { // nothing was ever written there
		return f()
	}
	if err != nil {
		return fmt.Errorf("take turns: %w", err)
	}
	defer func() { _ = folder.Close() }() // lets the lock go; nothing was written
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("take turns: %w", err)
		}
		if !waiting {
			report("wait until another install or uninstall is done with it")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for another install or uninstall: %w", ctx.Err())
		}
	}
	return f()
}
