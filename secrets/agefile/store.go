package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"minibot/hint"
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
	now, done, err := s.startWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	items := now[name]
	if err := edit(&items); err != nil {
		return err
	}
	next := maps.Clone(now)
	next[name] = items
	if items.IsZero() {
		delete(next, name)
	}
	return s.write(ctx, s.sealer, next)
}

// startWrite takes token and lock, ends what killed writers began and returns what the file holds now. The caller calls
// done after it has written.
func (s *Store) startWrite(ctx context.Context) (now content, done func(), err error) {
	if err := s.acquire(ctx); err != nil {
		return nil, nil, err
	}
	unlockFile, err := lockFile(ctx, s.files, s.path)
	if err != nil {
		s.release()
		return nil, nil, err
	}
	done = func() {
		unlockFile()
		s.release()
	}
	if now, err = s.tidied(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return now, done, nil
}

// tidied is loadHeld for a writer: it ends what killed writers began.
func (s *Store) tidied(ctx context.Context) (content, error) {
	if err := errors.Join(sweep(s.files, s.path), sweep(s.files, s.keyFile)); err != nil {
		return nil, err
	}
	snap, err := s.loadHeld(ctx)
	if err != nil {
		return nil, err
	}
	if self := os.Geteuid(); int64(snap.id.uid) != int64(self) { // else the file would be taken away from its owner
		err := fmt.Errorf("%w: %s belongs to uid %d, not to %d", secrets.ErrDenied, s.path, snap.id.uid, self)
		return nil, hint.Wrap(err, "run this as the user whom the store belongs to, or chown %d %s %s.lock", self, s.path, s.path)
	}
	if s.unsettled {
		if err := s.settle(); err != nil {
			return nil, err
		}
	}
	return snap.content, nil
}

// write replaces the file by next, sealed with opener, which opens the store from then on. The caller holds token and lock.
func (s *Store) write(ctx context.Context, opener *sealer, next content) error {
	sealed, err := sealContent(ctx, opener, next)
	if err != nil {
		return err
	}
	s.spare = opener
	if err := publish(s.files, s.path, sealed, true); err != nil {
		return err // and the file may be the new one all the same
	}
	s.sealer = opener
	// Whatever goes wrong here, the value is stored: the next reader reads the file.
	if f, st, err := openRegular(s.files, s.path); err == nil {
		s.keep(&snapshot{file: f, id: st, content: next})
	}
	return nil
}

// load returns the file's content, which must not be changed, from memory when the file is still the same.
func (s *Store) load(ctx context.Context) (content, error) {
	if snap, err := s.fromMemory(ctx); err != nil {
		return nil, err
	} else if snap != nil {
		return snap.content, nil
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	snap, err := s.loadHeld(ctx)
	if err != nil {
		return nil, err
	}
	return snap.content, nil
}

// loadHeld is load for who holds the token. What it returns may be closed already, but not its content and its stat.
func (s *Store) loadHeld(ctx context.Context) (*snapshot, error) {
	if snap, err := s.fromMemory(ctx); snap != nil || err != nil {
		return snap, err
	}
	snap, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	if !s.keep(snap) {
		return nil, fs.ErrClosed
	}
	return snap, nil
}

// fromMemory returns nil when the file is not the one that was read last.
func (s *Store) fromMemory(ctx context.Context) (*snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fs.ErrClosed
	}
	if id, err := s.files.lstat(s.path); err == nil && id == s.cached.id {
		return s.cached, nil
	}
	return nil, nil // gone or changed: the reader that follows says which
}

// keep makes snap what fromMemory returns, unless the store was closed meanwhile.
func (s *Store) keep(snap *snapshot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := snap
	if !s.closed {
		old, s.cached = s.cached, snap
	}
	_ = old.file.Close() // read only
	return !s.closed
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
