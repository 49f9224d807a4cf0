package rotation

import (
	"context"
	"errors"
	"fmt"

	"minibot/database"
	"minibot/secrets"
)

// failed takes everything back, unless the daemon is only stopping: then the next start carries on. First values stay,
// because there is nothing to go back to.
func (r *run) failed(ctx context.Context, cause error) error {
	r.abort()
	if errors.Is(ctx.Err(), context.Canceled) {
		return unfinished(cause)
	}
	if r.reached[StepPromote] && r.allFirst() {
		return errors.Join(cause, unfinished(r.do(ctx, record{Step: StepEnd, Outcome: OutcomeDone, Reason: cause.Error()}, nothing)))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.RollbackTimeout)
	defer cancel()
	r.report(Note{Step: StepRollBack, Message: "taking everything back: " + cause.Error()})
	if err := r.do(ctx, record{Step: StepRollBack, Reason: cause.Error()}, nothing); err != nil {
		return unfinished(errors.Join(cause, err))
	}
	return r.takeBack(ctx, cause)
}

// takeBack makes databases, store and services have what they had before. It may be called again after it was cut short.
func (r *run) takeBack(ctx context.Context, cause error) error {
	defer r.abort()
	parts := []func(context.Context) error{r.revert, r.unstage}
	if r.reached[StepPromote] {
		parts = []func(context.Context) error{r.demote, r.switchBack, r.readopt, r.revert, r.unstage}
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return unfinished(errors.Join(cause, fmt.Errorf("roll back: %w", err)))
		}
	}
	if err := r.do(ctx, record{Step: StepEnd, Outcome: OutcomeRolledBack, Reason: cause.Error()}, nothing); err != nil {
		return unfinished(errors.Join(cause, err))
	}
	r.log.Warn("secrets not changed", "secret", r.names(), "rotation", r.id, "err", cause)
	return fmt.Errorf("%w: %w", ErrRolledBack, cause)
}

// demote makes the former values current again in the store. The next ones stay in pending as long as databases may have
// them. A first value stays: there is nothing to go back to.
func (r *run) demote(ctx context.Context) error {
	return r.each(ctx, StepDemote, "take back", func(ctx context.Context, i *item) error {
		now, err := r.get(ctx, i.Name, secrets.Current)
		if err != nil || i.First || i.Same || now.Equal(i.current) || i.current.IsZero() {
			return err
		}
		if err := r.store.Put(ctx, i.Name, secrets.Pending, i.next); err != nil {
			return err
		}
		return r.store.Put(ctx, i.Name, secrets.Current, i.current)
	})
}

// switchBack is the switch, the other way.
func (r *run) switchBack(ctx context.Context) error {
	values := map[secrets.Name]secrets.Value{}
	for _, i := range r.items {
		if !i.First {
			values[i.Name] = i.current
		}
	}
	return wrap("switch back", r.do(ctx, record{Step: StepSwitchBack}, func(ctx context.Context) error {
		if err := r.makeReady(ctx, (*change).reversed, values); err != nil {
			return err
		}
		return r.commit(ctx)
	}))
}

// readopt lets the users take the former values. That one does not get well is told, and for the supervisor to heal: no
// value is at stake any more.
func (r *run) readopt(ctx context.Context) error {
	return r.do(ctx, record{Step: StepReadopt}, func(ctx context.Context) error {
		err := r.stack.Adopt(ctx, r.names(), r.report)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("a service is not well with the former values", "err", err)
			r.report(Note{Step: StepReadopt, Message: "with the former values: " + err.Error()})
			return nil
		}
		return err
	})
}

// revert makes the databases that can hold two credentials refuse the next one.
func (r *run) revert(ctx context.Context) error {
	for _, c := range r.changes {
		if !c.overlaps() || !r.asked[c.Name] || c.current.IsZero() {
			continue
		}
		err := r.step(ctx, StepRevert, c, "the database has the former credential alone again", func(ctx context.Context) error {
			if c.next.IsZero() { // pending is empty: what the database has is not known
				return r.ensure(ctx, c, c.credentials().Current)
			}
			err := r.patiently(ctx, c, func() error { return c.db.Revert(ctx, c.credentials()) })
			if errors.Is(err, database.ErrRefused) { // it has neither: what was in force was overwritten meanwhile
				return r.ensure(ctx, c, c.credentials().Current)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unstage empties the pending slots, and gives previous back what it had, as far as that is known.
func (r *run) unstage(ctx context.Context) error {
	return r.each(ctx, StepUnstage, "take back", func(ctx context.Context, i *item) error {
		if !i.First && !i.Same && r.reached[StepPromote] {
			if err := r.restorePrevious(ctx, i); err != nil {
				return err
			}
		}
		return r.unstageOne(ctx, i.Name)
	})
}

func (r *run) restorePrevious(ctx context.Context, i *item) error {
	now, err := r.get(ctx, i.Name, secrets.Previous)
	switch {
	case err != nil, now.IsZero(), !now.Equal(i.current):
		return err
	case i.previous.IsZero() || i.previous.Equal(i.current):
		return r.empty(ctx, i.Name, secrets.Previous)
	}
	return r.store.Put(ctx, i.Name, secrets.Previous, i.previous)
}

// unstageOne empties a pending slot. One that is empty needs no write, which the store may be unable to do now.
func (r *Rotator) unstageOne(ctx context.Context, name secrets.Name) error {
	if waits, err := r.get(ctx, name, secrets.Pending); err == nil && waits.IsZero() {
		return nil
	}
	return r.empty(ctx, name, secrets.Pending)
}

func (r *Rotator) empty(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if err := r.store.Delete(ctx, name, slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return err
	}
	return nil
}
