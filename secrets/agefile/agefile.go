// Package agefile keeps secrets in one file that is encrypted with age, to a key file or to a passphrase.
//
// It owns the store file, its lock file (PATH.lock) and the key file. It guarantees that a kill or a power failure at any moment
// leaves the old content or the new one, and the new one once a call has succeeded; that writers of several processes exclude
// each other and lose nothing; that a file it cannot read is never changed; that a key goes only when nothing is sealed to it any more
// (see [Store.Rekey]); and that plaintext never reaches a disk. It never follows a symbolic link at these three paths.
//
// An error of a write means that the old content stays, but for one that says that the new content is in place and not confirmed by
// the disk, and but for a Rekey, whose steps are named there.
//
// Reads take no lock: the file changes by rename only. What was decrypted is kept in memory with the open file it came from, so
// that a read of an unchanged file costs one stat: while that descriptor is open its inode cannot be reused, so the same
// inode with the same size and times at the path is the same content.
//
// A passphrase costs about a second and 256 MiB for each read of a changed file and for each write (age's scrypt). It is asked
// for once, when the store is opened.
package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// Options say where a store is and what opens it. Whether a key or a passphrase does is read from the store file.
type Options struct {
	Path    string // the store file
	KeyFile string // holds the X25519 identity; of this user, mode 0600, and of this store alone

	// Passphrase asks for the passphrase. It is called only for a store that has one, at most once, by Open, and while no
	// lock is held. Every byte of the answer counts. Nil, an error or an empty answer make such a store locked.
	Passphrase func() (string, error)

	// Create makes the store, and its key file unless that exists, when there is no store yet.
	Create bool
	// WithPassphrase makes Create protect a new store with a passphrase in place of a key file.
	WithPassphrase bool
	// WorkFactor is the log2 of scrypt's cost for what is written with a passphrase: 1 to 20. 0 is age's default, 18.
	WorkFactor int
}

// Store is an open store file. It is a [secrets.Store] and a [secrets.Promoter], safe for concurrent use.
type Store struct {
	files         fileSystem
	path, keyFile string
	workFactor    int
	now           func() time.Time

	busy chan struct{} // holds one token: who has it may load or write

	// For who has the token:
	ask       func() (*sealer, error) // for the passphrase; nil once Open is done
	sealer    *sealer                 // what opened the store last
	spare     *sealer                 // what the last write sealed it with, which opens it if that write failed halfway
	unsettled bool                    // the key file may hold another key beside the sealer's: see settle

	mu     sync.Mutex
	cached *snapshot
	closed bool
}

// Open opens the store and reads it once, so that whatever is wrong with it shows here: [secrets.ErrNoStore] when it
// was not created yet, [secrets.ErrLocked] without a passphrase, [secrets.ErrDenied] when the key is missing, not private
// or not the right one, or the file cannot be read, and [secrets.ErrDamaged] for a file that is torn or no store.
// Close the store when done.
func Open(ctx context.Context, options Options) (*Store, error) {
	return openOn(ctx, system{}, options)
}

func openOn(ctx context.Context, files fileSystem, options Options) (*Store, error) {
	s, err := open(ctx, files, options)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, files fileSystem, options Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := options.check(); err != nil {
		return nil, err
	}
	s := &Store{files: files, path: options.Path, keyFile: options.KeyFile, workFactor: options.WorkFactor, now: time.Now, busy: make(chan struct{}, 1)}
	s.ask = sync.OnceValues(func() (*sealer, error) { return passphraseSealer(s.path, options.Passphrase, s.workFactor) })
	snap, err := s.read(ctx)
	if errors.Is(err, secrets.ErrNoStore) && options.Create {
		if err := s.create(ctx, options.WithPassphrase); err != nil {
			return nil, err
		}
		snap, err = s.read(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.ask = nil
	s.cached = snap
	return s, nil
}

func (o Options) check() error {
	switch {
	case o.WorkFactor < 0 || o.WorkFactor > maxWorkFactor:
		return hint.Wrap(fmt.Errorf("work factor %d: want 1 to %d", o.WorkFactor, maxWorkFactor), "leave it out: the default is 18")
	case o.Path == "":
		return hint.Wrap(errors.New("no store file is named"), "name the store file")
	case o.KeyFile != "" && (filepath.Clean(o.KeyFile) == filepath.Clean(o.Path) || filepath.Clean(o.KeyFile) == filepath.Clean(o.Path)+".lock"):
		return hint.Wrap(fmt.Errorf("%s cannot be the key file too", o.KeyFile), "name another key file")
	}
	return nil
}

func noStore(path string) error {
	return hint.Wrap(fmt.Errorf("%w: %s", secrets.ErrNoStore, path), "mb-secrets init")
}

// create makes key and store under the lock, unless another process has made them meanwhile.
func (s *Store) create(ctx context.Context, withPassphrase bool) error {
	if withPassphrase {
		if _, err := s.ask(); err != nil { // before the lock is taken: whoever is asked may take long
			return err
		}
	}
	if err := makeDirectory(s.files, filepath.Dir(s.path)); err != nil {
		return err
	}
	unlockFile, err := lockFile(ctx, s.files, s.path)
	if err != nil {
		return err
	}
	defer unlockFile()
	if _, err := s.files.lstat(s.path); err == nil {
		return nil // made meanwhile; what opens it is found as for any other
	} else if !errors.Is(err, fs.ErrNotExist) {
		return explain(err, s.path)
	}
	first := s.ask
	if !withPassphrase {
		first = func() (*sealer, error) { return ensureKey(s.files, s.keyFile) }
	}
	opener, err := first()
	if err != nil {
		return err
	}
	sealed, err := sealContent(ctx, opener, content{})
	if err != nil {
		return err
	}
	if err := sweep(s.files, s.path); err != nil {
		return err
	}
	return publish(s.files, s.path, sealed, false)
}

// Close forgets what was decrypted and what opens the file. Later calls fail with [fs.ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	_ = s.cached.file.Close() // read only
	s.cached = nil
	return nil
}
