package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"minibot/database"
	"minibot/secrets"
)

// Check reports whether the database that holds req, if one does, can take value; the error wraps [database.ErrUnfit]
// and has a hint. It asks nobody.
func Check(req secrets.Requirement, value secrets.Value) error {
	check := func(value secrets.Value) error { return database.Check(req.Rotate.Driver, value) }
	if len(req.Rotate.Roles) > 0 { // their password must go into a file of more
		check = database.PostgresRoles{}.Check
	}
	if err := check(value); err != nil {
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

// waiting returns the names that have something in pending.
func (r *Rotator) waiting(ctx context.Context) ([]secrets.Name, error) {
	entries, err := r.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the store: %w", err)
	}
	var all []secrets.Name
	for _, e := range entries {
		if e.Slot == secrets.Pending && !r.isUserName(e.Name) {
			all = append(all, e.Name)
		}
	}
	return all, nil
}

// isUserName reports whether a secret is the user's name of another one, and changes with that only.
func (r *Rotator) isUserName(name secrets.Name) bool {
	return slices.ContainsFunc(r.requirements(), func(req secrets.Requirement) bool { return req.Rotate.UserName == name })
}

// ensureAll makes sure that every live database has the current value of its secret.
func (r *Rotator) ensureAll(ctx context.Context, report Report) error {
	var errs []error
	for _, req := range r.requirements() {
		if req.Rotate.Driver == "" {
			continue
		}
		c, err := r.describe(ctx, req.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if c.current.IsZero() || !c.db.Live() {
			continue
		}
		errs = append(errs, wrap("make sure of "+string(c.Name), r.newRun(report).ensure(ctx, c, c.credentials().Current)))
	}
	return errors.Join(errs...)
}

// carryOutWaiting makes one rotation of all that waits in pending.
func (r *Rotator) carryOutWaiting(ctx context.Context, report Report) error {
	waiting, err := r.waiting(ctx)
	if err != nil || len(waiting) == 0 {
		return err
	}
	fit, misfit := r.newRun(report), r.newRun(report)
	var unfits []error
	for _, name := range waiting {
		c, err := r.describe(ctx, name)
		if err == nil {
			c.next, err = r.get(ctx, name, secrets.Pending)
		}
		if err != nil {
			return err
		}
		if c.db != nil {
			if err := c.db.Check(c.next); err != nil {
				unfits = append(unfits, unfit(name, err))
				misfit.add(c)
				continue
			}
		}
		fit.add(c)
	}
	order := Order{Kind: KindPending, By: "stored while minibotd did not run"}
	var errs []error
	if len(misfit.changes) > 0 {
		errs = append(errs, misfit.reject(ctx, order, errors.Join(unfits...)))
	}
	if len(fit.changes) > 0 {
		errs = append(errs, fit.take(ctx, order))
	}
	return errors.Join(errs...)
}

// reject takes values out of pending that can never come into force, and leaves a receipt that says why.
func (r *run) reject(ctx context.Context, o Order, cause error) error {
	if err := r.begin(ctx, o); err != nil {
		return err
	}
	return r.failed(ctx, cause)
}

// take begins with values that are in pending already.
func (r *run) take(ctx context.Context, o Order) error {
	if err := r.begin(ctx, o); err != nil {
		return err
	}
	if err := r.stage(ctx); err != nil { // users' names are not in pending yet
		return r.failed(ctx, err)
	}
	return r.carryOut(ctx)
}
