// Package rotation changes secrets inside a running stack so that the store, the databases and the services that use
// them end in one of two states, all new or all old, whatever fails or is killed when.
//
// It owns the order of the steps ([Steps]) and the journal in which each is noted before it is taken. It guarantees that
// until the former values are retired every failure takes everything back, and that from then on everything goes
// forward; that a run which was cut short is finished by the next one; and that no value is in the journal, an error or a
// log. It never talks to Docker or a database itself.
package rotation

import (
	"context"
	"crypto/rand"
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
	// ErrRolledBack: nothing changed; databases, store and services have what they had before.
	ErrRolledBack = errors.New("the change was rolled back")
	// ErrUnfinished: the journal holds how far it came, and the next start or reload carries it on.
	ErrUnfinished = errors.New("the change is not finished")
	// ErrBusy: another change is under way, and the caller does not want to wait.
	ErrBusy = errors.New("another change is under way")
)

// Database is one credential inside a service; the types of package database are some. Every method may be repeated
// after a crash at any point of a change. Errors are those of package database.
type Database interface {
	// Check reports, asking nobody, whether the value can be the password.
	Check(value secrets.Value) error
	// Live reports whether Accept takes force at once, rather than by delivery and what the service does then. Where it does
	// not, Accept, Retire and Revert do nothing.
	Live() bool
	// Overlaps reports whether the current credential stays good beside the next one until Retire.
	Overlaps() bool
	// Successor is the user of the next credential, given that of the current one.
	Successor(user string) string
	// Accept makes the database let the next credential in.
	Accept(ctx context.Context, c database.Change) error
	// Prove returns nil when the credential is let in and a random one is not.
	Prove(ctx context.Context, c database.Credential) error
	// Retire makes the current credential refused and leaves the next one.
	Retire(ctx context.Context, c database.Change) error
	// Revert makes the next credential refused and leaves the current one.
	Revert(ctx context.Context, c database.Change) error
	// Assert makes the credential the only good one by an entrance that needs none, or returns database.ErrNoEntrance.
	Assert(ctx context.Context, c database.Credential) error
	// InUse counts the sessions that are known to have been let in by the current credential, or before since.
	InUse(ctx context.Context, c database.Change, since time.Time) (int, error)
}

// Switcher is a Database that holds one credential, and can change it within milliseconds once it is prepared.
type Switcher interface {
	Prepare(ctx context.Context, c database.Change) (database.Switch, error)
}

// Stack is what holds the services.
type Stack interface {
	// Await blocks until the service runs and is healthy, or ctx ends.
	Await(ctx context.Context, service string) error
	// Prepare makes the delivery of these values, beside what is delivered, ready. With nothing to deliver its Commit does nothing.
	Prepare(ctx context.Context, values map[secrets.Name]secrets.Value) (database.Switch, error)
	// Adopt lets the users of the named secrets take what was delivered, each once, and returns when all are well, or why
	// one does not get well.
	Adopt(ctx context.Context, names []secrets.Name, report Report) error
	// Silent lists the running users of a secret that take it without a word, so that only their sessions tell.
	Silent(name secrets.Name) []string
	// Restart restarts a service and returns when it is well.
	Restart(ctx context.Context, service string) error
}

// Note tells a person what happens.
type Note struct {
	Step    Step
	Secret  secrets.Name
	Service string
	Message string
}

// Report passes a Note on. It must not block for long.
type Report func(Note)

// Order is a change that somebody wants.
type Order struct {
	Kind   string // see the Kind constants
	By     string // who wants it
	Values map[secrets.Name]secrets.Value
	NoWait bool // fail with ErrBusy rather than wait for another change

	rehearses secrets.Name
}

// Rotator carries out one change at a time. Its exported fields are fixed once it is used.
type Rotator struct {
	// Patience is how long a database may stay not ready in one step. Default 1 minute.
	Patience time.Duration
	// SessionPatience is how long the sessions of a former credential are waited for. Default 2 minutes.
	SessionPatience time.Duration
	// RollbackTimeout bounds a rollback, which goes on when its caller leaves. Default 5 minutes: users restart in it.
	RollbackTimeout time.Duration
	// Redact takes values out of the reasons that go into the journal, which others' words are part of. By default it changes nothing.
	Redact func(string) string
	// At is called at every crash point. By default it does nothing; tests die in it.
	At func(Point)

	store        secrets.Store
	journal      *Journal
	requirements func() []secrets.Requirement
	databases    func(secrets.Requirement) Database
	stack        Stack
	log          *slog.Logger
	turn         chan struct{}
}

