package rotation

import (
	"context"
	"errors"
	"fmt"

	"minibot/database"
	"minibot/secrets"
)

// Check reports whether the database that holds req, if one does, can take value; the error wraps [database.ErrUnfit]
// and has a hint. It asks nobody.
func Check(req secrets.Requirement, value secrets.Value) error {
	if err := database.Check(req.Rotate.Driver, value); err != nil {
		return unfit(req.Name, err)
	}
	return nil
}

// Stage stores a value where no daemon runs, and returns the slot that it went to. A new value of a secret inside a
// database goes to Pending, for the next start to carry out; every other goes to Current, keeping the former one in
// Previous. A value that is current already takes a pending one back. The caller holds the store's lock, so that no
// daemon runs meanwhile. The error wraps [database.ErrUnfit] when the database could not take the value; then
// nothing is stored.
func Stage(ctx context.Context, store secrets.Store, req secrets.Requirement, value secrets.Value) (secrets.Slot, error) {
	if err := Check(req, value); err != nil {
		return 0, err
	}
	item, err := store.Get(ctx, req.Name, secrets.Current)
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return 0, fmt.Errorf("read %s: %w", req.Name, err)
	}
	current := item.Value
	if err := store.Put(ctx, req.Name, secrets.Pending, value); err != nil {
		return 0, fmt.Errorf("stage %s: %w", req.Name, err)
	}
	if req.Rotate.InDatabase() && !current.IsZero() && !current.Equal(value) {
		return secrets.Pending, nil
	}
	if err := secrets.Promote(ctx, store, req.Name); err != nil {
		return secrets.Pending, fmt.Errorf("store %s: %w", req.Name, err)
	}
	return secrets.Current, nil
}

// BeforeDelivery brings into force what waits in pending and may be delivered at once: plain secrets, secrets of
// databases that take theirs at a restart, and first values. Call it at every start and reload, before anything is
// delivered. What waits for a live database stays for AfterStart. Idempotent.
func (r *Rotator) BeforeDelivery(ctx context.Context) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	waiting, err := r.waiting(ctx)
	errs := []error{err}
	for _, c := range waiting {
		if c.live() && !c.first() && !c.same() {
			continue
		}
		if c.db != nil {
			if err := c.db.Check(c.next); err != nil { // stored by hand or by an older version: never to be delivered
				errs = append(errs, r.rollBack(ctx, []*change{c}, fmt.Errorf("check %s: %w", c.name, err), func(string, string) {}))
				continue
			}
		}
		errs = append(errs, r.promote(ctx, []*change{c}))
	}
	return errors.Join(errs...)
}

// AfterStart finishes what waits for live databases, and makes sure that each of them has the current value: one that
// has another gets it back over its own socket. Call it at every start and reload, once the databases run; it awaits
// each. A change that its database cannot take for good is rolled back, one that fails for now is kept. Idempotent.
func (r *Rotator) AfterStart(ctx context.Context, report Report) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	waiting, err := r.waiting(ctx)
	errs := []error{err}
	pending := map[secrets.Name]bool{}
	for _, c := range waiting {
		if c.live() && !c.first() && !c.same() {
			pending[c.name] = true
			errs = append(errs, r.finish(ctx, c, report))
		}
	}
	for _, req := range r.requirements() {
		if pending[req.Name] || !req.Rotate.InDatabase() {
			continue
		}
		c, err := r.describe(ctx, req.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if c.live() && !c.first() {
			errs = append(errs, r.ensure(ctx, c, c.current, report))
		}
	}
	return errors.Join(errs...)
}

// finish carries on with one pending change.
func (r *Rotator) finish(ctx context.Context, c *change, report Report) error {
	report(c.service, "finishing a change of the password")
	c.touched = true // perhaps by the run that was cut short
	err := c.db.Check(c.next)
	if err == nil {
		err = r.instil(ctx, c, c.next)
	}
	switch {
	case err == nil:
		return r.settle(ctx, []*change{c}, report)
	case database.Transient(err), ctx.Err() != nil:
		return unfinished(fmt.Errorf("change %s: %w", c.name, err))
	}
	return r.rollBack(ctx, []*change{c}, fmt.Errorf("change %s: %w", c.name, err), report)
}

// waiting returns what is in pending. Names that cannot be looked up are left out and reported.
func (r *Rotator) waiting(ctx context.Context) ([]*change, error) {
	entries, err := r.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the store: %w", err)
	}
	var all []*change
	var errs []error
	for _, e := range entries {
		if e.Slot != secrets.Pending {
			continue
		}
		c, err := r.describe(ctx, e.Name)
		if err == nil {
			c.next, err = r.get(ctx, e.Name, secrets.Pending)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, c)
	}
	return all, errors.Join(errs...)
}
