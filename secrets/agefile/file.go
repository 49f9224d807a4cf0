package agefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"minibot/hint"
	"minibot/secrets"
)

// maxFile is the largest store file in bytes: room for some 250 secrets of the largest size in all their slots.
const maxFile = 64 << 20

// lockPoll is how often a held lock is tried again.
const lockPoll = 5 * time.Millisecond

// errUnconfirmed marks the one error of a write that leaves the new content: every other leaves the old.
var errUnconfirmed = errors.New("the new content is in place, but the disk did not confirm it: a power failure may bring the old one back")

// snapshot is a file's content with the open file that it was read from.
type snapshot struct {
	file    file
	id      stat
	sealed  []byte
	content content
}

// readFile reads path whole. The error wraps fs.ErrNotExist when there is nothing there.
func readFile(files fileSystem, path string) (*snapshot, error) {
	f, st, err := openRegular(files, path)
	if err != nil {
		return nil, err
	}
	snap := &snapshot{file: f, id: st}
	if st.size > maxFile {
		err = fmt.Errorf("%w: %s has %d bytes, at most %d", secrets.ErrDamaged, path, st.size, maxFile)
		return nil, errors.Join(hint.Wrap(err, "see what %s is; it was not changed", path), f.Close())
	}
	if snap.sealed, err = io.ReadAll(io.LimitReader(f, maxFile)); err != nil {
		return nil, errors.Join(explain(err, path), f.Close())
	}
	return snap, nil
}

func openRegular(files fileSystem, path string) (file, stat, error) {
	f, err := files.open(path)
	if err != nil {
		return nil, stat{}, explain(err, path)
	}
	st, err := f.stat()
	if err != nil {
		return nil, stat{}, errors.Join(explain(err, path), f.Close())
	}
	if !st.regular() {
		err := hint.Wrap(fmt.Errorf("%s is not a regular file", path), "see what %s is; minibot does not touch it", path)
		return nil, stat{}, errors.Join(err, f.Close())
	}
	return f, st, nil
}

// lockFile takes the lock that writers share, and returns what gives it back. The lock file stays.
func lockFile(ctx context.Context, files fileSystem, path string) (unlock func(), err error) {
	path += ".lock"
	unlock, err = files.lock(ctx, path)
	switch {
	case err == nil:
		return unlock, nil
	case ctx.Err() != nil:
		return nil, hint.Wrap(fmt.Errorf("wait for %s: %w", path, ctx.Err()), "another process writes the store; see which: lsof %s", path)
	}
	return nil, explain(err, path)
}

func temporary(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// sweep removes what a crash between writing and renaming left. The caller holds the lock, so no temporary file is in use.
func sweep(files fileSystem, path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	names, err := files.readDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explain(err, dir)
	}
	for _, name := range names {
		if strings.HasPrefix(name, temporary(path)) {
			if err := files.remove(filepath.Join(dir, name)); err != nil {
				return explain(err, path)
			}
		}
	}
	return nil
}

// publish makes path hold content, wholly or not at all, and durably. Without replace, something at path is an error.
// An error that wraps errUnconfirmed leaves the new content, any other the old.
func publish(files fileSystem, path string, content []byte, replace bool) error {
	temp, err := writeTemp(files, path, content)
	if err != nil {
		return explain(err, path)
	}
	if replace {
		err = files.rename(temp, path)
	} else {
		err = files.link(temp, path)
	}
	if err != nil || !replace {
		_ = files.remove(temp) // one that stays is swept by the next writer
	}
	if err != nil {
		return explain(err, path)
	}
	return confirm(files, path)
}

// writeTemp writes content to a file beside path, durably but for its name, and returns the name.
func writeTemp(files fileSystem, path string, content []byte) (name string, err error) {
	temp, err := files.createTemp(filepath.Dir(path), temporary(path)+"*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Sync()
	}
	if closing := temp.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = files.remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

// confirm makes durable what was renamed, linked or removed at path.
func confirm(files fileSystem, path string) error {
	dir := filepath.Dir(path)
	if err := syncDirectory(files, dir); err != nil {
		return hint.Wrap(fmt.Errorf("%s: %w: %w", path, errUnconfirmed, err), "check the disk that holds %s, then do it again", dir)
	}
	return nil
}

func syncDirectory(files fileSystem, dir string) error {
	d, err := files.openDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // some network file systems sync no directories: the server does, or nobody can
	}
	_ = d.Close() // it was only read
	return err
}

// makeDirectory makes dir and what is missing above it, for the owner alone and durably.
func makeDirectory(files fileSystem, dir string) error {
	if _, err := files.lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeDirectory(files, filepath.Dir(dir)); err != nil {
			return err
		}
		if err := files.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return explain(err, dir)
		}
	} else if err != nil {
		return explain(err, dir)
	}
	// One that is there was made by another process, perhaps, which was killed here.
	if err := confirm(files, dir); !errors.Is(err, fs.ErrPermission) { // what is above may be another user's
		return err
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
	case errors.Is(err, fs.ErrNotExist):
		return err // the caller says what is missing
	}
	return hint.Wrap(err, "check the disk that holds %s", dir)
}
