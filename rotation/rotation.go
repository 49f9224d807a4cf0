// Package rotation changes secrets so that the store, the databases and the services that use them end up agreeing,
// whatever fails or is killed when.
//
// It owns the order: stage in the pending slot, make the databases accept, prove, promote, deliver, prove again. The
// pending slot is the whole record of a change under way: a start that finds one finishes it. It guarantees that a value
// leaves the pending slot only when its database is known to have it, or to have the current one again. It never
// talks to Docker or a database itself, and never puts a value in an error or a log. What it does not do yet: a
// journal of steps that spans several secrets, retiring the previous value, and rolling back after promotion.
package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"minibot/database"
	"minibot/hint"
	"minibot/secrets"
)

// How a change can end besides done; callers branch with errors.Is.
var (
	// ErrRolledBack: nothing changed; databases and store have what they had before.
	ErrRolledBack = errors.New("the change was rolled back")
	// ErrUnfinished: the store holds all that is needed, and the next start or reload carries the change on.
	ErrUnfinished = errors.New("the change is not finished")
)

// Database is one credential inside a database; database.Postgres and database.Redis are some.
type Database interface {
	// Check reports, asking nobody, whether the value can be the password.
	Check(value secrets.Value) error
	// Accept makes the database take the next credential; idempotent. Where not Live it does nothing.
	Accept(ctx context.Context, c database.Change) error
	// Prove returns nil when the credential is let in and a random one is not; else an error of package database.
	Prove(ctx context.Context, c database.Credential) error
	// Live reports whether Accept takes force at once, rather than by delivery and restart.
	Live() bool
}

// Stack is what holds the services.
type Stack interface {
	// Await blocks until the service runs and is healthy, or ctx ends.
	Await(ctx context.Context, service string) error
	// Adopt delivers what the store now holds, lets the users of the named secrets take it, and returns when all are
	// healthy. With nothing changed it does nothing.
	Adopt(ctx context.Context, names []secrets.Name, report Report) error
}

// Report tells a person what happens to a service. It must not block for long.
type Report func(service, message string)

// Rotator carries out one change at a time. Its exported fields are fixed once it is used.
type Rotator struct {
	// Patience is how long a database may stay not ready in one step. Default 1 minute.
	Patience time.Duration
	// RollbackTimeout bounds a rollback, which goes on when its caller leaves. Default 30 seconds.
	RollbackTimeout time.Duration

	store        secrets.Store
	requirements func() []secrets.Requirement
	databases    func(secrets.Requirement) Database
	stack        Stack
	log          *slog.Logger
	turn         chan struct{}
}

// New returns a Rotator. requirements gives what the compose file declares now; databases gives the credential behind a
// requirement that is InDatabase, or nil for a driver it does not know. Both are called for each change.
func New(store secrets.Store, requirements func() []secrets.Requirement, databases func(secrets.Requirement) Database, stack Stack, log *slog.Logger) *Rotator {
	return &Rotator{Patience: time.Minute, RollbackTimeout: 30 * time.Second,
		store: store, requirements: requirements, databases: databases, stack: stack, log: log, turn: make(chan struct{}, 1)}
}

// change is one secret of a change, or of a recovery.
type change struct {
	name    secrets.Name
	service string
	db      Database // nil for a secret that its users merely read
	current secrets.Value
	next    secrets.Value
	touched bool // the database may have next
}

func (c *change) live() bool  { return c.db != nil && c.db.Live() }
func (c *change) first() bool { return c.current.IsZero() }
func (c *change) same() bool  { return c.next.Equal(c.current) }

// lock waits for the change under way to end, or for ctx.
func (r *Rotator) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another change: %w", ctx.Err())
	}
}

// Change puts new values into force while the stack is up, and returns when all is proven. Every value is checked
// before anything is stored. An error that wraps [ErrRolledBack] changed nothing; one that wraps [ErrUnfinished]
// will be carried on by BeforeDelivery and AfterStart; any other was found before the first write. A second
// call waits for the first, as long as its ctx lasts. Setting the current value again mends a database that has another.
func (r *Rotator) Change(ctx context.Context, changes map[secrets.Name]secrets.Value, report Report) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var todo []*change
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		c, err := r.describe(ctx, name)
		if err != nil {
			return err
		}
		c.next = changes[name]
		if c.db != nil {
			if err := c.db.Check(c.next); err != nil {
				return unfit(name, err)
			}
		}
		todo = append(todo, c)
	}
	for _, c := range todo {
		if err := r.store.Put(ctx, c.name, secrets.Pending, c.next); err != nil {
			return r.rollBack(ctx, todo, fmt.Errorf("stage %s: %w", c.name, err), report)
		}
	}
	return r.carryOut(ctx, todo, report)
}

// Alone calls f while no change is under way, and passes its error on. It waits for one as long as ctx lasts.
func (r *Rotator) Alone(ctx context.Context, f func() error) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// carryOut carries out changes that are staged.
func (r *Rotator) carryOut(ctx context.Context, todo []*change, report Report) error {
	for _, c := range todo {
		if !c.live() || c.first() {
			continue
		}
		report(c.service, "changing the password in the database")
		if err := r.instil(ctx, c, c.next); err != nil {
			return r.rollBack(ctx, todo, fmt.Errorf("change %s: %w", c.name, err), report)
		}
	}
	return r.settle(ctx, todo, report)
}

