package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Promoter is a [Store] that promotes atomically: see [Promote].
type Promoter interface {
	Promote(ctx context.Context, name Name) error
}

// Promote brings the pending value into force: previous ← current, current ← pending, pending is emptied.
//
// It may be killed or fail between any two of its steps and be called again: the second call finishes the first.
// With nothing pending it does nothing, unless current is empty too: then it is [ErrNotFound]. A pending value
// equal to the current one is only taken away, so that previous is never overwritten with the value that is in force. With nothing
// current, previous stays as it is. A store that is a [Promoter] does it in one step; on others nobody else may
// write the name meanwhile.
func Promote(ctx context.Context, store Store, name Name) error {
	if promoter, ok := store.(Promoter); ok {
		return promoter.Promote(ctx, name)
	}
	pending, err := lookup(ctx, store, name, Pending)
	if err != nil {
		return fmt.Errorf("promote %s: %w", name, err)
	}
	current, err := lookup(ctx, store, name, Current)
	if err != nil {
		return fmt.Errorf("promote %s: %w", name, err)
	}
	if pending.IsZero() {
		if current.IsZero() {
			return fmt.Errorf("promote %s: %w", name, ErrNotFound)
		}
		return nil
	}
	// The order matters: as long as pending is set and differs from current, nothing of current is lost yet.
	if !pending.Equal(current) {
		if !current.IsZero() {
			if err := store.Put(ctx, name, Previous, current); err != nil {
				return fmt.Errorf("promote %s: %w", name, err)
			}
		}
		if err := store.Put(ctx, name, Current, pending); err != nil {
			return fmt.Errorf("promote %s: %w", name, err)
		}
	}
	if err := store.Delete(ctx, name, Pending); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("promote %s: %w", name, err)
	}
	return nil
}

// lookup returns the zero Value for an empty slot.
func lookup(ctx context.Context, store Store, name Name, slot Slot) (Value, error) {
	item, err := store.Get(ctx, name, slot)
	if errors.Is(err, ErrNotFound) {
		return Value{}, nil
	}
	return item.Value, err
}

// Items is what the slots of one name hold, by Slot. A zero Item is an empty slot.
type Items [len(Slots)]Item

// Promote does in memory what [Promote] does in a store, and dates what it writes with now.
func (items *Items) Promote(now time.Time) error {
	pending, current := items[Pending].Value, items[Current].Value
	switch {
	case pending.IsZero() && current.IsZero():
		return ErrNotFound
	case pending.IsZero():
		return nil
	case !pending.Equal(current):
		if !current.IsZero() {
			items[Previous] = Item{current, now}
		}
		items[Current] = Item{pending, now}
	}
	items[Pending] = Item{}
	return nil
}

// IsZero reports whether every slot is empty.
func (items *Items) IsZero() bool {
	for _, item := range items {
		if !item.Value.IsZero() {
			return false
		}
	}
	return true
}
