package secretservice

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// Get implements [secrets.Store]. The date is never later than that of the value it comes with. An item that holds
// nothing is [secrets.ErrEmptyValue].
func (s *Store) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	if err := secrets.Check(name, slot); err != nil {
		return secrets.Item{}, fmt.Errorf("get: %w", err)
	}
	item, err := do(ctx, s, func(ctx context.Context, c *client) (secrets.Item, error) {
		found, err := s.find(ctx, c, name, slot)
		if err != nil {
			return secrets.Item{}, err
		}
		if len(found.items) == 0 {
			return secrets.Item{}, secrets.ErrNotFound
		}
		newest := found.items[0]
		plain, err := c.secret(ctx, newest.path)
		if err != nil {
			return secrets.Item{}, err
		}
		defer clear(plain)
		value, err := secrets.NewValue(plain)
		if err != nil {
			return secrets.Item{}, hint.Wrap(fmt.Errorf("what the keyring holds cannot be used: %w", err), "mb-secrets set %s", name)
		}
		return secrets.Item{Value: value, Changed: newest.modified}, nil
	})
	if err != nil {
		return secrets.Item{}, fmt.Errorf("get %s (%v): %w", name, slot, err)
	}
	return item, nil
}

// Put implements [secrets.Store]. An error of a Put that had begun leaves the old value or the new one.
func (s *Store) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	if err := secrets.Check(name, slot); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	_, err := do(ctx, s, func(ctx context.Context, c *client) (struct{}, error) {
		if value.IsZero() {
			return struct{}{}, secrets.ErrEmptyValue
		}
		return struct{}{}, s.put(ctx, c, name, slot, value)
	})
	if err != nil {
		return fmt.Errorf("put %s (%v): %w", name, slot, err)
	}
	return nil
}

// readBacks bounds how often a Put writes a value that reads back as another one: somebody may have written the same slot
// at that moment, and the last one wins.
const readBacks = 10

var errNotKept = errors.New("the keyring does not hold what was written to it")

func (s *Store) put(ctx context.Context, c *client, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	plain := value.Reveal()
	defer clear(plain)
	for range readBacks {
		found, err := s.find(ctx, c, name, slot)
		if err != nil {
			return err
		}
		var path objectPath
		if len(found.items) > 0 {
			path = found.items[0].path
			err = c.setSecret(ctx, path, plain)
		} else {
			path, err = c.create(ctx, found.collection, "minibot: "+string(name), attributes(s.service(slot), name), plain)
		}
		if err != nil {
			return err
		}
		kept, err := c.secret(ctx, path)
		if err != nil {
			return err
		}
		same := bytes.Equal(kept, plain)
		clear(kept)
		if !same {
			continue
		}
		if len(found.items) > 1 {
			return c.remove(ctx, found.items[1:])
		}
		return nil
	}
	return hint.Wrap(errNotKept, "see that no other program writes %s, and try again", name)
}

// Delete implements [secrets.Store].
func (s *Store) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if err := secrets.Check(name, slot); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err := do(ctx, s, func(ctx context.Context, c *client) (struct{}, error) {
		found, err := s.find(ctx, c, name, slot)
		if err != nil {
			return struct{}{}, err
		}
		if len(found.items) == 0 {
			return struct{}{}, secrets.ErrNotFound
		}
		return struct{}{}, c.remove(ctx, found.items)
	})
	if err != nil {
		return fmt.Errorf("delete %s (%v): %w", name, slot, err)
	}
	return nil
}

// List implements [secrets.Store]. Items whose account is no secret's name are left out.
func (s *Store) List(ctx context.Context) ([]secrets.Entry, error) {
	entries, err := do(ctx, s, func(ctx context.Context, c *client) ([]secrets.Entry, error) {
		collection, err := c.unlocked(ctx)
		if err != nil {
			return nil, err
		}
		var entries []secrets.Entry
		for _, slot := range secrets.Slots {
			items, err := c.search(ctx, collection, map[string]string{serviceAttribute: s.service(slot)})
			if err != nil {
				return nil, err
			}
			for _, item := range items {
				name := secrets.Name(item.account)
				if secrets.Check(name, slot) == nil {
					entries = append(entries, secrets.Entry{Name: name, Slot: slot, Changed: item.modified})
				}
			}
		}
		// Stable: of several items for one slot the one that Get reads comes first, and stays.
		slices.SortStableFunc(entries, func(a, b secrets.Entry) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Slot, b.Slot))
		})
		return slices.CompactFunc(entries, func(a, b secrets.Entry) bool { return a.Name == b.Name && a.Slot == b.Slot }), nil
	})
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return entries, nil
}

func (s *Store) service(slot secrets.Slot) string { return slot.Service(s.options.Service) }

// found is what there is for one slot: its items, the one that counts first.
type found struct {
	collection objectPath
	items      []item
}

type item struct {
	path     objectPath
	account  string
	modified time.Time
}

func (s *Store) find(ctx context.Context, c *client, name secrets.Name, slot secrets.Slot) (found, error) {
	collection, err := c.unlocked(ctx)
	if err != nil {
		return found{}, err
	}
	items, err := c.search(ctx, collection, map[string]string{serviceAttribute: s.service(slot), accountAttribute: string(name)})
	return found{collection, items}, err
}
