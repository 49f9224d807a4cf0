package rotation

import (
	"context"
	"errors"
	"fmt"

	"minibot/database"
	"minibot/secrets"
)

// rehearsalName is the throwaway secret of a rehearsal.
const rehearsalName secrets.Name = "MINIBOT_REHEARSAL"

// Rehearser is a Database that can make a throwaway credential of its own kind.
type Rehearser interface {
	// Rehearsal makes one, given the credential in force, and removes what earlier rehearsals left. end removes it.
	Rehearsal(ctx context.Context, now database.Credential) (db Database, first database.Credential, end func(ctx context.Context) error, err error)
}

// Rehearse carries out the whole sequence for each name, there and back, on a throwaway credential and a throwaway secret;
// no service takes anything, and no value in force changes. Of a credential that there is no throwaway for it is only
// proven that the stored one is good. It returns the first thing that would go wrong.
func (r *Rotator) Rehearse(ctx context.Context, names []secrets.Name, by string, report Report) error {
	unlock, err := r.lock(ctx, false)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range names {
		c, err := r.describe(ctx, name)
		if err == nil {
			err = r.rehearse(ctx, c, by, report)
		}
		if err != nil {
			return fmt.Errorf("rehearse %s: %w", name, err)
		}
	}
	return nil
}

func (r *Rotator) rehearse(ctx context.Context, c *change, by string, report Report) (err error) {
	tell := func(message string) { report(Note{Secret: c.Name, Service: c.service, Message: message}) }
	rehearser, can := c.db.(Rehearser)
	switch {
	case c.current.IsZero():
		return secrets.ErrNotFound
	case c.db == nil:
		tell("its users merely read it: nothing to rehearse but the delivery")
		return r.deliverNothing(ctx)
	case !can:
		tell("there is no throwaway credential for it: the stored one is proven")
		return r.newRun(report).patiently(ctx, c, func() error { return c.db.Prove(ctx, c.credentials().Current) })
	}
	db, first, end, err := rehearser.Rehearsal(ctx, c.credentials().Current)
	if err != nil {
		return fmt.Errorf("make a throwaway credential: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.Patience)
		defer cancel()
		err = errors.Join(err, wrap("remove the throwaway credential", end(ctx)), r.clearRehearsal(ctx))
	}()
	aside := *r // shares all but the stack
	aside.stack = rehearsalStack{r.stack, false}
	tell("forward, on a throwaway credential")
	now, err := aside.rehearseOnce(ctx, c, db, first, by, report)
	if err != nil {
		return err
	}
	aside.stack = rehearsalStack{r.stack, true}
	tell("and back, as if a service did not get healthy")
	_, err = aside.rehearseOnce(ctx, c, db, now, by, report)
	if !errors.Is(err, errRehearsedFailure) || !errors.Is(err, ErrRolledBack) {
		return fmt.Errorf("the way back: %w", err)
	}
	tell("the rehearsal went well")
	return wrap("after the way back", db.Prove(ctx, now))
}

// rehearseOnce is one rotation of the throwaway secret. It returns the credential that is next.
func (r *Rotator) rehearseOnce(ctx context.Context, of *change, db Database, now database.Credential, by string, report Report) (database.Credential, error) {
	next, err := secrets.Recipe{Length: 32}.Generate()
	if err != nil {
		return now, err
	}
	c := &change{item: &item{entry: entry{Name: rehearsalName}, current: now.Password, next: next}, service: of.service, db: db}
	if now.User != "" {
		user, err := secrets.NewValue([]byte(now.User))
		if err != nil {
			return now, err
		}
		c.user = &item{entry: entry{Name: rehearsalName + "_USER", Companion: rehearsalName}, current: user}
	}
	run := r.newRun(report)
	run.add(c)
	for _, i := range run.items {
		if err := r.store.Put(ctx, i.Name, secrets.Current, i.current); err != nil {
			return now, fmt.Errorf("store the throwaway secret: %w", err)
		}
	}
	if err := run.begin(ctx, Order{Kind: KindRehearse, By: by, rehearses: of.Name}); err != nil {
		return now, err
	}
	if err := run.stage(ctx); err != nil {
		return now, run.failed(ctx, err)
	}
	return c.credentials().Next, run.carryOut(ctx)
}

// clearRehearsal removes the throwaway secret.
func (r *Rotator) clearRehearsal(ctx context.Context) error {
	var errs []error
	for _, name := range []secrets.Name{rehearsalName, rehearsalName + "_USER"} {
		for _, slot := range secrets.Slots {
			errs = append(errs, wrap("remove the throwaway secret", r.empty(ctx, name, slot)))
		}
	}
	return errors.Join(errs...)
}

// deliverNothing prepares a delivery and takes it back.
func (r *Rotator) deliverNothing(ctx context.Context) error {
	ready, err := r.stack.Prepare(ctx, nil)
	if err == nil {
		ready.Abort()
	}
	return err
}

var errRehearsedFailure = errors.New("rehearsed failure")

// rehearsalStack is the stack with users that nobody sees.
type rehearsalStack struct {
	Stack

	fails bool // a user does not get well
}

func (s rehearsalStack) Prepare(ctx context.Context, _ map[secrets.Name]secrets.Value) (database.Switch, error) {
	ready, err := s.Stack.Prepare(ctx, nil)
	if err != nil {
		return nil, err
	}
	return discarded{ready}, nil
}

func (s rehearsalStack) Adopt(context.Context, []secrets.Name, Report) error {
	if s.fails {
		return errRehearsedFailure
	}
	return nil
}

func (rehearsalStack) Silent(secrets.Name) []string { return nil }

// discarded is a delivery that is taken back in either case.
type discarded struct{ database.Switch }

func (d discarded) Commit(context.Context) error { d.Abort(); return nil }
