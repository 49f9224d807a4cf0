package secrets

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"minibot/hint"
)

// Memory is a [Store] and [Promoter] that lives as long as the process: for tests, and the model of what a store
// does. Its switches make it answer as a locked store or one that denies access. Make it with [NewMemory].
type Memory struct {
	// Now dates what is written; fixed once the store is used.
	Now func() time.Time

	mu     sync.Mutex
	names  map[Name]Items
	locked bool
	denied bool
}

// NewMemory returns an empty, unlocked store that uses the machine's clock.
func NewMemory() *Memory { return &Memory{Now: time.Now, names: map[Name]Items{}} }

// Lock makes every call answer [ErrLocked] until [Memory.Unlock]. What is stored stays.
func (m *Memory) Lock() { m.set(&m.locked, true) }

// Unlock ends [Memory.Lock].
func (m *Memory) Unlock() { m.set(&m.locked, false) }

// Deny makes every call answer [ErrDenied] until it is called with false. A locked store answers ErrLocked first.
func (m *Memory) Deny(denied bool) { m.set(&m.denied, denied) }

func (m *Memory) set(flag *bool, to bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*flag = to
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, name Name, slot Slot) (item Item, err error) {
	err = m.do(ctx, "get", name, slot, func(items *Items) error {
		if item = items[slot]; item.Value.IsZero() {
			return ErrNotFound
		}
		return nil
	})
	return item, err
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, name Name, slot Slot, value Value) error {
	return m.do(ctx, "put", name, slot, func(items *Items) error {
		if value.IsZero() {
			return ErrEmptyValue
		}
		items[slot] = Item{value, m.Now().UTC()}
		return nil
	})
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, name Name, slot Slot) error {
	return m.do(ctx, "delete", name, slot, func(items *Items) error {
		if items[slot].Value.IsZero() {
			return ErrNotFound
		}
		items[slot] = Item{}
		return nil
	})
}

// Promote implements [Promoter].
func (m *Memory) Promote(ctx context.Context, name Name) error {
	return m.do(ctx, "promote", name, Pending, func(items *Items) error { return items.Promote(m.Now().UTC()) })
}

// List implements [Store].
func (m *Memory) List(ctx context.Context) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return Entries(m.names), nil
}

// do runs change on a copy of name's items and keeps the copy when change succeeds.
func (m *Memory) do(ctx context.Context, verb string, name Name, slot Slot, change func(*Items) error) error {
	if err := Check(name, slot); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return fmt.Errorf("%s %s (%v): %w", verb, name, slot, err)
	}
	items := m.names[name]
	if err := change(&items); err != nil {
		return fmt.Errorf("%s %s (%v): %w", verb, name, slot, err)
	}
	if items.IsZero() {
		delete(m.names, name)
	} else {
		m.names[name] = items
	}
	return nil
}

func (m *Memory) ready(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case m.locked:
		return hint.Wrap(ErrLocked, "unlock it")
	case m.denied:
		return hint.Wrap(ErrDenied, "allow it")
	}
	return nil
}

// Entries lists the slots that are set, ordered as [Store].List demands.
func Entries(names map[Name]Items) []Entry {
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, slot := range Slots {
			if item := names[name][slot]; !item.Value.IsZero() {
				entries = append(entries, Entry{name, slot, item.Changed})
			}
		}
	}
	return entries
}
