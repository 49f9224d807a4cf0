package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"minibot/commandline"
	"minibot/control"
	"minibot/hint"
	"minibot/lockdown"
	"minibot/rotation"
	"minibot/secrets"
)

// local is the secrets backend without a daemon: each call opens the store under the lock and lets go of both.
type local struct {
	lock         func(ctx context.Context, do func() error) error
	open         func(ctx context.Context) (secrets.Store, error)
	requirements func(ctx context.Context) ([]secrets.Requirement, error)
	file         lockdown.File // where a lockdown is recorded
	migrate      func(ctx context.Context, m control.Migration, report func(control.Progress)) error
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
	required, err := l.requirements(ctx)
	if err != nil {
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
	return control.SecretRows(required, entries), nil
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
func (l *local) Change(ctx context.Context, changes []control.Change, report func(control.Progress)) error {
	required, err := l.requirements(ctx)
	if err != nil {
		return err
	}
	var ready []prepared
	for _, change := range changes {
		one, err := prepare(required, change)
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

// Migrate holds the lock for the whole move: a daemon that starts meanwhile waits for it.
func (l *local) Migrate(ctx context.Context, m control.Migration, report func(control.Progress)) error {
	return l.lock(ctx, func() error { return l.migrate(ctx, m, report) })
}

// Delete empties every slot of name.
func (l *local) Delete(ctx context.Context, name secrets.Name) error {
	return l.with(ctx, func(store secrets.Store) error { return control.DeleteSecret(ctx, store, name) })
}
