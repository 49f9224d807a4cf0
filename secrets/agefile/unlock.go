package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"minibot/hint"
	"minibot/secrets"
)

// read reads and opens the store file, and what opens it anew where that has changed. The caller holds the token.
func (s *Store) read(ctx context.Context) (*snapshot, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		snap, err := readFile(s.files, s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, noStore(s.path)
		}
		if err != nil {
			return nil, err
		}
		if err = s.decode(ctx, snap); err == nil {
			return snap, nil
		}
		_ = snap.file.Close() // read only
		id, gone := s.files.lstat(s.path)
		if gone != nil || id == snap.id || !errors.Is(err, secrets.ErrDenied) && !errors.Is(err, secrets.ErrLocked) {
			return nil, err
		}
		// A rekey by another process passed between the reading of the store and that of the key: read both anew.
	}
}

// decode fills in what snap's file says. Where what opened the store last does not open it, another process may have
// rekeyed it: then the key file is read once more. A passphrase is asked for by Open alone.
func (s *Store) decode(ctx context.Context, snap *snapshot) error {
	passphrase, err := sealedWithPassphrase(snap.sealed)
	if err != nil {
		return s.blame(err, false)
	}
	if err := s.try(ctx, snap, passphrase, s.sealer, s.spare); !errors.Is(err, secrets.ErrDenied) {
		return err
	}
	candidates, err := s.unlock(passphrase)
	if err != nil {
		return err
	}
	return s.try(ctx, snap, passphrase, candidates...)
}

// try fills in what snap's file says when one of the candidates opens it, which then is the sealer.
func (s *Store) try(ctx context.Context, snap *snapshot, passphrase bool, candidates ...*sealer) error {
	err := secrets.ErrDenied
	for i, candidate := range candidates {
		if candidate == nil || passphrase != (candidate.key == nil) || slices.Index(candidates, candidate) < i {
			continue
		}
		if snap.content, err = candidate.openContent(ctx, snap.sealed); err == nil {
			s.sealer, snap.sealed = candidate, nil
			return nil
		}
		if !errors.Is(err, secrets.ErrDenied) {
			break
		}
	}
	return s.blame(err, passphrase)
}

// unlock finds what may open the store file. A key file amid a rekey gives two.
func (s *Store) unlock(passphrase bool) ([]*sealer, error) {
	held, err := readKeys(s.files, s.keyFile)
	s.unsettled = held.rekeying
	if passphrase {
		one, err := s.passphrase()
		return []*sealer{one}, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the store %s exists, but its key %s is missing", secrets.ErrDenied, s.path, s.keyFile)
		return nil, hint.Wrap(err, "put %s back from a backup; without it nobody can read the store", s.keyFile)
	}
	if err != nil {
		return nil, err
	}
	var candidates []*sealer
	for _, identity := range held.identities {
		candidates = append(candidates, keySealer(identity))
	}
	return candidates, nil
}

func (s *Store) passphrase() (*sealer, error) {
	if s.ask != nil {
		return s.ask()
	}
	err := fmt.Errorf("%w: %s has another passphrase since it was opened", secrets.ErrDenied, s.path)
	if s.sealer.key != nil {
		err = fmt.Errorf("%w: %s has a passphrase since it was opened", secrets.ErrLocked, s.path)
	}
	return nil, hint.Wrap(err, "start this program anew and type the passphrase that the store has now")
}

// blame names the file in an error of reading its content, and says what to do about it.
func (s *Store) blame(err error, passphrase bool) error {
	switch {
	case errors.Is(err, secrets.ErrDenied) && passphrase:
		return hint.Wrap(fmt.Errorf("%w: wrong passphrase for %s", secrets.ErrDenied, s.path), "try again with the store's passphrase")
	case errors.Is(err, secrets.ErrDenied):
		err = fmt.Errorf("%w: %s is not the key of %s", secrets.ErrDenied, s.keyFile, s.path)
		return hint.Wrap(err, "put the key that belongs to the store into %s", s.keyFile)
	case errors.Is(err, errVersion):
		return hint.Wrap(fmt.Errorf("%s: %w", s.path, err), "update minibot to the release that wrote %s", s.path)
	case errors.Is(err, secrets.ErrDamaged):
		return hint.Wrap(fmt.Errorf("%s: %w", s.path, err), "put %s back from a backup; it was not changed", s.path)
	}
	return fmt.Errorf("%s: %w", s.path, err)
}
