package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"testing"

	"golang.org/x/sys/unix"

	"minibot/hint"
)

// faulty passes calls on to a fileSystem, and makes one fail.
type faulty struct {
	fileSystem
	errno  unix.Errno
	at     int  // the call that fails; 0 is none
	after  bool // it fails after it has done what it was to do: a signal or a server's lost answer
	lasts  bool // every later call fails, too
	calls  int
	failed string // what failed first
}

// do makes one call, or lets it fail.
func (f *faulty) do(op, name string, call func() error) error {
	f.calls++
	if f.at == 0 || f.calls != f.at && (!f.lasts || f.calls < f.at) {
		return call()
	}
	if f.failed == "" {
		f.failed = op + " " + path.Base(name)
	}
	if f.after {
		if err := call(); err != nil {
			return err
		}
	}
	return &fs.PathError{Op: op, Path: name, Err: f.errno}
}

// opens makes a call that opens a file; one that fails leaves none open.
func (f *faulty) opens(op, name string, call func() (file, error)) (file, error) {
	var h file
	err := f.do(op, name, func() (err error) { h, err = call(); return err })
	if err != nil {
		if h != nil {
			_ = h.Close()
		}
		return nil, err
	}
	return faultyFile{h, f}, nil
}

func (f *faulty) open(name string) (file, error) {
	return f.opens("open", name, func() (file, error) { return f.fileSystem.open(name) })
}

func (f *faulty) openDir(name string) (file, error) {
	return f.opens("opendir", name, func() (file, error) { return f.fileSystem.openDir(name) })
}

func (f *faulty) createTemp(dir, pattern string) (file, error) {
	return f.opens("create", path.Join(dir, pattern), func() (file, error) { return f.fileSystem.createTemp(dir, pattern) })
}

func (f *faulty) lstat(name string) (st stat, err error) {
	err = f.do("lstat", name, func() error { st, err = f.fileSystem.lstat(name); return err })
	return st, err
}

func (f *faulty) readDir(name string) (names []string, err error) {
	err = f.do("readdir", name, func() error { names, err = f.fileSystem.readDir(name); return err })
	return names, err
}

func (f *faulty) mkdir(name string) error {
	return f.do("mkdir", name, func() error { return f.fileSystem.mkdir(name) })
}

func (f *faulty) rename(from, to string) error {
	return f.do("rename", to, func() error { return f.fileSystem.rename(from, to) })
}

func (f *faulty) link(from, to string) error {
	return f.do("link", to, func() error { return f.fileSystem.link(from, to) })
}

func (f *faulty) remove(name string) error {
	return f.do("remove", name, func() error { return f.fileSystem.remove(name) })
}

func (f *faulty) lock(ctx context.Context, name string) (unlock func(), err error) {
	err = f.do("lock", name, func() error { unlock, err = f.fileSystem.lock(ctx, name); return err })
	if err != nil && unlock != nil {
		unlock()
	}
	return unlock, err
}

type faultyFile struct {
	file
	faults *faulty
}

func (h faultyFile) Read(p []byte) (n int, err error) {
	err = h.faults.do("read", h.Name(), func() error { n, err = h.file.Read(p); return err })
	return n, err
}

// Write writes half when it fails, as on a disk that gets full.
func (h faultyFile) Write(p []byte) (n int, err error) {
	whole := false
	err = h.faults.do("write", h.Name(), func() error { whole = true; n, err = h.file.Write(p); return err })
	if err != nil && !whole {
		n, _ = h.file.Write(p[:len(p)/2])
	}
	return n, err
}

func (h faultyFile) Sync() error { return h.faults.do("sync", h.Name(), h.file.Sync) }

func (h faultyFile) Close() error {
	err := h.faults.do("close", h.Name(), func() error { return nil })
	return errors.Join(h.file.Close(), err) // the descriptor is gone whatever it answers
}

func (h faultyFile) stat() (st stat, err error) {
	err = h.faults.do("fstat", h.Name(), func() error { st, err = h.file.stat(); return err })
	return st, err
}

// ways are how a call fails: the disk is broken, now or from now on, or broken after the call has done its work; it is full, has no
// quota left, interrupts, is suddenly read-only.
var ways = []faulty{
	{errno: unix.EIO}, {errno: unix.EIO, after: true},
	{errno: unix.EIO, lasts: true}, {errno: unix.ENOSPC, lasts: true}, {errno: unix.EDQUOT}, {errno: unix.EINTR}, {errno: unix.EROFS, lasts: true},
}

