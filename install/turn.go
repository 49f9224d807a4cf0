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

// oneAtATime calls f while nobody else is between the two ends of such a call for a definition in the same folder: there is one label,
// or unit, for a user, and two that load or unload it at a time get in each other's way. The lock is the folder's own, so that nothing
// is left behind, and ends with the process.
func oneAtATime(ctx context.Context, definition string, report func(string), f func() error) error {
	folder, err := os.Open(filepath.Dir(definition))
	if errors.Is(err, fs.ErrNotExist) { // nothing was ever written there
		return f()
	}
	if err != nil {
		return fmt.Errorf("take turns: %w", err)
	}
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return errors.Join(fmt.Errorf("take turns: %w", err), folder.Close())
		}
		if !waiting {
			report("wait until another install or uninstall is done with it")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for another install or uninstall: %w", ctx.Err()), folder.Close())
		}
	}
	return errors.Join(f(), folder.Close()) // which lets the lock go
}
