package migration

import (
	"context"
	"errors"
	"fmt"

	"minibot/secrets"
)

// address is one slot of one name.
type address struct {
	name secrets.Name
	slot secrets.Slot
}

// String is NAME for what is in force, else NAME (slot).
func (a address) String() string {
	if a.slot == secrets.Current {
		return string(a.name)
	}
	return fmt.Sprintf("%s (%v)", a.name, a.slot)
}

// contents is all that a store holds.
type contents struct {
	order  []address
	values map[address]secrets.Value
}

func readAll(ctx context.Context, store secrets.Store) (contents, error) {
	c := contents{values: map[address]secrets.Value{}}
	entries, err := store.List(ctx)
	if err != nil {
		return c, err
	}
	for _, e := range entries {
		item, err := store.Get(ctx, e.Name, e.Slot)
		if err != nil {
			return c, err
		}
		a := address{e.Name, e.Slot}
		c.order = append(c.order, a)
		c.values[a] = item.Value
	}
	return c, nil
}

// put stores a value unless it is there already.
func put(ctx context.Context, store secrets.Store, a address, value secrets.Value) error {
	item, err := store.Get(ctx, a.name, a.slot)
	switch {
	case err == nil && item.Value.Equal(value):
		return nil
	case err != nil && !errors.Is(err, secrets.ErrNotFound):
		return err
	}
	return store.Put(ctx, a.name, a.slot, value)
}

// removeOthers empties what is not in want.
func removeOthers(ctx context.Context, store secrets.Store, want contents) error {
	entries, err := store.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := want.values[address{e.Name, e.Slot}]; ok {
			continue
		}
		if err := store.Delete(ctx, e.Name, e.Slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
			return err
		}
	}
	return nil
}

// same reads want back from a store.
func same(ctx context.Context, store secrets.Store, want contents) error {
	held, err := readAll(ctx, store)
	if err != nil {
		return err
	}
	for _, a := range want.order {
		if !held.values[a].Equal(want.values[a]) {
			return fmt.Errorf("%v: %w: it is not what was copied", a, secrets.ErrDamaged)
		}
	}
	return nil
}
