package agefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"minibot/hint"
	"minibot/secrets"
)

// maxFile is the largest store file in bytes: room for some 250 secrets of the largest size in all their slots.
const maxFile = 64 << 20

// lockPoll is how often a held lock is tried again.
const lockPoll = 5 * time.Millisecond

// identity tells one content of a path from another; see the package comment.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// snapshot is a file's content with the open file that it was read from.
type snapshot struct {
	file    *os.File
	id      identity
	sealed  []byte
	content content
}

func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return identity{}, err
	}
	return identityOf(&st), nil
}

func identityOf(st *unix.Stat_t) identity {
	return identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim} //nolint:unconvert // Dev is signed on darwin
}

// readFile reads path whole. The error wraps fs.ErrNotExist when there is nothing there.
func readFile(path string) (*snapshot, error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	snap := &snapshot{file: f, id: identityOf(st)}
	if st.Size > maxFile {
		err = fmt.Errorf("%w: %s has %d bytes, at most %d", secrets.ErrDamaged, path, st.Size, maxFile)
		return nil, errors.Join(hint.Wrap(err, "see what %s is; it was not changed", path), f.Close())
	}
	if snap.sealed, err = io.ReadAll(io.LimitReader(f, maxFile)); err != nil {
		return nil, errors.Join(explain(err, path), f.Close())
	}
	return snap, nil
}

// openRegular opens a regular file for reading, and neither follows a link nor waits for a pipe.
func openRegular(path string) (*os.File, *unix.Stat_t, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, explain(err, path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("stat %s: %w", path, err), f.Close())
	}
	if uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG { //nolint:unconvert // Mode has 16 bits on darwin
		err := hint.Wrap(fmt.Errorf("%s is not a regular file", path), "see what %s is; minibot does not touch it", path)
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, &st, nil
}

// lockFile takes the lock that writers share, and returns what gives it back. The lock file stays.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	path += ".lock"
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("wait for %s: %w", path, ctx.Err()), lock.Close())
		}
		return nil, errors.Join(explain(err, path), lock.Close())
	}
	return func() { _ = lock.Close() }, nil // closing the descriptor gives the lock back whatever it answers
}

func temporary(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// sweep removes what a crash between writing and renaming left. The caller holds the lock, so no temporary file is in use.
func sweep(path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explain(err, dir)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), temporary(path)) {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return explain(err, path)
			}
		}
	}
	return nil
}

// publish makes path hold content, wholly or not at all, and durably. Without replace, something at path is an error.
func publish(path string, content []byte, replace bool) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, temporary(path)+"*") // O_EXCL, mode 0600
	if err != nil {
		return explain(err, path)
	}
	defer func() {
		if err != nil || !replace {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	if _, err := temp.Write(content); err != nil {
		return errors.Join(explain(err, path), temp.Close())
	}
	if err := temp.Sync(); err != nil {
		return errors.Join(explain(err, path), temp.Close())
	}
	if err := temp.Close(); err != nil {
		return explain(err, path)
	}
	if replace {
		err = os.Rename(temp.Name(), path)
	} else {
		err = os.Link(temp.Name(), path)
	}
	if err != nil {
		return explain(err, path)
	}
	return syncDirectory(dir)
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return explain(err, dir)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return explain(err, dir)
	}
	return nil
}

// explain wraps what the system answered about path, with what to do about it.
func explain(err error, path string) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return hint.Wrap(fmt.Errorf("no room for %s, the old content stays: %w", path, err), "free some space on the disk that holds %s", dir)
	case errors.Is(err, unix.EROFS):
		return hint.Wrap(fmt.Errorf("%s cannot be written, the old content stays: %w", path, err), "make the disk that holds %s writable", dir)
	case errors.Is(err, fs.ErrPermission):
		return hint.Wrap(fmt.Errorf("%w: %w", secrets.ErrDenied, err), "chown -R \"$(id -un)\" %s && chmod u+rwX %s", dir, dir)
	case errors.Is(err, unix.ELOOP):
		return hint.Wrap(fmt.Errorf("%s is a symbolic link: %w", path, err), "name the file that %s points to, or put a regular file there", path)
	}
	return err // of package os: it names the path
}
