package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"minibot/database"
	"minibot/secrets"
)

// maxResumes is how often a rotation that was cut short is carried forward; then it is taken back, because it may be what
// ends the process.
const maxResumes = 3

var errCutShort = errors.New("it was cut short again and again")

// BeforeDelivery brings first values that wait in pending into force, so that what needs them can start, and names the
// first user of a credential that alternates. Call it at every start and reload, before anything is delivered. All
// else that waits stays for AfterStart. Idempotent.
func (r *Rotator) BeforeDelivery(ctx context.Context) error {
	unlock, err := r.lock(ctx, false)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, req := range r.requirements() {
		if user := req.Rotate.UserName; user != "" && len(req.Rotate.Roles) > 0 {
			errs = append(errs, r.nameFirst(ctx, user, req.Rotate.Roles[0]))
		}
	}
	waiting, err := r.waiting(ctx)
	errs = append(errs, err)
	for _, name := range waiting {
		errs = append(errs, r.first(ctx, name))
	}
	return errors.Join(errs...)
}

// nameFirst stores the first user of a credential, where none is stored.
func (r *Rotator) nameFirst(ctx context.Context, name secrets.Name, user string) error {
	now, err := r.get(ctx, name, secrets.Current)
	if err != nil || !now.IsZero() {
		return err
	}
	value, err := secrets.NewValue([]byte(user))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return wrap("store "+string(name), r.store.Put(ctx, name, secrets.Current, value))
}

// first promotes a pending value where nothing is current, and drops one that its database cannot take.
func (r *Rotator) first(ctx context.Context, name secrets.Name) error {
	c, err := r.describe(ctx, name)
	if err != nil || !c.current.IsZero() {
		return err
	}
	if c.next, err = r.get(ctx, name, secrets.Pending); err != nil {
		return err
	}
	if c.db != nil {
		if err := c.db.Check(c.next); err != nil { // stored by hand or by an older version: never to be delivered
			return errors.Join(unfit(name, err), r.unstageOne(ctx, name))
		}
	}
	return wrap("store "+string(name), secrets.Promote(ctx, r.store, name))
}

// AfterStart finishes what was cut short, makes sure that each database has the current value, and carries out what waits
// in pending. Call it at every start and reload, once the databases run; it awaits each. What cannot be taken for good is
// rolled back, what cannot be asked for now is kept. Idempotent.
func (r *Rotator) AfterStart(ctx context.Context, report Report) error {
	unlock, err := r.lock(ctx, false)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.finish(ctx, report); err != nil {
		return err
	}
	errs := []error{r.ensureAll(ctx, report)}
	if errs[0] == nil {
		errs = append(errs, r.carryOutWaiting(ctx, report))
	}
	return errors.Join(errs...)
}

// Open returns the names of the rotation that waits to be finished.
func (r *Rotator) Open() []secrets.Name {
	open := r.journal.open()
	if open == nil {
		return nil
	}
	return names(open[0].Items)
}

// finish carries on with the rotation that the journal holds open.
func (r *Rotator) finish(ctx context.Context, report Report) error {
	open := r.journal.open()
	if open == nil {
		return nil
	}
	run, err := r.load(ctx, open, report)
	if err != nil {
		return unfinished(err)
	}
	report(Note{Step: StepResume, Message: fmt.Sprintf("a change of %v was cut short; it is finished now", run.names())})
	last := open[len(open)-1]
	switch {
	case open[0].Kind == KindRehearse:
		if err := r.clearRehearsal(ctx); err != nil { // else its pending value would be taken for a change
			return unfinished(err)
		}
		return run.forget(ctx)
	case last.Step == StepBegin, last.Step == StepRestage:
		return run.forget(ctx)
	case run.reached[StepRollBack]:
		return run.rollBackOn(ctx, open)
	case run.reached[StepRetire]: // forward, however often
	case !run.staged():
		return run.failed(ctx, errors.New("it was cut short before its values were stored"))
	case count(open, StepResume) >= maxResumes:
		return run.failed(ctx, errCutShort)
	}
	if err := run.do(ctx, record{Step: StepResume}, run.whichLogsIn); err != nil {
		return unfinished(err)
	}
	return run.carryOut(ctx)
}

