package security

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

// Get implements [secrets.Store]. Where an item has no value it wraps [secrets.ErrEmptyValue]: that is not a missing secret.
func (s *Store) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	if err := secrets.Check(name, slot); err != nil {
		return secrets.Item{}, fmt.Errorf("get: %w", err)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	item, err := s.get(ctx, name, slot)
	if err != nil {
		return secrets.Item{}, fmt.Errorf("get %s (%v): %w", name, slot, err)
	}
	return item, nil
}

// get reads the item again when its parts are not there: a writer may have replaced both meanwhile.
func (s *Store) get(ctx context.Context, name secrets.Name, slot secrets.Slot) (item secrets.Item, err error) {
	var before []byte
	for {
		read, err := s.read(ctx, name, slot)
		if err != nil {
			return secrets.Item{}, err
		}
		plain, in, err := decode(read.text)
		if err == nil && in != nil {
			plain, err = s.readParts(ctx, name, slot, in)
		}
		if err == nil {
			value, err := newValue(plain)
			clear(plain)
			clear(read.text)
			return secrets.Item{Value: value, Changed: read.changed}, err
		}
		if in == nil || !errors.Is(err, secrets.ErrDamaged) || bytes.Equal(read.text, before) {
			return secrets.Item{}, err
		}
		before = read.text
	}
}

func newValue(plain []byte) (secrets.Value, error) {
	if len(plain) == 0 {
		return secrets.Value{}, hint.Wrap(fmt.Errorf("the item is there, but %w", secrets.ErrEmptyValue), "mb-secrets set NAME, or mb-secrets generate NAME")
	}
	return secrets.NewValue(plain)
}

// Put implements [secrets.Store]. It reads what is there first: see the package comment.
func (s *Store) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	return s.change(ctx, "put", name, slot, func(ctx context.Context) error {
		if value.IsZero() {
			return secrets.ErrEmptyValue
		}
		return s.put(ctx, name, slot, value)
	})
}

// Delete implements [secrets.Store]. It reads what is there first: see the package comment.
func (s *Store) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	return s.change(ctx, "delete", name, slot, func(ctx context.Context) error { return s.delete(ctx, name, slot) })
}

// change runs a write, one at a time.
func (s *Store) change(ctx context.Context, verb string, name secrets.Name, slot secrets.Slot, write func(context.Context) error) error {
	if err := secrets.Check(name, slot); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err := s.acquire(ctx)
	if err == nil {
		err = write(ctx)
		s.release()
	}
	if err != nil {
		return fmt.Errorf("%s %s (%v): %w", verb, name, slot, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	old, err := s.read(ctx, name, slot)
	there := err == nil
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return err
	}
	_, oldParts, err := decode(old.text)
	if old.anyParts && err == nil { // the parts of a damaged item stay until it is replaced
		if err := s.sweep(ctx, name, slot, oldParts); err != nil {
			return err
		}
	}
	plain := value.Reveal()
	defer clear(plain)
	text, in, texts := s.encode(name, slot, plain)
	if in != nil {
		if err := s.writeParts(ctx, name, slot, in, texts); err != nil {
			return err
		}
	}
	err = s.write(ctx, name, slot, text)
	if errors.Is(err, errDuplicate) && !there {
		err = s.write(ctx, name, slot, text) // somebody has added it meanwhile; now it can be updated
	}
	if err != nil {
		return err
	}
	if oldParts != nil {
		// The new value is in force, whatever happens here. What stays is removed by the next Put or Delete.
		_ = s.deleteAll(ctx, s.partsService(slot), oldParts.accounts(name))
	}
	return nil
}

var errDuplicate = fault(statusDuplicate)

// write sets the item's text and reads it back.
func (s *Store) write(ctx context.Context, name secrets.Name, slot secrets.Slot, text []byte) error {
	service := slot.Service(s.service)
	a, err := s.run(ctx, s.addLine(service, string(name), text), s.readLine(service, string(name)))
	if err != nil {
		return err
	}
	defer a.clear()
	var read *outcome
	for _, o := range a.outcomes() {
		switch {
		case o.command == commandAdd && o.status == statusDuplicate:
			return errDuplicate
		case o.command == commandAdd:
			return fault(o.status)
		case o.command == commandFind && read == nil:
			read = &o
		}
	}
	switch {
	case read == nil && a.exit != 0:
		return fault(a.status(commandFind))
	case read == nil:
		return broken("it did not print what was written")
	case read.status != 0:
		return fmt.Errorf("read back: %w", fault(read.status))
	case !bytes.Equal(read.value, text):
		return hint.Wrap(fmt.Errorf("%w: another value was read back than was written", secrets.ErrDamaged),
			"see that nothing else writes the item, then set the secret again")
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	service := slot.Service(s.service)
	for first := true; ; first = false {
		old, err := s.read(ctx, name, slot)
		if err != nil && !errors.Is(err, secrets.ErrNotFound) {
			return err
		}
		if err != nil {
			if old.anyParts {
				if err := s.sweep(ctx, name, slot, nil); err != nil {
					return err
				}
			}
			if !first { // the one of another keychain was the last
				return nil
			}
			return err
		}
		a, err := s.run(ctx, s.deleteLine(service, string(name)), s.seeLine(service, string(name)))
		if err != nil {
			return err
		}
		again, status := a.exit == 0, deleteStatus(a)
		a.clear()
		if status != 0 && (first || status != statusNotFound) {
			return fault(status)
		}
		if again { // in another keychain of the search list
			continue
		}
		if old.anyParts {
			return s.sweep(ctx, name, slot, nil)
		}
		return nil
	}
}

// deleteStatus is how the deletion ended that a search for the same item follows.
func deleteStatus(a *answer) int {
	for _, o := range a.outcomes() {
		if o.command == commandDelete {
			return o.status
		}
	}
	if a.exit != 0 && a.status(commandFind) != statusNotFound {
		return a.status(commandFind)
	}
	return 0
}

// List implements [secrets.Store]. It reads the attributes of all items of the keychains, which opens no dialog.
func (s *Store) List(ctx context.Context) ([]secrets.Entry, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	all, err := s.dump(ctx)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	slots := map[string]secrets.Slot{}
	for _, slot := range secrets.Slots {
		slots[slot.Service(s.service)] = slot
	}
	type address struct {
		name secrets.Name
		slot secrets.Slot
	}
	found := map[address]time.Time{}
	for _, item := range all {
		slot, ours := slots[item.service]
		name, err := secrets.ParseName(item.account)
		at := address{name, slot}
		if _, again := found[at]; !ours || err != nil || again { // the first one is what Get finds
			continue
		}
		if item.changed.IsZero() {
			return nil, fmt.Errorf("list secrets: %s (%v): %w", name, slot, broken("an item has no date"))
		}
		found[at] = item.changed
	}
	entries := make([]secrets.Entry, 0, len(found))
	for at, changed := range found {
		entries = append(entries, secrets.Entry{Name: at.name, Slot: at.slot, Changed: changed})
	}
	slices.SortFunc(entries, func(a, b secrets.Entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Slot, b.Slot))
	})
	return entries, nil
}
