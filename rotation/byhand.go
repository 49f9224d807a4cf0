package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"minibot/secrets"
)

// ByHand carries out changes that somebody made in the store itself, past minibot. find returns what was in force, and is
// in the databases still, of the names whose current value is another one now; it is called while no change is under
// way. Each such value becomes a pending change, and from there on all is as in Change: it comes into force as a
// whole, or what was in force stays, in the store too. What was in force is in the store all the time, in Previous
// until it is current again. A name whose current value is what find says, or is gone, is left alone.
func (r *Rotator) ByHand(ctx context.Context, find func(context.Context) (map[secrets.Name]secrets.Value, error), report Report) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	was, err := find(ctx)
	if err != nil {
		return err
	}
	var todo []*change
	for _, name := range slices.Sorted(maps.Keys(was)) {
		c, err := r.describe(ctx, name)
		if err != nil {
			return err
		}
		if c.first() || c.current.Equal(was[name]) {
			continue
		}
		c.next, c.current = c.current, was[name]
		todo = append(todo, c)
	}
	if err := r.restage(ctx, todo); err != nil {
		return unfinished(err)
	}
	for _, c := range todo {
		if c.db == nil {
			continue
		}
		if err := c.db.Check(c.next); err != nil {
			return r.rollBack(ctx, todo, unfit(c.name, err), report)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	return r.carryOut(ctx, todo, report)
}

// restage takes values that are current already back to pending. Killed in between they are current still, and pending
// says nothing else.
func (r *Rotator) restage(ctx context.Context, todo []*change) error {
	for _, slot := range []secrets.Slot{secrets.Previous, secrets.Pending, secrets.Current} {
		for _, c := range todo {
			value := c.current
			if slot == secrets.Pending {
				value = c.next
			}
			if err := r.store.Put(ctx, c.name, slot, value); err != nil {
				return fmt.Errorf("stage %s: %w", c.name, err)
			}
		}
	}
	return nil
}
