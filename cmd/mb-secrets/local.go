package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"minibot/commandline"
	"minibot/control"
	"minibot/hint"
	"minibot/lockdown"
	"minibot/plan"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// local is the secrets backend without a daemon: each call opens the store under the lock and lets go of both.
type local struct {
	lock     func(ctx context.Context, do func() error) error
	open     func(ctx context.Context) (secrets.Store, error)
	project  func(ctx context.Context) (*stack.Project, error)
	receipts func() ([]control.Receipt, error) // of the daemon that ran last
	file     lockdown.File                     // where a lockdown is recorded
	migrate  func(ctx context.Context, m control.Migration, report func(control.Progress)) error
}

// with opens the store for one operation. What could ask a person or takes long happens in open, before the lock.
func (l *local) with(ctx context.Context, do func(secrets.Store) error) error {
	store, err := l.open(ctx)
	if err != nil {
		return err
	}
	return l.lock(ctx, func() error { return do(store) })
}

// Secrets lists what is stored and what is required, by name.
func (l *local) Secrets(ctx context.Context) ([]control.Secret, error) {
	project, err := l.project(ctx)
	if err != nil {
		return nil, err
	}
	receipts, err := l.receipts()
	if err != nil && !errors.Is(err, rotation.ErrJournal) { // which history says, and the next start of minibotd mends
		return nil, err
	}
	var entries []secrets.Entry
	err = l.with(ctx, func(store secrets.Store) (err error) {
		entries, err = store.List(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return control.SecretRows(project.Requirements, entries, receipts, time.Now()), nil
}

// Reveal returns the current value of name.
func (l *local) Reveal(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	var item secrets.Item
	err := l.with(ctx, func(store secrets.Store) (err error) {
		item, err = store.Get(ctx, name, secrets.Current)
		return err
	})
	return item.Value, err
}

// Change stores nothing unless every change can be stored, then each: in current, or in pending where a database still has the current value.
func (l *local) Change(ctx context.Context, order control.ChangeOrder, report func(control.Progress)) error {
	project, err := l.project(ctx)
	if err != nil {
		return err
	}
	var ready []prepared
	for _, change := range order.Changes {
		one, err := prepare(project.Requirements, change)
		if err != nil {
			return err
		}
		ready = append(ready, one)
	}
	return l.with(ctx, func(store secrets.Store) error {
		locked := l.file.Locked() != nil
		for _, one := range ready {
			if locked {
				message, err := l.file.Set(ctx, store, one.requirement, one.value)
				if err != nil {
					return err
				}
				report(control.Progress{Message: message})
				continue
			}
			message, err := storeChange(ctx, store, one.requirement, one.value)
			if err == nil {
				err = l.file.Changed(ctx, store, []secrets.Name{one.requirement.Name})
			}
			if err != nil {
				return err
			}
			report(control.Progress{Message: message})
		}
		return nil
	})
}

// prepared is a change that can be stored.
type prepared struct {
	requirement secrets.Requirement
	value       secrets.Value
}

// prepare finds the value of a change and checks that its users can have it.
func prepare(required []secrets.Requirement, change control.Change) (prepared, error) {
	var r secrets.Requirement
	if i := slices.IndexFunc(required, func(r secrets.Requirement) bool { return r.Name == change.Name }); i >= 0 {
		r = required[i]
	}
	value, err := valueOf(change, r.Generate)
	if err == nil {
		err = rotation.Check(r, value)
	}
	if err != nil {
		return prepared{}, fmt.Errorf("%s: %w", change.Name, err)
	}
	r.Name = change.Name // an undeclared secret has no requirement
	return prepared{r, value}, nil
}

// storeChange stores one change and says what became of it.
func storeChange(ctx context.Context, store secrets.Store, r secrets.Requirement, value secrets.Value) (string, error) {
	name := r.Name
	current, err := store.Get(ctx, name, secrets.Current)
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return "", err
	}
	slot, err := rotation.Stage(ctx, store, r, value)
	switch {
	case err != nil:
		return "", err
	case current.Value.IsZero():
		return fmt.Sprintf("%s is set; it takes effect at the next start of minibotd", name), nil
	case current.Value.Equal(value):
		return fmt.Sprintf("%s has this value already; nothing changes", name), nil
	case slot == secrets.Pending:
		return fmt.Sprintf("%s waits in pending: %s takes it at the next start of minibotd, until then the current value stays in force", name, r.Rotate.Service), nil
	}
	return fmt.Sprintf("%s is changed; it takes effect at the next start of minibotd", name), nil
}

func valueOf(change control.Change, recipe *secrets.Recipe) (secrets.Value, error) {
	if !change.Generate {
		return secrets.NewValue(change.Value)
	}
	if recipe == nil {
		return secrets.Value{}, noRecipe(change.Name)
	}
	return recipe.Generate()
}

func noRecipe(name secrets.Name) error {
	err := commandline.Usage("the compose file does not say how to generate %s", name)
	return hint.Wrap(err, "mb-secrets set %s, or mb-secrets generate %s --length 32", name, name)
}

// Rotate stages what a daemon would bring into force: values that are made here, or the previous ones.
func (l *local) Rotate(ctx context.Context, r control.Rotation, report func(control.Progress)) error {
	if r.Rehearse {
		err := fmt.Errorf("a rehearsal goes through the running services, which only minibotd can: %w", control.ErrUnreachable)
		return hint.Wrap(err, "start it with `minibotd run`; mb-secrets rotate --plan does without")
	}
	if err := l.file.Locked().Err(); err != nil {
		return hint.Wrap(err, "minibotd unlock, or mb-secrets rotate --compromised")
	}
	if r.Rollback {
		rows, err := l.Secrets(ctx)
		if err != nil {
			return err
		}
		if err := l.file.RefuseRollbacks(rows, r.Names); err != nil {
			return err
		}
	}
	_, rows, choice, err := l.choose(ctx, r)
	if err != nil {
		return err
	}
	for _, note := range plan.Notes(rows, choice) {
		report(control.Progress{Message: note})
	}
	order := control.ChangeOrder{Order: r.Order}
	for _, name := range choice.Names {
		change := control.Change{Name: name, Generate: true}
		if r.Rollback {
			previous, err := l.previous(ctx, name)
			if err != nil {
				return err
			}
			change = control.Change{Name: name, Value: previous.Reveal()}
		}
		order.Changes = append(order.Changes, change)
	}
	return l.Change(ctx, order, report)
}

func (l *local) choose(ctx context.Context, r control.Rotation) (*stack.Project, []control.Secret, plan.Choice, error) {
	project, err := l.project(ctx)
	if err != nil {
		return nil, nil, plan.Choice{}, err
	}
	rows, err := l.Secrets(ctx)
	if err != nil {
		return nil, nil, plan.Choice{}, err
	}
	choice, err := plan.Choose(project.Requirements, rows, r)
	return project, rows, choice, err
}

// previous reads what was in force before.
func (l *local) previous(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	var item secrets.Item
	err := l.with(ctx, func(store secrets.Store) (err error) {
		item, err = store.Get(ctx, name, secrets.Previous)
		return err
	})
	return item.Value, err
}

// Plan says what a daemon would do.
func (l *local) Plan(ctx context.Context, r control.Rotation) (control.Plan, error) {
	project, rows, choice, err := l.choose(ctx, r)
	if err != nil {
		return control.Plan{}, err
	}
	receipts, err := l.receipts()
	return plan.Make(project, rows, choice, receipts), err
}

// History reads what the daemon left.
func (l *local) History(_ context.Context, name secrets.Name) ([]control.Receipt, error) {
	receipts, err := l.receipts()
	return plan.Of(receipts, name), err
}

// Migrate holds the lock for the whole move: a daemon that starts meanwhile waits for it.
func (l *local) Migrate(ctx context.Context, m control.Migration, report func(control.Progress)) error {
	return l.lock(ctx, func() error { return l.migrate(ctx, m, report) })
}

// Delete empties every slot of name.
func (l *local) Delete(ctx context.Context, name secrets.Name) error {
	return l.with(ctx, func(store secrets.Store) error { return control.DeleteSecret(ctx, store, name) })
}
