package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/plan"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/supervisor"
)

// Secrets lists every required and every stored secret.
func (d *daemon) Secrets(ctx context.Context) ([]control.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil { // what is required is not known
		return nil, err
	}
	rows, err := d.rows(ctx)
	if err != nil {
		return nil, err
	}
	return d.withNotify(rows), nil
}

func (d *daemon) rows(ctx context.Context) ([]control.Secret, error) {
	entries, err := d.store.List(ctx)
	if err != nil {
		return nil, err
	}
	return control.SecretRows(d.requirements(), entries, plan.Receipts(d.rotator.Receipts()), time.Now()), nil
}

// Reveal returns a secret's current value. The control server records who asked.
func (d *daemon) Reveal(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	item, err := d.store.Get(ctx, name, secrets.Current)
	if err != nil {
		return secrets.Value{}, err
	}
	return item.Value, nil
}

// Delete empties every slot of a secret. Services that need it keep running with what they have.
func (d *daemon) Delete(ctx context.Context, name secrets.Name) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := d.rotator.Alone(ctx, func() error { return control.DeleteSecret(ctx, d.store, name) }); err != nil {
		return err
	}
	d.record(control.Event{Kind: "secret", Secret: string(name), Message: "deleted"})
	_, err := d.update(ctx)
	return err
}

// Change stores secrets and brings them into force.
func (d *daemon) Change(ctx context.Context, order control.ChangeOrder, report func(control.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil { // what is not known to live in a database would be overwritten
		return ending(err)
	}
	values, err := d.valuesOf(order.Changes)
	if err != nil {
		return err
	}
	kind := rotation.KindRotate
	if slices.ContainsFunc(order.Changes, func(c control.Change) bool { return !c.Generate }) {
		kind = rotation.KindSet
	}
	return d.carryOut(ctx, kind, order.Order, values, report)
}

// carryOut brings new values into force, for Change and Rotate alike. kind is one of package rotation.
func (d *daemon) carryOut(ctx context.Context, kind string, order control.Order, values map[secrets.Name]secrets.Value, report func(control.Progress)) error {
	if err := d.begin(order); err != nil {
		return err
	}
	defer d.changing(-1)
	for name := range values {
		d.record(control.Event{Kind: "secret", Secret: string(name), Message: "change begins: " + kind})
	}
	for name, value := range values { // before anything is done with it
		d.learn(name, value)
	}
	var err error
	if d.lockedDown() != nil {
		err = d.storeWhileLocked(ctx, values, d.say(report))
	} else {
		err = d.unlessLockedDown(ctx, func(ctx context.Context) error {
			return d.rotator.Change(ctx, rotation.Order{Kind: kind, By: order.By, Values: values, NoWait: order.NoWait}, d.notes(report))
		})
	}
	if err == nil {
		err = d.lock.file.Changed(ctx, d.store, slices.Collect(maps.Keys(values)))
	}
	outcome := "changed"
	if err != nil {
		outcome = "change failed: " + err.Error()
	}
	for name := range values {
		d.record(control.Event{Kind: "secret", Secret: string(name), Message: outcome})
	}
	if errors.Is(err, rotation.ErrUnfinished) {
		d.leftUnfinished(ctx, err)
	}
	return ending(err)
}

// leftUnfinished has a change that was left unfinished carried on.
func (d *daemon) leftUnfinished(ctx context.Context, err error) {
	d.doubts(ctx, err)
	d.wakeFinish()
}

// wakeFinish has finishChanges look again.
func (d *daemon) wakeFinish() {
	select {
	case d.unfinished <- struct{}{}:
	default:
	}
}

// doubts notes whether it is certain that the databases have what the store holds.
func (d *daemon) doubts(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubt = err != nil
}

func (d *daemon) inDoubt() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.doubt
}

// ending tells the callers of the socket, in control's terms, how an operation ended.
func ending(err error) error {
	switch {
	case errors.Is(err, rotation.ErrRolledBack):
		return ended{err, control.ErrRolledBack}
	case errors.Is(err, rotation.ErrUnfinished):
		return ended{err, control.ErrRecoveryPending}
	case errors.Is(err, rotation.ErrBusy):
		return ended{err, control.ErrBusy}
	case errors.Is(err, supervisor.ErrEnded):
		return ended{err, control.ErrStopping}
	}
	return err
}

// say passes what happens to services on to who waits for an operation.
func (d *daemon) say(report func(control.Progress)) saying {
	return func(service, message string) {
		report(control.Progress{Service: service, Message: message})
	}
}

// notes passes what happens in a rotation on to who waits for it.
func (d *daemon) notes(report func(control.Progress)) rotation.Report {
	return func(n rotation.Note) {
		report(control.Progress{Step: string(n.Step), Secret: string(n.Secret), Service: n.Service, Message: n.Message})
	}
}

// ended is an error that counts as kind too, and reads as before.
type ended struct {
	error
	kind error
}

func (e ended) Unwrap() []error { return []error{e.error, e.kind} }

func (d *daemon) changing(n int) {
	d.mu.Lock()
	d.changes += n
	d.mu.Unlock()
	d.supervisor.Wake()
}

// valuesOf checks what a client sent and generates what it asked for.
func (d *daemon) valuesOf(changes []control.Change) (map[secrets.Name]secrets.Value, error) {
	recipes := map[secrets.Name]*secrets.Recipe{}
	for _, r := range d.requirements() {
		recipes[r.Name] = r.Generate
	}
	values := map[secrets.Name]secrets.Value{}
	var faults []error
	for _, change := range changes {
		var value secrets.Value
		_, err := secrets.ParseName(string(change.Name))
		switch recipe := recipes[change.Name]; {
		case err != nil:
		case !change.Generate:
			value, err = secrets.NewValue(change.Value)
		case recipe == nil:
			err = hint.Wrap(errors.New("minibot cannot make a value for it"), "run `mb-secrets set %s`", change.Name)
		default:
			value, err = recipe.Generate()
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("secret %s: %w", change.Name, err))
		}
		values[change.Name] = value
	}
	return values, errors.Join(faults...)
}
