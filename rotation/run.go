package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"minibot/database"
	"minibot/secrets"
)

// item is one secret of a rotation, in the store.
type item struct {
	entry

	current  secrets.Value // what is, or was, in force
	next     secrets.Value
	previous secrets.Value // what was in force before; unknown after a crash
}

// change is one secret of a rotation and what it opens.
type change struct {
	*item

	user    *item    // the secret with the user's name, where that changes too
	service string   // that holds the credential
	db      Database // nil for a secret that its users merely read
}

// replaces reports whether a credential is to be replaced in a database that is asked.
func (c *change) replaces() bool { return c.db != nil && c.db.Live() && !c.First && !c.Same }
func (c *change) overlaps() bool { return c.replaces() && c.db.Overlaps() }
func (c *change) switches() bool { return c.replaces() && !c.db.Overlaps() }

func (c *change) credentials() database.Change {
	all := database.Change{Current: database.Credential{Password: c.current}, Next: database.Credential{Password: c.next}}
	if c.user != nil {
		all.Current.User, all.Next.User = string(c.user.current.Reveal()), string(c.user.next.Reveal())
	}
	return all
}

// reversed is the way back.
func (c *change) reversed() database.Change {
	forth := c.credentials()
	return database.Change{Current: forth.Next, Next: forth.Current}
}

// run is one rotation under way.
type run struct {
	*Rotator

	id      string
	changes []*change
	items   []*item // of all changes, users' names included
	report  Report

	reached  map[Step]bool
	asked    map[secrets.Name]bool // databases that may have accepted the next one
	prepared []database.Switch
	switched time.Time
}

// add takes a described change in; its next value is set.
func (r *run) add(c *change) {
	c.First, c.Same = c.current.IsZero(), c.next.Equal(c.current)
	r.changes = append(r.changes, c)
	r.items = append(r.items, c.item)
	if c.user == nil {
		return
	}
	c.user.next = c.user.current
	if !c.First && !c.Same {
		next, err := secrets.NewValue([]byte(c.db.Successor(string(c.user.current.Reveal()))))
		if err == nil { // a driver that alternates names somebody
			c.user.next = next
		}
	}
	c.user.First, c.user.Same = c.user.current.IsZero(), c.user.next.Equal(c.user.current)
	if !c.user.next.IsZero() {
		r.items = append(r.items, c.user)
	}
}

// do takes one step: it notes it in the journal, then lets f have its effect.
func (r *run) do(ctx context.Context, note record, f func(ctx context.Context) error) error {
	r.At(Point{note.Step, BeforeRecord})
	note.ID, note.Time, note.Reason = r.id, time.Now().UTC(), r.Redact(note.Reason)
	if err := r.journal.append(note); err != nil {
		return err
	}
	r.reached[note.Step] = true
	r.At(Point{note.Step, BeforeEffect})
	if err := f(ctx); err != nil {
		return err
	}
	r.At(Point{note.Step, AfterEffect})
	return nil
}

func nothing(context.Context) error { return nil }

// step is do for one secret of the rotation.
func (r *run) step(ctx context.Context, step Step, c *change, say string, f func(ctx context.Context) error) error {
	r.tell(step, c, say)
	return wrap(fmt.Sprintf("%s %s", step, c.Name), r.do(ctx, record{Step: step, Secret: c.Name, Service: c.service}, f))
}

func (r *run) tell(step Step, c *change, say string) {
	if say != "" {
		r.report(Note{Step: step, Secret: c.Name, Service: c.service, Message: say})
	}
}

// begin opens the rotation in the journal.
func (r *run) begin(ctx context.Context, o Order) error {
	note := record{Step: StepBegin, Kind: o.Kind, By: o.By, Secret: o.rehearses}
	for _, i := range r.items {
		note.Items = append(note.Items, i.entry)
	}
	return r.do(ctx, note, nothing)
}

// each takes a step for every item.
func (r *run) each(ctx context.Context, step Step, doing string, f func(ctx context.Context, i *item) error) error {
	for _, i := range r.items {
		err := r.do(ctx, record{Step: step, Secret: i.Name}, func(ctx context.Context) error { return f(ctx, i) })
		if err != nil {
			return fmt.Errorf("%s %s: %w", doing, i.Name, err)
		}
	}
	return nil
}

// stage puts the next values into pending.
func (r *run) stage(ctx context.Context) error {
	return r.each(ctx, StepStage, "stage", func(ctx context.Context, i *item) error {
		return r.store.Put(ctx, i.Name, secrets.Pending, i.next)
	})
}

// carryOut takes all steps from a staged rotation to its end. It may be called again on one that was cut short.
func (r *run) carryOut(ctx context.Context) error {
	defer r.abort()
	if !r.reached[StepRetire] {
		for _, part := range []func(context.Context) error{r.accept, r.prepare, r.promote, r.switchOver, r.adopt, r.see} {
			if err := part(ctx); err != nil {
				return r.failed(ctx, err)
			}
		}
	}
	if err := r.retire(ctx); err != nil {
		return unfinished(err)
	}
	if err := r.do(ctx, record{Step: StepEnd, Outcome: OutcomeDone}, nothing); err != nil {
		return unfinished(err)
	}
	r.log.Info("secrets changed", "secret", r.names(), "rotation", r.id)
	return nil
}

