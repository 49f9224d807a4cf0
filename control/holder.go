package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// DaemonPID returns the pid of the daemon that holds the lock at path, or 0 when none does. It waits for nobody; a daemon that
// has just taken the lock and not yet written its name counts as none.
func DaemonPID(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	held := errors.Is(err, unix.EWOULDBLOCK)
	kind, pid := readHolder(f)
	if err = f.Close(); err != nil { // lets the lock go
		return 0, fmt.Errorf("look at lock: %w", err)
	}
	if !held || kind != holderDaemon {
		return 0, nil
	}
	return pid, nil
}
