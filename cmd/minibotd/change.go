package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"minibot/control"
	"minibot/database"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

// Secrets lists every required and every stored secret.
func (d *daemon) Secrets(ctx context.Context) ([]control.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil { // what is required is not known
		return nil, err
	}
	return d.rows(ctx)
}

func (d *daemon) rows(ctx context.Context) ([]control.Secret, error) {
	entries, err := d.store.List(ctx)
	if err != nil {
		return nil, err
	}
	return control.SecretRows(d.requirements(), entries), nil
}

// Reveal returns a secret's current value.
func (d *daemon) Reveal(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	item, err := d.store.Get(ctx, name, secrets.Current)
	if err != nil {
		return secrets.Value{}, err
	}
	d.record(control.Event{Kind: "secret", Secret: string(name), Message: "revealed"})
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
func (d *daemon) Change(ctx context.Context, changes []control.Change, report func(control.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := d.ready(ctx); err != nil { // what is not known to live in a database would be overwritten
		return d.outcome(err)
	}
	values, err := d.valuesOf(changes)
	if err != nil {
		return err
	}
	d.changing(1)
	defer d.changing(-1)
	for name := range values {
		d.record(control.Event{Kind: "secret", Secret: string(name), Message: "change begins"})
	}
	d.redact.learn(slices.Collect(maps.Values(values)))
	if d.lockedDown() != nil {
		err = d.storeWhileLocked(ctx, values, d.say(report))
	} else {
		err = d.unlessLockedDown(ctx, func(ctx context.Context) error { return d.rotator.Change(ctx, values, d.say(report)) })
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
	return d.outcome(err)
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
	case errors.Is(err, supervisor.ErrEnded):
		return ended{err, control.ErrStopping}
	}
	return err
}

// outcome is ending, with nothing in its text that must not be shown.
func (d *daemon) outcome(err error) error {
	if err = ending(err); err == nil {
		return nil
	}
	if text := d.redact.text(err.Error()); text != err.Error() {
		return reworded{err, text}
	}
	return err
}

// reworded is an error that reads otherwise.
type reworded struct {
	error
	text string
}

func (r reworded) Error() string { return r.text }
func (r reworded) Unwrap() error { return r.error }

// say passes what happens to services on to who waits for an operation, redacted.
func (d *daemon) say(report func(control.Progress)) rotation.Report {
	return func(service, message string) {
		report(control.Progress{Service: service, Message: d.redact.text(message)})
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

// database is the driver for a secret that lives in one.
func (d *daemon) database(r secrets.Requirement) rotation.Database {
	switch r.Rotate.Driver {
	case database.DriverPostgres:
		return &database.Postgres{Container: d, Service: r.Rotate.Service, User: r.Rotate.User, Database: r.Rotate.Database}
	case database.DriverRedis:
		return &database.Redis{Container: d, Service: r.Rotate.Service, User: r.Rotate.User}
	}
	return nil
}

// Exec runs a command in a service's container; values travel on stdin only.
func (d *daemon) Exec(ctx context.Context, service string, cmd []string, stdin []byte) (database.Result, error) {
	engine, project, err := d.world.connect(ctx)
	if err != nil {
		return database.Result{}, err
	}
	c, err := engine.Container(ctx, project, service)
	if err != nil {
		return database.Result{}, d.world.lost(engine, err)
	}
	result, err := engine.Exec(ctx, c.ID, stack.Exec{Cmd: cmd, Stdin: stdin})
	return database.Result{ExitCode: result.ExitCode, Stdout: result.Stdout, Stderr: result.Stderr}, d.world.lost(engine, err)
}

// awaitTimeout bounds how long a change waits for its database to be up before it is rolled back.
const awaitTimeout = 2 * time.Minute

// Await returns once a service is up.
func (d *daemon) Await(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	status, err := d.supervisor.Wait(ctx, func(s supervisor.Status) bool { return well(s, service) })
	if err != nil {
		return hint.Wrap(fmt.Errorf("service %s did not get healthy: %s: %w", service, serviceReason(status, service), err),
			"run `minibotd status` and `minibotd logs %s`", service)
	}
	return nil
}

// Adopt delivers what the store holds and returns when the users of the named secrets have taken it and are up.
func (d *daemon) Adopt(ctx context.Context, names []secrets.Name, report rotation.Report) error {
	ticket, err := d.update(ctx)
	if err != nil {
		return err
	}
	return d.settle(ctx, ticket, d.usersOf(names), report)
}

func (d *daemon) usersOf(names []secrets.Name) map[string]bool {
	users := map[string]bool{}
	for _, r := range d.requirements() {
		for _, name := range names {
			if r.Name == name {
				for _, service := range r.UsedBy {
					users[service] = true
				}
			}
		}
	}
	return users
}

func serviceReason(status supervisor.Status, service string) string {
	s, ok := status.Service(service)
	if !ok {
		return "unknown service"
	}
	return describe(s)
}
