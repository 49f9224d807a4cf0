package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"filippo.io/age"

	"minibot/hint"
)

// RekeyOptions say what a store is sealed to from now on.
type RekeyOptions struct {
	// WithPassphrase seals the store to a passphrase in place of a new key in Options.KeyFile.
	WithPassphrase bool
	// Passphrase asks for the new passphrase. It is called once, before anything has changed and while no lock is held.
	Passphrase func() (string, error)
}

// Rekey seals the store anew: to a new key, which replaces the one in the key file, or to a passphrase, and then the
// key file is removed. What is stored stays. Backups of the store that were made before still open with what opened them
// then: keep that as long as the backups. A value that may have been seen by whoever had the old key is to be changed as well.
//
// Killed at any moment, or after an error, it leaves a store that opens with the old passphrase or the new one, or with
// the key file, which holds the old key and the new one until the store file is safely replaced; then the next writer
// takes away the key that opens nothing. Processes that have the store open go on by themselves with a new key; with a
// new passphrase they answer ErrDenied, or ErrLocked when there was none before, until they open the store anew.
//
// A key file that does not belong to the store is not touched: a passphrase store with a file there refuses to get a key.
func (s *Store) Rekey(ctx context.Context, options RekeyOptions) error {
	if err := s.rekey(ctx, options); err != nil {
		return fmt.Errorf("rekey store: %w", err)
	}
	return nil
}

func (s *Store) rekey(ctx context.Context, options RekeyOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	next, err := s.nextSealer(options)
	if err != nil {
		return err
	}
	now, done, err := s.startWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.announce(s.sealer, next); err != nil {
		return err
	}
	if err := s.write(ctx, next, now); err != nil {
		return err
	}
	if !s.unsettled {
		return nil
	}
	if err := s.settle(); err != nil {
		err = fmt.Errorf("the store is sealed anew, but %s still holds the old key: %w", s.keyFile, err)
		return hint.Wrap(err, "mend what is named; the next change of a secret takes the old key away")
	}
	return nil
}

func (s *Store) nextSealer(options RekeyOptions) (*sealer, error) {
	if options.WithPassphrase {
		return passphraseSealer(s.path, options.Passphrase, s.workFactor)
	}
	if s.keyFile == "" {
		return nil, hint.Wrap(errors.New("no key file is named"), "name the key file that the store is to have")
	}
	return newKeySealer()
}

// announce makes the key file hold every key that opens the store now or opens it next, and marks it so.
func (s *Store) announce(now, next *sealer) error {
	if now.key == nil && next.key == nil {
		return nil // a passphrase follows on another
	}
	if err := s.settle(); err != nil { // by another process, since this one has read the key file
		return err
	}
	held, err := readKeys(s.files, s.keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case now.key == nil || !held.has(now.key):
		err := fmt.Errorf("%s holds a key that is not the store's: %w", s.keyFile, fs.ErrExist)
		return hint.Wrap(err, "move it away: mv %s %s.old", s.keyFile, s.keyFile)
	}
	both := keys{rekeying: true}
	for _, one := range []*sealer{now, next} {
		if one.key != nil {
			both.identities = append(both.identities, one.key)
		}
	}
	s.unsettled = true
	return publishKeys(s.files, s.keyFile, both, true)
}

// settle ends what a rekey began: it leaves in a key file that is marked the key that opens the store, or removes the
// file of a store that a passphrase opens. The caller holds token and lock, and has seen the sealer open the store.
func (s *Store) settle() error {
	held, err := readKeys(s.files, s.keyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !held.rekeying || s.sealer.key != nil && !held.has(s.sealer.key) { // settled by another process, or not this store's
		s.unsettled = false
		return nil
	}
	// A writer that was killed may have renamed the store file and not synced it: a key goes only when the store that it
	// opens cannot come back.
	if err := confirm(s.files, s.path); err != nil {
		return err
	}
	if s.sealer.key == nil {
		err = s.removeKey()
	} else {
		err = publishKeys(s.files, s.keyFile, keys{identities: []*age.X25519Identity{s.sealer.key}}, true)
	}
	if err == nil {
		s.unsettled = false
	}
	return err
}

func (s *Store) removeKey() error {
	if err := s.files.remove(s.keyFile); err != nil {
		return explain(err, s.keyFile)
	}
	return confirm(s.files, s.keyFile)
}