func (r *run) names() []secrets.Name {
	var all []secrets.Name
	for _, c := range r.changes {
		all = append(all, c.Name)
	}
	return all
}

// accept makes the databases that can hold two credentials take the next one.
func (r *run) accept(ctx context.Context) error {
	for _, c := range r.changes {
		if !c.overlaps() {
			continue
		}
		err := r.step(ctx, StepAccept, c, "the database learns the new credential beside the current one", func(ctx context.Context) error {
			r.asked[c.Name] = true
			return r.patiently(ctx, c, func() error { return r.acceptOne(ctx, c) })
		})
		if err != nil {
			return err
		}
		err = r.step(ctx, StepProve, c, "", func(ctx context.Context) error {
			return r.patiently(ctx, c, func() error { return c.db.Prove(ctx, c.credentials().Next) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// acceptOne helps a database that has neither credential to the current one first.
func (r *run) acceptOne(ctx context.Context, c *change) error {
	err := c.db.Accept(ctx, c.credentials())
	if !errors.Is(err, database.ErrRefused) {
		return err
	}
	if err := r.assert(ctx, c, c.credentials().Current); err != nil {
		return err
	}
	return c.db.Accept(ctx, c.credentials())
}

// prepare makes everything ready that must change at one moment. First values that cannot be delivered, since there is no image yet, say,
// go on without: nobody has a former one, and their users take them at their start.
func (r *run) prepare(ctx context.Context) error {
	values := map[secrets.Name]secrets.Value{}
	for _, i := range r.items {
		values[i.Name] = i.next
	}
	err := wrap("prepare the switch", r.do(ctx, record{Step: StepPrepare}, func(ctx context.Context) error {
		return r.makeReady(ctx, (*change).credentials, values)
	}))
	if err == nil || !r.allFirst() || ctx.Err() != nil {
		return err
	}
	r.abort()
	r.report(Note{Step: StepPrepare, Message: "stored, and delivered when the services start: " + err.Error()})
	return nil
}

// allFirst reports whether there is nothing to go back to.
func (r *run) allFirst() bool {
	return !slices.ContainsFunc(r.items, func(i *item) bool { return !i.First })
}

// makeReady prepares the databases that hold one credential, and the delivery of values.
func (r *run) makeReady(ctx context.Context, of func(*change) database.Change, values map[secrets.Name]secrets.Value) error {
	for _, c := range r.changes {
		if !c.switches() {
			continue
		}
		var ready database.Switch = acceptance{c.db, of(c)}
		if s, can := c.db.(Switcher); can {
			err := r.patiently(ctx, c, func() (err error) { ready, err = s.Prepare(ctx, of(c)); return err })
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		} else if err := r.patiently(ctx, c, func() error { return nil }); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		r.prepared = append(r.prepared, ready)
	}
	delivery, err := r.stack.Prepare(ctx, values)
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	r.prepared = append(r.prepared, delivery)
	return nil
}

// acceptance is the switch of a database that cannot prepare one.
type acceptance struct {
	db     Database
	change database.Change
}

func (a acceptance) Commit(ctx context.Context) error { return a.db.Accept(ctx, a.change) }
func (acceptance) Abort()                             {}

// commit puts into force what is prepared, the delivery last.
func (r *run) commit(ctx context.Context) error {
	for len(r.prepared) > 0 {
		first := r.prepared[0]
		r.prepared = r.prepared[1:]
		if err := first.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// abort takes back what is prepared.
func (r *run) abort() {
	for _, p := range r.prepared {
		p.Abort()
	}
	r.prepared = nil
}

// promote brings the pending values into force in the store, one after the other.
func (r *run) promote(ctx context.Context) error {
	return r.each(ctx, StepPromote, "store", func(ctx context.Context, i *item) error { return secrets.Promote(ctx, r.store, i.Name) })
}

// switchOver changes databases and files at one moment.
func (r *run) switchOver(ctx context.Context) error {
	r.switched = time.Now()
	if err := wrap("switch", r.do(ctx, record{Step: StepSwitch}, r.commit)); err != nil {
		return err
	}
	for _, c := range r.changes {
		if !c.switches() {
			continue
		}
		err := r.step(ctx, StepVerify, c, "the database has the new credential", func(ctx context.Context) error {
			return r.patiently(ctx, c, func() error { return c.db.Prove(ctx, c.credentials().Next) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// adopt lets the users take what was delivered.
func (r *run) adopt(ctx context.Context) error {
	return wrap("adopt the new values", r.do(ctx, record{Step: StepAdopt}, func(ctx context.Context) error {
		return r.stack.Adopt(ctx, r.names(), r.report)
	}))
}
