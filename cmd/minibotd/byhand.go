package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"minibot/control"
	"minibot/rotation"
	"minibot/secrets"
)

// storeInterval is how often the store is looked through for changes made by hand. A look reads no value, but with the
// security program it is a process that lists the whole keychain.
const storeInterval = 30 * time.Second

// dateGrain is how coarse the dates of a store are, with something to spare: two changes within one second have one date.
const dateGrain = 2 * time.Second

// dates is when the current items of a store were changed, as of a look at it.
type dates struct {
	at      time.Time
	changed map[secrets.Name]time.Time
}

func newDates(entries []secrets.Entry, at time.Time) dates {
	d := dates{at, map[secrets.Name]time.Time{}}
	for _, e := range entries {
		if e.Slot == secrets.Current {
			d.changed[e.Name] = e.Changed
		}
	}
	return d
}

// since returns the names whose current item may be another one than at an earlier look: a date is another, an item has
// come or gone, or was so young then that a change within the same second would not show.
func (d dates) since(earlier dates) []secrets.Name {
	var names []secrets.Name
	for name, changed := range d.changed {
		before, known := earlier.changed[name]
		if !known || !changed.Equal(before) || earlier.at.Sub(before) < dateGrain {
			names = append(names, name)
		}
	}
	for name := range earlier.changed {
		if _, stays := d.changed[name]; !stays {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// same tells whether a list of the store shows nothing but what since would call unchanged, at less cost: that is so at nearly every look.
func (d dates) same(entries []secrets.Entry) bool {
	n := 0
	for _, e := range entries {
		if e.Slot != secrets.Current {
			continue
		}
		if before, known := d.changed[e.Name]; !known || !e.Changed.Equal(before) || d.at.Sub(before) < dateGrain {
			return false
		}
		n++
	}
	return n == len(d.changed)
}

// watchStore looks for changes made by hand, in the Keychain say, at every tick until ctx ends.
func (d *daemon) watchStore(ctx context.Context) {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(untilBeat(storeInterval)):
		}
		touched, err := d.touched(ctx)
		if touched {
			_, err = d.takeByHand(ctx, func(service, message string) {
				d.record(control.Event{Kind: "secret", Service: service, Message: message})
			})
		}
		if text := errorText(err); text != said && ctx.Err() == nil { // a locked store is one all night
			if said = text; err != nil {
				d.log.Warn("look for changes made by hand", keyError, err)
				d.record(control.Event{Kind: "error", Message: "look for changes made by hand: " + text})
			}
		}
	}
}

// touched tells whether takeByHand may find something. It waits for nobody but the store.
func (d *daemon) touched(ctx context.Context) (bool, error) {
	if d.lockedDown() != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entries, err := d.store.List(ctx)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.dates.same(entries), nil
}

// takeByHand finds what was changed by hand since values were last read, and brings it into force as a change like any
// other. Only what has another date is read. It reports whether services may have something to take still.
func (d *daemon) takeByHand(ctx context.Context, say saying) (changed bool, err error) {
	if d.lockedDown() != nil { // nothing runs that could take it; unlock reads the store anew
		return false, nil
	}
	if !d.promoting.TryLock() { // what is new in the store is about to be read
		return false, nil
	}
	defer d.promoting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	changing, others := false, false
	var faults error
	ctx, leave := d.lock.running.enter(ctx)
	defer leave()
	err = d.rotator.ByHand(ctx, func(ctx context.Context) (was map[secrets.Name]secrets.Value, err error) {
		was, others, faults = d.byHand(ctx)
		for _, name := range slices.Sorted(maps.Keys(was)) {
			d.record(control.Event{Kind: "secret", Secret: string(name), Message: "was changed by hand; the change begins"})
			say("", fmt.Sprintf("%s was changed by hand", name))
		}
		if changing = len(was) > 0; changing {
			d.changing(1)
		}
		return was, nil
	}, say.noting)
	if changing {
		d.changing(-1)
	}
	if errors.Is(err, rotation.ErrUnfinished) {
		d.leftUnfinished(ctx, err)
	}
	if others {
		_, updated := d.update(ctx)
		err = errors.Join(err, updated)
		d.wakeFinish() // a new value may not be in its database yet
	}
	return others, errors.Join(err, faults)
}

// byHand returns what was in force of the secrets that hold another value now, and whether some came or went. Names that
// cannot be read are left out and reported.
func (d *daemon) byHand(ctx context.Context) (was map[secrets.Name]secrets.Value, others bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	at := time.Now()
	entries, err := d.store.List(ctx)
	if err != nil {
		return nil, false, err
	}
	now := newDates(entries, at)
	d.mu.Lock()
	names, values := now.since(d.dates), d.values
	d.dates = now
	d.mu.Unlock()
	was = map[secrets.Name]secrets.Value{}
	var faults []error
	for _, r := range d.requirements() {
		if !slices.Contains(names, r.Name) {
			continue
		}
		value, err := d.read(ctx, secrets.Entry{Name: r.Name, Changed: now.changed[r.Name]})
		if err != nil && !errors.Is(err, secrets.ErrNotFound) {
			faults = append(faults, err)
			continue
		}
		switch before := values[r.Name]; {
		case before.Equal(value):
		case before.IsZero() || value.IsZero():
			others = true
		default:
			was[r.Name] = before
		}
	}
	return was, others, errors.Join(faults...)
}
