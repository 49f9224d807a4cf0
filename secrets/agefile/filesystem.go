package agefile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// fileSystem is every system call that this package makes on its files. Tests put one in its place that makes each
// call fail, or takes the power away after it. Errors are those of package os and name the path.
type fileSystem interface {
	// open opens a file for reading, and neither follows a link nor waits for a pipe.
	open(path string) (file, error)
	openDir(path string) (file, error)
	// createTemp makes a file of a new name that only the owner may read and write, as os.CreateTemp does.
	createTemp(dir, pattern string) (file, error)
	lstat(path string) (stat, error)
	readDir(dir string) ([]string, error)
	mkdir(path string) error
	rename(from, to string) error
	link(from, to string) error
	remove(path string) error
	// lock waits for the lock on path until ctx ends, and makes the file when there is none.
	lock(ctx context.Context, path string) (unlock func(), err error)
}

type file interface {
	io.ReadWriteCloser
	Name() string
	Sync() error
	stat() (stat, error)
}

// stat tells one content of a path from another (see the package comment), and whose it is.
type stat struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
	mode, uid    uint32
}

func (s stat) regular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }

// statOf makes call, once more whenever a signal interrupts it.
func statOf(op, path string, call func(*unix.Stat_t) error) (stat, error) {
	for {
		var st unix.Stat_t
		err := call(&st)
		switch {
		case err == nil:
			return stat{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim, uint32(st.Mode), st.Uid}, nil //nolint:unconvert // Dev is signed and Mode has 16 bits on darwin
		case !errors.Is(err, unix.EINTR):
			return stat{}, &fs.PathError{Op: op, Path: path, Err: err}
		}
	}
}

// system is the fileSystem of the machine.
type system struct{}

type systemFile struct{ *os.File }

func (f systemFile) stat() (stat, error) {
	return statOf("fstat", f.Name(), func(st *unix.Stat_t) error { return unix.Fstat(int(f.Fd()), st) })
}

func opened(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return systemFile{f}, nil
}

func (system) open(path string) (file, error) {
	return opened(os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0))
}

func (system) openDir(path string) (file, error) {
	return opened(os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0))
}

func (system) createTemp(dir, pattern string) (file, error) {
	return opened(os.CreateTemp(dir, pattern)) // O_EXCL
}

func (system) lstat(path string) (stat, error) {
	return statOf("lstat", path, func(st *unix.Stat_t) error { return unix.Lstat(path, st) })
}

func (system) readDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

func (system) mkdir(path string) error      { return os.Mkdir(path, 0o700) }
func (system) rename(from, to string) error { return os.Rename(from, to) }
func (system) link(from, to string) error   { return os.Link(from, to) }
func (system) remove(path string) error     { return os.Remove(path) }

func (system) lock(ctx context.Context, path string) (func(), error) {
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = lock.Close() }, nil // closing the descriptor gives the lock back whatever it answers
}