// TestEachCallFails lets each call of each operation fail in each way, on a disk in memory.
func TestEachCallFails(t *testing.T) {
	for _, c := range scenarios {
		ways := ways
		if c.passphrase != "" {
			ways = ways[:2] // each run costs more, and the calls are those of a store with a key
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := c.setUp(t)
			for _, way := range ways {
				c.eachCallFails(t, way, func() place { return place{base.clone(), simulated} })
			}
		})
	}
}

// TestEachCallFailsOnTheSystem does it on files of the machine.
func TestEachCallFailsOnTheSystem(t *testing.T) {
	for _, c := range scenarios {
		if c.passphrase != "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.eachCallFails(t, faulty{errno: unix.EIO}, func() place {
				p := place{system{}, t.TempDir()}
				if err := errors.Join(os.Mkdir(path.Dir(p.key()), 0o700), c.prepare(p)); err != nil {
					t.Fatal(err)
				}
				return p
			})
		})
	}
}

// eachCallFails does the operation again and again, each time on a new place, until none of its calls is left to fail.
func (c scenario) eachCallFails(t *testing.T, way faulty, fresh func() place) {
	t.Helper()
	for way.at = 1; ; way.at++ {
		f := way
		failed, err := c.callFails(fresh(), &f)
		if err != nil {
			t.Errorf("%v at call %d, %s (after: %t, lasts: %t): %v", way.errno, way.at, f.failed, way.after, way.lasts, err)
		}
		if !failed {
			break
		}
	}
	if way.at < 8 {
		t.Errorf("it makes only %d calls", way.at)
	}
}

func (c scenario) callFails(p place, f *faulty) (failed bool, err error) {
	opener := ""
	if !c.missing {
		before, was, err := c.reopen(p)
		if err != nil {
			return false, err
		}
		opener = was
		if err := before.Close(); err != nil {
			return false, err
		}
	}
	at := f.at
	f.at, f.fileSystem = 0, p.files
	s, err := c.start(place{f, p.root})
	if err != nil {
		return false, err
	}
	f.calls, f.at = 0, at
	answer := c.run(place{f, p.root}, s)
	f.at = 0
	may := oldState | newState
	switch {
	case f.failed == "" || answer == nil:
		may = newState
	case f.after || c.rekeys() || c.missing: // several steps, or the step was done
	case errors.Is(answer, errUnconfirmed):
		may = newState
	default:
		may = oldState
	}
	if answer != nil {
		err = told(answer, f.errno)
	}
	if s != nil { // it goes on where it stands
		got, contentsErr := contents(s)
		err = errors.Join(err, contentsErr)
		if contentsErr == nil {
			err = errors.Join(err, c.found(p, opener, may), c.goesOn(p, s, withLater(got)), s.Close())
		}
		return f.failed != "", err
	}
	return f.failed != "", errors.Join(err, c.found(p, opener, may))
}

func withLater(m map[string]string) map[string]string {
	m["LATER current"] = "canary-later" // which found has put
	return m
}

// told checks an answer: it wraps what the system said, and says what to do.
func told(answer error, errno unix.Errno) error {
	if !errors.Is(answer, errno) || hint.Of(answer) == "" {
		return fmt.Errorf("the answer was %w, hint %q", answer, hint.Of(answer))
	}
	return nil
}

// TestADirectoryThatCannotBeSynced is what some network file systems have.
func TestADirectoryThatCannotBeSynced(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOTSUP} {
		d := newDisk(lies{})
		if err := makeDirectory(d, simulated+"/keys"); err != nil {
			t.Fatal(err)
		}
		s, err := place{unsyncable{d, errno}, simulated}.open("", true)
		if err == nil {
			err = errors.Join(putting("A", "canary-a")(s), s.Close())
		}
		check(t, errno.Error(), err)
	}
}

type unsyncable struct {
	*disk
	errno unix.Errno
}

type unsyncableDir struct {
	file
	errno unix.Errno
}

func (u unsyncable) openDir(name string) (file, error) {
	h, err := u.disk.openDir(name)
	return unsyncableDir{h, u.errno}, err
}

func (u unsyncableDir) Sync() error { return u.errno }
