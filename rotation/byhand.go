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
	unlock, err := r.lock(ctx, false)
	if err != nil {
		return err
	}
	defer unlock()
	was, err := find(ctx)
	if err != nil {
		return err
	}
	if r.journal.open() != nil { // what is current is still on its way
		return nil
	}
	run := r.newRun(report)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		c, err := r.describe(ctx, name)
		if err != nil {
			return err
		}
		if c.current.IsZero() || c.current.Equal(was[name]) {
			continue
		}
		c.next, c.current = c.current, was[name]
		run.add(c)
	}
	if len(run.changes) == 0 {
		return nil
	}
	if err := run.begin(ctx, Order{Kind: KindByHand, By: "changed in the store by hand"}); err != nil {
		return unfinished(err)
	}
	if err := run.restage(ctx); err != nil {
		return unfinished(err)
	}
	for _, c := range run.changes {
		if c.db == nil {
			continue
		}
		if err := c.db.Check(c.next); err != nil {
			return run.failed(ctx, unfit(c.Name, err))
		}
	}
	return run.carryOut(ctx)
}

// restage takes values that are current already back to pending. Killed in between they are current still, and pending
// says nothing else.
func (r *run) restage(ctx context.Context) error {
	for _, slot := range []secrets.Slot{secrets.Previous, secrets.Pending, secrets.Current} {
		err := r.each(ctx, StepRestage, "stage", func(ctx context.Context, i *item) error {
			value := i.current
			if slot == secrets.Pending {
				value = i.next
			}
			return r.store.Put(ctx, i.Name, slot, value)
		})
		if err != nil {
			return fmt.Errorf("take back what was changed by hand: %w", err)
		}
	}
	return nil
}
