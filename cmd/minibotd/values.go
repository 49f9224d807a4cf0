package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"minibot/control"
	"minibot/secrets"
)

// learn teaches the redaction what must never be shown: every value that passes the store, of whatever slot, and every one
// that is about to. A user's name that changes together with its password is none: it stands in the compose file.
func (d *daemon) learn(name secrets.Name, value secrets.Value) {
	if !slices.ContainsFunc(d.requirements(), func(r secrets.Requirement) bool { return r.Rotate.UserName == name }) {
		d.redact.Learn(value)
	}
}

// readValues reads every required secret that is set, in every slot.
func (d *daemon) readValues(ctx context.Context) (map[secrets.Name]secrets.Value, error) {
	at := time.Now()
	entries, err := d.store.List(ctx)
	if err != nil {
		return nil, err
	}
	values := map[secrets.Name]secrets.Value{}
	required := d.requirements()
	for _, e := range entries {
		if !slices.ContainsFunc(required, func(r secrets.Requirement) bool { return r.Name == e.Name }) {
			continue
		}
		value, err := d.read(ctx, e)
		if errors.Is(err, secrets.ErrNotFound) { // gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		if e.Slot == secrets.Current {
			values[e.Name] = value
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dates = newDates(entries, at)
	return values, nil
}

// read reads one item. What is in force stays so where its item may not be read any more; a person is asked once.
func (d *daemon) read(ctx context.Context, e secrets.Entry) (secrets.Value, error) {
	d.mu.Lock()
	before := d.values[e.Name]
	at, refused := d.refused[e.Name]
	d.mu.Unlock()
	inForce := e.Slot == secrets.Current && !before.IsZero()
	if inForce && refused && at.Equal(e.Changed) {
		return before, nil
	}
	item, err := d.store.Get(ctx, e.Name, e.Slot)
	if inForce && errors.Is(err, secrets.ErrDenied) {
		d.refuse(e.Name, e.Changed)
		return before, nil
	}
	return item.Value, err
}

// refuse notes, and says, that an item with this date may not be read.
func (d *daemon) refuse(name secrets.Name, changed time.Time) {
	d.mu.Lock()
	d.refused[name] = changed
	d.mu.Unlock()
	d.log.Warn("a secret was changed by hand and cannot be read", keySecret, name)
	d.record(control.Event{Kind: "error", Secret: string(name),
		Message: "was changed by hand and may not be read: what was in force stays; mb-secrets set " + string(name) + " stores it as minibot's own"})
}
