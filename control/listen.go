package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"minibot/hint"
)

// MaxSocketPath is the longest path of a socket in bytes: macOS has 104 for it, with the final NUL.
const MaxSocketPath = 103

// Listen makes the daemon's socket: mode 0600 whatever the umask, in a directory of mode 0700 that it makes when
// missing and refuses when another user could enter it. A socket that nobody answers on any more is removed; a
// daemon that answers, or anything else in the socket's place, is an error and stays. Closing the listener removes
// the socket, if it still is this one. Of two concurrent calls both may find the same stale socket: hold [AcquireLock].
func Listen(path string) (net.Listener, error) {
	if len(path) > MaxSocketPath {
		err := fmt.Errorf("socket path %s has %d bytes, at most %d fit", path, len(path), MaxSocketPath)
		return nil, hint.Wrap(err, "choose a shorter MINIBOT_HOME")
	}
	if err := privateDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect socket %s: %w", path, err), ln.Close(), os.Remove(path))
	}
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at socket %s: %w", path, err), ln.Close())
	}
	return &listener{UnixListener: ln, path: path, made: made}, nil
}

// privateDir makes dir with mode 0700, or checks that it is a directory that only this user can enter.
func privateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make the socket's directory: %w", err)
	}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		if err := os.Chmod(dir, 0o700); err != nil { // the umask may have taken bits away
			return fmt.Errorf("protect the socket's directory: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("make the socket's directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the socket's directory: %w", err)
	}
	if !info.IsDir() {
		return hint.Wrap(fmt.Errorf("%s is not a directory", dir), "move it away")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		err := fmt.Errorf("%s belongs to uid %d, not to %d", dir, st.Uid, os.Geteuid())
		return hint.Wrap(err, "run minibotd as the user who owns it")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return hint.Wrap(fmt.Errorf("%s has mode %04o: others can enter it", dir, mode), "chmod 700 %s", dir)
	}
	return nil
}

// clearStale removes a socket that nobody listens on. It dials first: a live one must never be taken away.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at socket %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return hint.Wrap(fmt.Errorf("%s is in the socket's place and is no socket", path), "move it away")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		p, err := peerOf(conn)
		running := fmt.Errorf("another minibotd is running (pid %d)", p.pid)
		if err = errors.Join(err, conn.Close()); err != nil {
			running = errors.Join(running, err)
		}
		return hint.Wrap(running, "stop it first, or look at it with `minibotd status`")
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove stale socket: %w", err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("find out whether another minibotd listens on %s: %w", path, err)
}

// listener removes its socket when it is closed, unless something else has taken the place.
type listener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

func (l *listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.made) {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}
