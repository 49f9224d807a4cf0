package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"minibot/hint"
)

// ErrDaemonHolds says that a daemon holds the lock: ask it over its socket, which may need a moment to be there.
var ErrDaemonHolds = errors.New("minibotd holds the lock")

// How long a lock is waited for, and how often it is tried.
const (
	lockPatience = 10 * time.Second
	lockInterval = 20 * time.Millisecond
)

// The kinds of holders, as they stand in the file before the pid.
const (
	holderDaemon  = "minibotd"
	holderCommand = "command"
)

// AcquireLock takes the daemon's lock, which makes it the one daemon and the one owner of the store. It waits up to
// 10 s for commands that hold it for an operation on the store. Another daemon's lock is an error at once; it names
// the pid and wraps ErrDaemonHolds. The lock ends with release or with the process, whatever ends that.
func AcquireLock(ctx context.Context, path string) (release func() error, err error) {
	release, err = acquire(ctx, path, holderDaemon)
	if errors.Is(err, ErrDaemonHolds) {
		return nil, hint.Wrap(err, "stop it first, or look at it with `minibotd status`")
	}
	return release, err
}

// WithLock calls f while it holds the lock, as a command that opens the store itself must. It waits up to 10 s for
// other commands, and passes f's error on. When a daemon holds the lock the error wraps ErrDaemonHolds, and f was not called.
func WithLock(ctx context.Context, path string, f func() error) error {
	release, err := acquire(ctx, path, holderCommand)
	if err != nil {
		return err
	}
	err = f()
	if failed := release(); failed != nil {
		err = errors.Join(err, fmt.Errorf("release lock %s: %w", path, failed))
	}
	return err
}

func acquire(ctx context.Context, path, holder string) (func() error, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	if err := waitForLock(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := note(f, fmt.Sprintf("%s %d", holder, os.Getpid())); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock %s: %w", path, err), f.Close())
	}
	return func() error {
		return errors.Join(note(f, ""), f.Close()) // closing lets the lock go; the file stays, or two could hold it
	}, nil
}

// openLock opens the lock's file, or makes it. What is written into it must not end up anywhere else, so it follows no
// symlink and refuses what has a second name, belongs to somebody else or is no file at all; it never waits for a FIFO.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, hint.Wrap(fmt.Errorf("lock %s is a symlink", path), "remove it")
	}
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("open lock: %w", err), "look at the disk and the owner of %s", filepath.Dir(path))
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at lock: %w", err), f.Close())
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		err = fmt.Errorf("lock %s is no file", path)
	case ok && int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("lock %s belongs to uid %d, not to %d", path, st.Uid, os.Geteuid())
	case ok && st.Nlink > 1:
		err = fmt.Errorf("lock %s has another name somewhere", path)
	default:
		return f, nil
	}
	return nil, errors.Join(hint.Wrap(err, "remove it"), f.Close())
}

// waitForLock tries until the lock is taken, a living daemon is found to hold it, or patience or ctx ends.
func waitForLock(ctx context.Context, f *os.File) error {
	bounded, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	tick := time.NewTicker(lockInterval)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("take lock %s: %w", f.Name(), err)
		}
		kind, pid := readHolder(f)
		if kind == holderDaemon {
			return fmt.Errorf("%w: another minibotd is running (pid %d)", ErrDaemonHolds, pid)
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			err := fmt.Errorf("lock %s: process %d held it for %v", f.Name(), pid, lockPatience)
			return hint.Wrap(err, "wait until that command has ended, or end it")
		}
	}
}

// readHolder returns who wrote itself into the file, or "" and 0 when nobody did or the writer is gone: then the
// holder has just taken the lock and not yet written.
func readHolder(f *os.File) (kind string, pid int) {
	b := make([]byte, 64)
	n, _ := f.ReadAt(b, 0) // io.EOF at the least; what was read is checked
	if _, err := fmt.Sscanf(strings.TrimSpace(string(b[:n])), "%s %d", &kind, &pid); err != nil || pid <= 0 {
		return "", 0
	}
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return "", 0
	}
	return kind, pid
}

// note replaces what the file holds. It always writes the same number of bytes in place, which a full disk has room
// for. On one where the file is new it holds nothing, and only the name of the holder is lost: the lock itself needs no room.
func note(f *os.File, s string) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-*s\n", noteSize, s), 0)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}

// noteSize has room for the longest kind of holder and the largest pid.
const noteSize = 31
