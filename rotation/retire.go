package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"minibot/database"
	"minibot/hint"
)

// sessionInterval is how often the sessions of a former credential are counted.
const sessionInterval = time.Second

// see makes sure that the next credentials are in force and that nobody is left with a former one.
func (r *run) see(ctx context.Context) error {
	for _, c := range r.changes {
		if c.db == nil {
			continue
		}
		err := r.step(ctx, StepSee, c, "", func(ctx context.Context) error {
			switch {
			case c.db.Live() && (c.First || c.Same): // an old volume may have an older password
				return r.ensure(ctx, c, c.credentials().Next)
			case !c.db.Live():
				return r.patiently(ctx, c, func() error { return c.db.Prove(ctx, c.credentials().Next) })
			}
			return r.unused(ctx, c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unused waits until no user that says nothing has a session of the former credential.
func (r *run) unused(ctx context.Context, c *change) error {
	silent := r.stack.Silent(c.Name)
	if len(silent) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.SessionPatience)
	defer cancel()
	told := false
	for {
		sessions := 0
		err := r.patiently(ctx, c, func() (err error) { sessions, err = c.db.InUse(ctx, c.credentials(), r.switched); return err })
		if err != nil || sessions == 0 {
			return err
		}
		if !told {
			told = true
			r.tell(StepSee, c, fmt.Sprintf("waiting for %d sessions of the former credential to end", sessions))
		}
		select {
		case <-time.After(sessionInterval):
		case <-ctx.Done():
			return hint.Wrap(fmt.Errorf("%d sessions still use the former credential; %s may hold them", sessions, strings.Join(silent, ", ")),
				"give the service an on_change that makes it take the new one, as restart does")
		}
	}
}

// retire makes the former credentials refused. Killed anywhere in it, it is repeated.
func (r *run) retire(ctx context.Context) error {
	for _, c := range r.changes {
		if c.db == nil || c.First || c.Same {
			continue
		}
		err := r.step(ctx, StepRetire, c, "the former credential is retired", func(ctx context.Context) error {
			return r.patiently(ctx, c, func() error {
				if err := c.db.Retire(ctx, c.credentials()); err != nil {
					return err
				}
				return r.refused(ctx, c, c.credentials().Current)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refused makes sure that a credential is refused. One that is not known any more cannot be tried.
func (r *run) refused(ctx context.Context, c *change, former database.Credential) error {
	if former.Password.IsZero() {
		return nil
	}
	switch err := c.db.Prove(ctx, former); {
	case errors.Is(err, database.ErrRefused):
		return nil
	case err == nil:
		return fmt.Errorf("service %s lets the former credential in still", c.service)
	default:
		return err
	}
}

// ensure makes sure that a database has the credential, without asking it to change when it does.
func (r *run) ensure(ctx context.Context, c *change, credential database.Credential) error {
	err := r.patiently(ctx, c, func() error { return c.db.Prove(ctx, credential) })
	if !errors.Is(err, database.ErrRefused) {
		return err
	}
	r.log.Warn("database has another password than the store", "service", c.service, "secret", c.Name)
	return r.patiently(ctx, c, func() error { return r.assert(ctx, c, credential) })
}

// assert makes the credential good by an entrance that needs none: the database's own, or a start with what is delivered.
func (r *run) assert(ctx context.Context, c *change, credential database.Credential) error {
	err := c.db.Assert(ctx, credential)
	if errors.Is(err, database.ErrNoEntrance) {
		r.report(Note{Secret: c.Name, Service: c.service, Message: "the service has another password; it is restarted with the stored one"})
		err = r.stack.Restart(ctx, c.service)
	}
	if err == nil {
		err = c.db.Prove(ctx, credential)
	}
	if err == nil {
		r.report(Note{Secret: c.Name, Service: c.service, Message: "the service had another password; it has the stored one again"})
	}
	return err
}

// patiently awaits the service and runs f, again while its answer is transient and patience lasts.
func (r *run) patiently(ctx context.Context, c *change, f func() error) error {
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