// New returns a Rotator. requirements gives what the compose file declares now; databases gives the credential behind a
// requirement that names a driver, or nil for a driver it does not know. Both are called for each change.
func New(store secrets.Store, journal *Journal, requirements func() []secrets.Requirement, databases func(secrets.Requirement) Database,
	stack Stack, log *slog.Logger,
) *Rotator {
	return &Rotator{
		Patience: time.Minute, SessionPatience: 2 * time.Minute, RollbackTimeout: 5 * time.Minute, At: func(Point) {}, Redact: func(s string) string { return s },
		store: store, journal: journal, requirements: requirements, databases: databases, stack: stack, log: log, turn: make(chan struct{}, 1),
	}
}

// lock waits for the change under way to end, or for ctx.
func (r *Rotator) lock(ctx context.Context, noWait bool) (unlock func(), err error) {
	unlock = func() { <-r.turn }
	select {
	case r.turn <- struct{}{}:
		return unlock, nil
	default:
	}
	if noWait {
		return nil, hint.Wrap(ErrBusy, "minibotd status shows it; without --no-wait this one waits for it")
	}
	select {
	case r.turn <- struct{}{}:
		return unlock, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another change: %w", ctx.Err())
	}
}

// Receipts returns what the journal, since it was last begun anew, tells of the rotations; the oldest first.
func (r *Rotator) Receipts() []Receipt { return r.journal.Receipts() }

// Alone calls f while no change is under way, and passes its error on. It waits for one as long as ctx lasts.
func (r *Rotator) Alone(ctx context.Context, f func() error) error {
	unlock, err := r.lock(ctx, false)
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// Change puts new values into force while the stack is up, and returns when all is proven and the former ones are
// refused. Every value is checked before anything is stored. An error that wraps [ErrRolledBack] changed nothing; one
// that wraps [ErrUnfinished] will be carried on by AfterStart; any other was found before the first write, or says why a
// first value, which stays, could not be put to use. A second call waits for the first, as long as its ctx lasts.
// Setting the current value again mends a database that has another.
func (r *Rotator) Change(ctx context.Context, o Order, report Report) error {
	unlock, err := r.lock(ctx, o.NoWait)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.finish(ctx, report); r.journal.open() != nil {
		return fmt.Errorf("finish an earlier change first: %w", err)
	} else if err != nil { // how it ended is in its own receipt
		r.log.Warn("an earlier change was finished", "err", err)
	}
	run := r.newRun(report)
	for _, name := range slices.Sorted(maps.Keys(o.Values)) {
		c, err := r.describe(ctx, name)
		if err != nil {
			return err
		}
		c.next = o.Values[name]
		if c.db != nil {
			if err := c.db.Check(c.next); err != nil {
				return unfit(name, err)
			}
		}
		run.add(c)
	}
	if err := run.begin(ctx, o); err != nil {
		return fmt.Errorf("%w: %w", ErrRolledBack, err)
	}
	if err := run.stage(ctx); err != nil {
		return run.failed(ctx, err)
	}
	return run.carryOut(ctx)
}

// newRun is a rotation that has not begun.
func (r *Rotator) newRun(report Report) *run {
	return &run{Rotator: r, id: rand.Text()[:13], report: report, reached: map[Step]bool{}, asked: map[secrets.Name]bool{}}
}

// describe finds out what is known of a name. An undeclared one is merely read.
func (r *Rotator) describe(ctx context.Context, name secrets.Name) (*change, error) {
	c := &change{item: &item{entry: entry{Name: name}}}
	var err error
	if c.current, c.previous, err = r.slots(ctx, name); err != nil {
		return nil, err
	}
	for _, req := range r.requirements() {
		if req.Name != name || req.Rotate.Driver == "" {
			continue
		}
		c.service = req.Rotate.Service
		if c.db = r.databases(req); c.db == nil {
			return nil, fmt.Errorf("%s: %w %q", name, database.ErrUnknownDriver, req.Rotate.Driver)
		}
		if user := req.Rotate.UserName; user != "" {
			c.user = &item{entry: entry{Name: user, Companion: name}}
			if c.user.current, c.user.previous, err = r.slots(ctx, user); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (r *Rotator) slots(ctx context.Context, name secrets.Name) (current, previous secrets.Value, err error) {
	if current, err = r.get(ctx, name, secrets.Current); err != nil {
		return current, previous, err
	}
	previous, err = r.get(ctx, name, secrets.Previous)
	return current, previous, err
}

// get returns the zero Value for an empty slot.
func (r *Rotator) get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Value, error) {
	item, err := r.store.Get(ctx, name, slot)
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return secrets.Value{}, fmt.Errorf("read %s: %w", name, err)
	}
	return item.Value, nil
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
