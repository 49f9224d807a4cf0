package main

import (
	"context"
	"errors"
	"fmt"

	"minibot/control"
	"minibot/hint"
	"minibot/plan"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// Rotate makes new values, or takes the previous ones, and brings them into force.
func (d *daemon) Rotate(ctx context.Context, r control.Rotation, report func(control.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil {
		return ending(err)
	}
	if err := d.forbidden(); err != nil {
		return hint.Wrap(err, "minibotd unlock, or mb-secrets rotate --compromised")
	}
	rows, err := d.rows(ctx)
	if err != nil {
		return err
	}
	if r.Rollback {
		if err := d.lock.file.RefuseRollbacks(rows, r.Names); err != nil {
			return err
		}
	}
	choice, err := plan.Choose(d.requirements(), rows, r)
	if err != nil {
		return err
	}
	for _, note := range plan.Notes(rows, choice) {
		report(control.Progress{Message: note})
	}
	switch {
	case len(choice.Names) == 0:
		report(control.Progress{Message: "there is nothing to rotate"})
		return nil
	case r.Rehearse:
		return d.rehearse(ctx, r.Order, choice.Names, report)
	case r.Rollback:
		values, err := d.previous(ctx, choice.Names)
		if err != nil {
			return err
		}
		return d.carryOut(ctx, rotation.KindRollback, r.Order, values, report)
	}
	var changes []control.Change
	for _, name := range choice.Names {
		changes = append(changes, control.Change{Name: name, Generate: true})
	}
	values, err := d.valuesOf(changes)
	if err != nil {
		return err
	}
	return d.carryOut(ctx, rotation.KindRotate, r.Order, values, report)
}

// rehearse has the rotator go through the sequence, and touches no value that is in use.
func (d *daemon) rehearse(ctx context.Context, order control.Order, names []secrets.Name, report func(control.Progress)) error {
	if err := d.begin(order); err != nil {
		return err
	}
	defer d.changing(-1)
	return ending(d.rotator.Rehearse(ctx, names, order.By, d.notes(report)))
}

// previous reads what was in force before.
func (d *daemon) previous(ctx context.Context, names []secrets.Name) (map[secrets.Name]secrets.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	values := map[secrets.Name]secrets.Value{}
	for _, name := range names {
		item, err := d.store.Get(ctx, name, secrets.Previous)
		if errors.Is(err, secrets.ErrNotFound) { // gone meanwhile
			return nil, hint.Wrap(fmt.Errorf("%s has no value before the current one: %w", name, secrets.ErrNotFound), "mb-secrets set %s", name)
		}
		if err != nil {
			return nil, err
		}
		values[name] = item.Value
	}
	return values, nil
}

// begin counts a change in. One that must not wait is refused while another is under way.
func (d *daemon) begin(order control.Order) error {
	d.mu.Lock()
	busy := order.NoWait && d.changes > 0
	if !busy {
		d.changes++
	}
	d.mu.Unlock()
	if busy {
		return hint.Wrap(control.ErrBusy, "without --no-wait it waits; minibotd status shows what is under way")
	}
	d.supervisor.Wake()
	return nil
}

// Plan says what Rotate would do now.
func (d *daemon) Plan(ctx context.Context, r control.Rotation) (control.Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil {
		return control.Plan{}, ending(err)
	}
	rows, err := d.rows(ctx)
	if err != nil {
		return control.Plan{}, err
	}
	project := d.loaded()
	choice, err := plan.Choose(project.Requirements, rows, r)
	if err != nil {
		return control.Plan{}, err
	}
	receipts, err := d.receipts()
	return plan.Make(project, rows, choice, receipts), err
}

// loaded is the project as it was last loaded; there is one once the daemon is ready.
func (d *daemon) loaded() *stack.Project {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.project
}

// History returns the receipts of what was changed.
func (d *daemon) History(_ context.Context, name secrets.Name) ([]control.Receipt, error) {
	receipts, err := d.receipts()
	return plan.Of(receipts, name), err
}

// receipts are those of every change that the journal knows of.
func (d *daemon) receipts() ([]control.Receipt, error) {
	list, err := rotation.Receipts(d.paths.Rotation)
	return plan.Receipts(list), err
}
