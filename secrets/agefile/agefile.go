// Package agefile keeps secrets in one file that is encrypted with age, to a key file or to a passphrase.
//
// It owns the store file, its lock file (PATH.lock) and the key file. It guarantees that a crash at any moment leaves the
// old content or the new one; that writers of several processes exclude each other and lose nothing; that a file it
// cannot read is never changed, and a key never overwritten; and that plaintext never reaches a disk. It never
// follows a symbolic link at these three paths.
//
// Reads take no lock: the file changes by rename only. What was decrypted is kept in memory with the open file it came from, so
// that a read of an unchanged file costs one stat: while that descriptor is open its inode cannot be reused, so the same
// inode with the same size and times at the path is the same content.
//
// A passphrase costs about a second and 256 MiB for each read of a changed file and for each write (age's scrypt). It is asked
// for once, when the store is opened.
package agefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"filippo.io/age"

	"minibot/hint"
	"minibot/secrets"
)

// Options say where a store is and what opens it. Whether a key or a passphrase does is read from the store file.
type Options struct {
	Path    string // the store file
	KeyFile string // holds the X25519 identity; of this user, mode 0600

	// Passphrase asks for the passphrase. It is called only for a store that has one, and once per Open. Nil, an
	// error or an empty answer make such a store locked.
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
	path, keyFile string
	sealer        *sealer
	now           func() time.Time

	busy chan struct{} // holds one token: who has it may load or write

	mu     sync.Mutex
	cached *snapshot
	closed bool
}

// Open opens the store and reads it once, so that whatever is wrong with it shows here: [secrets.ErrNoStore] when it
// was not created yet, [secrets.ErrLocked] without a passphrase, [secrets.ErrDenied] when the key is missing, not private
// or not the right one, or the file cannot be read, and [secrets.ErrDamaged] for a file that is torn or no store.
// Close the store when done.
func Open(ctx context.Context, options Options) (*Store, error) {
	s, err := open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, options Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if options.WorkFactor < 0 || options.WorkFactor > maxWorkFactor {
		return nil, fmt.Errorf("work factor %d: want 1 to %d", options.WorkFactor, maxWorkFactor)
	}
	s := &Store{path: options.Path, keyFile: options.KeyFile, now: time.Now, busy: make(chan struct{}, 1)}
	snap, err := readFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		if !options.Create {
			return nil, noStore(s.path)
		}
		if err := s.create(ctx, options); err != nil {
			return nil, err
		}
		snap, err = readFile(s.path)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if snap != nil {
			_ = snap.file.Close() // read only
		}
	}()
	if s.sealer == nil {
		if s.sealer, err = unlock(options, snap.sealed); err != nil {
			return nil, err
		}
	}
	if err := s.decode(ctx, snap); err != nil {
		return nil, err
	}
	s.cached, snap = snap, nil
	return s, nil
}

func noStore(path string) error {
	return hint.Wrap(fmt.Errorf("%w: %s", secrets.ErrNoStore, path), "mb-secrets init")
}

// unlock finds what opens the store file whose content is sealed.
func unlock(options Options, sealed []byte) (*sealer, error) {
	if isPassphraseFile(sealed) {
		return passphraseSealer(options)
	}
	identity, err := readKey(options.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the store %s exists, but its key %s is missing", secrets.ErrDenied, options.Path, options.KeyFile)
		return nil, hint.Wrap(err, "put %s back from a backup; without it nobody can read the store", options.KeyFile)
	}
	if err != nil {
		return nil, err
	}
	return keySealer(options.KeyFile, identity), nil
}

// create makes key and store under the lock, unless another process has made them meanwhile.
func (s *Store) create(ctx context.Context, options Options) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return explain(err, s.path)
	}
	unlockFile, err := lockFile(ctx, s.path)
	if err != nil {
		return err
	}
	defer unlockFile()
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		return err // made meanwhile when nil; what opens it is found as for any other
	}
	var sealer *sealer
	if options.WithPassphrase {
		sealer, err = passphraseSealer(options)
	} else {
		var identity *age.X25519Identity
		if identity, err = ensureKey(s.keyFile); err == nil {
			sealer = keySealer(s.keyFile, identity)
		}
	}
	if err != nil {
		return err
	}
	plain, err := encode(content{})
	if err != nil {
		return err
	}
	sealed, err := sealer.seal(ctx, plain)
	if err != nil {
		return err
	}
	if err := sweep(s.path); err != nil {
		return err
	}
	if err := publish(s.path, sealed, false); err != nil {
		return err
	}
	s.sealer = sealer
	return nil
}

// Close forgets what was decrypted and what opens the file. Later calls fail with [fs.ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.cached.file.Close()
	s.cached = nil
	return err
}

// decode fills in what snap's file says.
func (s *Store) decode(ctx context.Context, snap *snapshot) error {
	plain, err := s.sealer.open(ctx, snap.sealed)
	if err == nil {
		snap.content, err = decode(plain)
		clear(plain)
	}
	if err != nil {
		return s.blame(err)
	}
	snap.sealed = nil
	return nil
}

// blame names the file in an error of reading its content, and says what to do about it.
func (s *Store) blame(err error) error {
	switch {
	case errors.Is(err, secrets.ErrDenied) && s.sealer.keyFile != "":
		err = fmt.Errorf("%w: %s is not the key of %s", secrets.ErrDenied, s.sealer.keyFile, s.path)
		return hint.Wrap(err, "put the key that belongs to the store into %s", s.sealer.keyFile)
	case errors.Is(err, secrets.ErrDenied):
		return hint.Wrap(fmt.Errorf("%w: wrong passphrase for %s", secrets.ErrDenied, s.path), "try again with the store's passphrase")
	case errors.Is(err, errVersion):
		return hint.Wrap(fmt.Errorf("%s: %w", s.path, err), "update minibot to the release that wrote %s", s.path)
	case errors.Is(err, secrets.ErrDamaged):
		return hint.Wrap(fmt.Errorf("%s: %w", s.path, err), "put %s back from a backup; it was not changed", s.path)
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// isPassphraseFile reports whether an age file is sealed with a passphrase.
func isPassphraseFile(sealed []byte) bool {
	header, err := age.ExtractHeader(bytes.NewReader(sealed))
	return err == nil && bytes.Contains(header, []byte("\n-> scrypt "))
}