// settle promotes what the databases have accepted, and lets everyone take it.
func (r *Rotator) settle(ctx context.Context, todo []*change, report Report) error {
	if err := r.promote(ctx, todo); err != nil {
		return r.rollBack(ctx, todo, err, report)
	}
	names := make([]secrets.Name, 0, len(todo))
	for _, c := range todo {
		names = append(names, c.name)
	}
	r.log.Info("secrets changed", "secret", names)
	errs := []error{wrap("deliver the new values", r.stack.Adopt(ctx, names, report))}
	for _, c := range todo {
		switch {
		case c.live() && c.first(): // an old volume may have an older password
			errs = append(errs, r.ensure(ctx, c, c.next, report))
		case c.db != nil && !c.live():
			errs = append(errs, wrap("prove "+string(c.name), r.patiently(ctx, c, func() error { return c.db.Prove(ctx, credential(c.next)) })))
		}
	}
	return unfinished(errors.Join(errs...))
}

// instil makes the database accept the value and proves it.
func (r *Rotator) instil(ctx context.Context, c *change, value secrets.Value) error {
	return r.patiently(ctx, c, func() error {
		c.touched = true
		if err := c.db.Accept(ctx, database.Change{Current: credential(c.current), Next: credential(value)}); err != nil {
			return err
		}
		return c.db.Prove(ctx, credential(value))
	})
}

// ensure makes sure that a live database has the value, without asking it to change when it does.
func (r *Rotator) ensure(ctx context.Context, c *change, value secrets.Value, report Report) error {
	err := r.patiently(ctx, c, func() error { return c.db.Prove(ctx, credential(value)) })
	if errors.Is(err, database.ErrRefused) {
		r.log.Warn("database has another password than the store", "service", c.service, "secret", c.name)
		if err = r.instil(ctx, c, value); err == nil {
			report(c.service, "the database had another password; it has the stored one again")
		}
	}
	return wrap("make sure of "+string(c.name), err)
}

// patiently awaits the service and runs f, again while its answer is transient and patience lasts.
func (r *Rotator) patiently(ctx context.Context, c *change, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	for delay := 250 * time.Millisecond; ; delay = min(2*delay, 4*time.Second) {
		if err := r.stack.Await(ctx, c.service); err != nil {
			return fmt.Errorf("wait for %s: %w: %w", c.service, database.ErrNotReady, err)
		}
		err := f()
		if err == nil || !database.Transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(delay):
		}
	}
}

// promote brings the pending values into force in the store, one after the other.
func (r *Rotator) promote(ctx context.Context, todo []*change) error {
	for _, c := range todo {
		if err := secrets.Promote(ctx, r.store, c.name); err != nil {
			return fmt.Errorf("store %s: %w", c.name, err)
		}
	}
	return nil
}

// rollBack makes the databases accept what they had before, then empties the pending slots. Once a value is in force
// in the store there is no way back: then, or when the way back fails, the pending slots stay as the record.
func (r *Rotator) rollBack(ctx context.Context, todo []*change, cause error, report Report) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.RollbackTimeout)
	defer cancel()
	for _, c := range todo {
		now, err := r.get(ctx, c.name, secrets.Current)
		if err != nil {
			return unfinished(errors.Join(cause, err))
		}
		if !now.Equal(c.current) {
			return unfinished(cause)
		}
	}
	for _, c := range todo {
		if !c.live() || c.first() || !c.touched {
			continue
		}
		if err := c.db.Accept(ctx, database.Change{Current: credential(c.next), Next: credential(c.current)}); err != nil {
			return unfinished(errors.Join(cause, fmt.Errorf("roll back %s: %w", c.name, err)))
		}
		report(c.service, "the database has the former password again")
	}
	for _, c := range todo {
		if err := r.unstage(ctx, c.name); err != nil {
			return unfinished(errors.Join(cause, err))
		}
	}
	return fmt.Errorf("%w: %w", ErrRolledBack, cause)
}

// unstage empties the pending slot. One that is empty needs no write, which the store may be unable to do now.
func (r *Rotator) unstage(ctx context.Context, name secrets.Name) error {
	if waits, err := r.get(ctx, name, secrets.Pending); err == nil && waits.IsZero() {
		return nil
	}
	if err := r.store.Delete(ctx, name, secrets.Pending); err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return fmt.Errorf("take back %s: %w", name, err)
	}
	return nil
}

// describe finds out what is known of a name. An undeclared one is merely read.
func (r *Rotator) describe(ctx context.Context, name secrets.Name) (*change, error) {
	c := &change{name: name}
	for _, req := range r.requirements() {
		if req.Name != name || !req.Rotate.InDatabase() {
			continue
		}
		c.service = req.Rotate.Service
		if c.db = r.databases(req); c.db == nil {
			return nil, fmt.Errorf("%s: %w %q", name, database.ErrUnknownDriver, req.Rotate.Driver)
		}
	}
	var err error
	c.current, err = r.get(ctx, name, secrets.Current)
	return c, err
}

// get returns the zero Value for an empty slot.
func (r *Rotator) get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Value, error) {
	item, err := r.store.Get(ctx, name, slot)
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return secrets.Value{}, fmt.Errorf("read %s: %w", name, err)
	}
	return item.Value, nil
}

func credential(password secrets.Value) database.Credential {
	return database.Credential{Password: password}
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// unfit says what to do about a value that its database could not take.
func unfit(name secrets.Name, err error) error {
	return hint.Wrap(fmt.Errorf("check %s: %w", name, err), "nothing changed; `mb-secrets generate %s` makes one that fits", name)
}

func unfinished(err error) error {
	if err == nil {
		return nil
	}
	return hint.Wrap(fmt.Errorf("%w: %w", ErrUnfinished, err), "minibotd reload carries it on; minibotd status shows what is in the way")
}