// rollBackOn goes on with a rollback that was cut short.
func (r *run) rollBackOn(ctx context.Context, open []record) error {
	cause := errCutShort
	for _, note := range open {
		if note.Step == StepRollBack {
			cause = errors.New(note.Reason)
		}
	}
	if err := r.do(ctx, record{Step: StepResume}, nothing); err != nil {
		return unfinished(err)
	}
	return r.takeBack(ctx, cause)
}

// forget ends a rotation that changed nothing in a database or a service. What is in pending stays there and is carried
// out as a change of its own.
func (r *run) forget(ctx context.Context) error {
	return unfinished(r.do(ctx, record{Step: StepEnd, Outcome: OutcomeRolledBack, Reason: "it was cut short before it began"}, nothing))
}

func count(records []record, step Step) int {
	n := 0
	for _, note := range records {
		if note.Step == step {
			n++
		}
	}
	return n
}

// load makes a run of what the journal and the store hold of it.
func (r *Rotator) load(ctx context.Context, open []record, report Report) (*run, error) {
	run := r.newRun(report)
	run.id = open[0].ID
	for _, note := range open {
		run.reached[note.Step] = true
		if note.Step == StepAccept {
			run.asked[note.Secret] = true
		}
	}
	for _, e := range open[0].Items {
		if e.Companion != "" {
			continue
		}
		c, err := r.describe(ctx, e.Name)
		if err != nil {
			return nil, err
		}
		c.entry = e
		if err := run.recall(ctx, c.item); err != nil {
			return nil, err
		}
		run.changes, run.items = append(run.changes, c), append(run.items, c.item)
		i := slices.IndexFunc(open[0].Items, func(u entry) bool { return u.Companion == e.Name })
		if c.user == nil || i < 0 {
			continue
		}
		c.user.entry = open[0].Items[i]
		if err := run.recall(ctx, c.user); err != nil {
			return nil, err
		}
		run.items = append(run.items, c.user)
	}
	return run, nil
}

// recall finds out which values of a name are which. Between any two writes of a promotion, or of taking it back, pending
// or else current has the next value; and current, where it is not that one, or else previous, has the former.
func (r *run) recall(ctx context.Context, i *item) error {
	pending, err := r.get(ctx, i.Name, secrets.Pending)
	if err != nil {
		return err
	}
	current, previous := i.current, i.previous
	i.previous = secrets.Value{} // not known any more
	i.next = pending
	if r.reached[StepSwitchBack] && !i.First && !i.Same { // all are demoted
		return nil
	}
	if pending.IsZero() && r.reached[StepPromote] || r.reached[StepRetire] { // then what is in pending waits for the change after this one
		i.next = current
	}
	switch {
	case i.First:
		i.current = secrets.Value{}
	case i.Same:
		i.current = i.next
	case current.Equal(i.next):
		i.current = previous
	}
	return nil
}

// staged reports whether all next values are in the store.
func (r *run) staged() bool {
	return !slices.ContainsFunc(r.items, func(i *item) bool { return i.next.IsZero() })
}

// whichLogsIn asks each database which credential it takes, says so, and helps one that takes neither to what is current
// in the store.
func (r *run) whichLogsIn(ctx context.Context) error {
	for _, c := range r.changes {
		if !c.replaces() {
			continue
		}
		both := c.credentials()
		err := r.patiently(ctx, c, func() error { return c.db.Prove(ctx, both.Next) })
		if err == nil {
			r.tell(StepResume, c, "the new credential logs in")
			continue
		}
		if errors.Is(err, database.ErrRefused) && !both.Current.Password.IsZero() { // else somebody emptied previous
			err = r.patiently(ctx, c, func() error { return c.db.Prove(ctx, both.Current) })
		}
		switch {
		case err == nil && !r.reached[StepRetire]:
			r.tell(StepResume, c, "the former credential logs in")
			continue
		case err == nil: // the former one was to be retired: the database's data are older than the change
			r.tell(StepResume, c, "the former credential logs in again")
		case !errors.Is(err, database.ErrRefused):
			return fmt.Errorf("ask for %s: %w", c.Name, err)
		}
		inForce := both.Current
		if r.reached[StepPromote] {
			inForce = both.Next
		}
		if err := r.patiently(ctx, c, func() error { return r.assert(ctx, c, inForce) }); err != nil {
			return fmt.Errorf("neither value of %s logs in: %w", c.Name, err)
		}
	}
	return nil
}
