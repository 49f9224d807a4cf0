package keychain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// entry is an item as the keychain gives it: its value only where that was asked for.
type entry struct {
	account string
	data    []byte
	changed time.Time
}

// place is where an item lies.
type place struct{ service, account string }

func (s *Store) at(name secrets.Name, slot secrets.Slot) place {
	return place{slot.Service(s.service), string(name)}
}

// Get implements [secrets.Store]. An item without a value, as somebody may have made it by hand, is
// [secrets.ErrEmptyValue], and one that no store could have written is what [secrets.NewValue] says of it.
func (s *Store) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	if err := secrets.Check(name, slot); err != nil {
		return secrets.Item{}, fmt.Errorf("get: %w", err)
	}
	item, err := do(ctx, s, valueLane, func(context.Context) (secrets.Item, error) { return s.read(s.at(name, slot)) })
	if err != nil {
		return secrets.Item{}, fmt.Errorf("get %s (%v): %w", name, slot, err)
	}
	return item, nil
}

// Put implements [secrets.Store]. It wraps [secrets.ErrDamaged] when the keychain gives back something else than was
// written: another program may have written at the same time.
func (s *Store) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	if err := secrets.Check(name, slot); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	if value.IsZero() {
		return fmt.Errorf("put %s (%v): %w", name, slot, secrets.ErrEmptyValue)
	}
	_, err := do(ctx, s, valueLane, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.write(ctx, s.at(name, slot), value)
	})
	if err != nil {
		return fmt.Errorf("put %s (%v): %w", name, slot, err)
	}
	return nil
}

// Delete implements [secrets.Store].
func (s *Store) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if err := secrets.Check(name, slot); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err := do(ctx, s, valueLane, func(context.Context) (struct{}, error) { return struct{}{}, s.remove(s.at(name, slot)) })
	if err != nil {
		return fmt.Errorf("delete %s (%v): %w", name, slot, err)
	}
	return nil
}

// List implements [secrets.Store]. It goes on while the keychain is locked and while another call waits for a dialog.
func (s *Store) List(ctx context.Context) ([]secrets.Entry, error) {
	entries, err := do(ctx, s, attributeLane, s.list)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return entries, nil
}

func (s *Store) read(at place) (secrets.Item, error) {
	if err := s.usable(); err != nil {
		return secrets.Item{}, err
	}
	found, err := lookUp(at.service, at.account)
	if err != nil {
		return secrets.Item{}, s.explain(err, at)
	}
	defer clear(found.data)
	if len(found.data) == 0 {
		return secrets.Item{}, hint.Wrap(fmt.Errorf("the keychain has the item, but %w", secrets.ErrEmptyValue), "mb-secrets set %s", at.account)
	}
	value, err := secrets.NewValue(found.data)
	if err != nil {
		return secrets.Item{}, err
	}
	return secrets.Item{Value: value, Changed: found.changed}, nil
}

// write stops between two steps when ctx has ended: who has called does not wait for the rest.
func (s *Store) write(ctx context.Context, at place, value secrets.Value) error {
	if err := s.usable(); err != nil {
		return err
	}
	data := value.Reveal()
	defer clear(data)
	err := update(at.service, at.account, data)
	if errors.Is(err, itemNotFound) {
		err = s.insert(ctx, at, data)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return s.explain(err, at)
	}
	return s.readBack(at, data)
}

// insert makes an item that was not there. Another program may have made it meanwhile: then it is updated.
func (s *Store) insert(ctx context.Context, at place, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := add(at.service, at.account, data)
	if !errors.Is(err, duplicateItem) {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := update(at.service, at.account, data); !errors.Is(err, itemNotFound) {
		return err
	}
	return duplicateItem // there, and not to be found
}

func (s *Store) readBack(at place, want []byte) error {
	found, err := lookUp(at.service, at.account)
	defer clear(found.data)
	switch {
	case errors.Is(err, itemNotFound):
		err = fmt.Errorf("%w: the keychain does not have what was written to it", secrets.ErrDamaged)
	case err != nil:
		return fmt.Errorf("read back what was written: %w", s.explain(err, at))
	case !bytes.Equal(found.data, want):
		err = fmt.Errorf("%w: the keychain gives back another value than was written", secrets.ErrDamaged)
	}
	return hint.Wrap(err, "see that no other program writes the item, then set it again: mb-secrets set %s", at.account)
}

func (s *Store) remove(at place) error {
	if err := s.usable(); err != nil {
		return err
	}
	return s.explain(remove(at.service, at.account), at)
}

func (s *Store) list(ctx context.Context) ([]secrets.Entry, error) {
	if _, err := s.present(); err != nil { // a search in no keychain would find nothing, and say no more
		return nil, err
	}
	var entries []secrets.Entry
	for _, slot := range secrets.Slots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, err := attributes(slot.Service(s.service))
		if err != nil && !errors.Is(err, itemNotFound) {
			return nil, s.explain(err, place{service: slot.Service(s.service)})
		}
		seen := map[secrets.Name]bool{}
		for _, item := range found {
			// Of two keychains that have the item, the first is the one that Get finds.
			if name, err := secrets.ParseName(item.account); err == nil && !seen[name] {
				seen[name] = true
				entries = append(entries, secrets.Entry{Name: name, Slot: slot, Changed: item.changed})
			}
		}
	}
	slices.SortStableFunc(entries, func(a, b secrets.Entry) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return entries, nil
}
