package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"minibot/secrets"
)

// Get implements [secrets.Store].
func (s *Store) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	if err := secrets.Check(name, slot); err != nil {
		return secrets.Item{}, fmt.Errorf("get: %w", err)
	}
	now, err := s.load(ctx)
	if err != nil {
		return secrets.Item{}, fmt.Errorf("get %s (%v): %w", name, slot, err)
	}
	item := now[name][slot]
	if item.Value.IsZero() {
		return secrets.Item{}, fmt.Errorf("get %s (%v): %w", name, slot, secrets.ErrNotFound)
	}
	return item, nil
}

// List implements [secrets.Store].
func (s *Store) List(ctx context.Context) ([]secrets.Entry, error) {
	now, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return secrets.Entries(now), nil
}

// Put implements [secrets.Store]. A disk that is full or cannot be written leaves the old content, and says so.
func (s *Store) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	return s.change(ctx, "put", name, slot, func(items *secrets.Items) error {
		if value.IsZero() {
			return secrets.ErrEmptyValue
		}
		items[slot] = secrets.Item{Value: value, Changed: s.now().UTC()}
		return nil
	})
}

// Delete implements [secrets.Store].
func (s *Store) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	return s.change(ctx, "delete", name, slot, func(items *secrets.Items) error {
		if items[slot].Value.IsZero() {
			return secrets.ErrNotFound
		}
		items[slot] = secrets.Item{}
		return nil
	})
}

// Promote implements [secrets.Promoter], in one write.
func (s *Store) Promote(ctx context.Context, name secrets.Name) error {
	return s.change(ctx, "promote", name, secrets.Pending, func(items *secrets.Items) error {
		if items[secrets.Pending].Value.IsZero() && !items[secrets.Current].Value.IsZero() {
			return errNoChange
		}
		return items.Promote(s.now().UTC())
	})
}

// errNoChange ends a change that has nothing to write.
var errNoChange = errors.New("no change")

func (s *Store) change(ctx context.Context, verb string, name secrets.Name, slot secrets.Slot, edit func(*secrets.Items) error) error {
	if err := secrets.Check(name, slot); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	err := s.rewrite(ctx, name, edit)
	if err != nil && !errors.Is(err, errNoChange) {
		return fmt.Errorf("%s %s (%v): %w", verb, name, slot, err)
	}
	return nil
}

// rewrite reads the file, edits name's items and writes the file anew, all under the lock.
func (s *Store) rewrite(ctx context.Context, name secrets.Name, edit func(*secrets.Items) error) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	unlockFile, err := lockFile(ctx, s.path)
	if err != nil {
		return err
	}
	defer unlockFile()
	if err := errors.Join(sweep(s.path), sweep(s.keyFile)); err != nil {
		return err
	}
	old, err := s.loadHeld(ctx)
	if err != nil {
		return err
	}
	items := old[name]
	if err := edit(&items); err != nil {
		return err
	}
	next := maps.Clone(old)
	next[name] = items
	if items.IsZero() {
		delete(next, name)
	}
	plain, err := encode(next)
	if err != nil {
		return err
	}
	sealed, err := s.sealer.seal(ctx, plain)
	clear(plain)
	if err != nil {
		return err
	}
	if err := publish(s.path, sealed, true); err != nil {
		return err
	}
	snap, err := readFile(s.path)
	if err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	snap.sealed, snap.content = nil, next
	return s.keep(snap)
}

// load returns the file's content, which must not be changed, from memory when the file is still the same.
func (s *Store) load(ctx context.Context) (content, error) {
	if now, err := s.fromMemory(ctx); now != nil || err != nil {
		return now, err
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	return s.loadHeld(ctx)
}

// loadHeld is load for who holds the token.
func (s *Store) loadHeld(ctx context.Context) (content, error) {
	if now, err := s.fromMemory(ctx); now != nil || err != nil {
		return now, err
	}
	snap, err := readFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noStore(s.path)
	}
	if err != nil {
		return nil, err
	}
	if err := s.decode(ctx, snap); err != nil {
		return nil, errors.Join(err, snap.file.Close())
	}
	return snap.content, s.keep(snap)
}

// fromMemory returns nil when the file is not the one that was read last.
func (s *Store) fromMemory(ctx context.Context) (content, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fs.ErrClosed
	}
	if id, err := identify(s.path); err == nil && id == s.cached.id {
		return s.cached.content, nil
	}
	return nil, nil // gone or changed: the reader that follows says which
}

func (s *Store) keep(snap *snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(fs.ErrClosed, snap.file.Close())
	}
	old := s.cached.file
	s.cached = snap
	return old.Close()
}

func (s *Store) acquire(ctx context.Context) error {
	select {
	case s.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) release() { <-s.busy }
