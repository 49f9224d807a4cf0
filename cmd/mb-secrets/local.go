package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// local is the secrets backend without a daemon: each call opens the store under the lock and lets go of both.
type local struct {
	lock         func(ctx context.Context, do func() error) error
	open         func(ctx context.Context) (secrets.Store, error)
	requirements func(ctx context.Context) ([]secrets.Requirement, error)
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
	return merge(required, entries), nil
}

// merge makes one row of each name. Slots other than current are no rows of their own.
func merge(required []secrets.Requirement, entries []secrets.Entry) []control.Secret {
	rows := map[secrets.Name]*control.Secret{}
	for _, r := range required {
		used := append([]string{}, r.UsedBy...)
		rows[r.Name] = &control.Secret{Name: string(r.Name), UsedBy: used, State: "missing", Description: r.Description, Generate: r.Generate != nil}
	}
	declared := func(name secrets.Name) bool {
		return slices.ContainsFunc(required, func(r secrets.Requirement) bool { return r.Name == name })
	}
	for _, e := range entries { // by name and slot: current comes before pending
		if e.Slot == secrets.Previous {
			continue
		}
		row := rows[e.Name]
		if row == nil {
			row = &control.Secret{Name: string(e.Name), UsedBy: []string{}}
			rows[e.Name] = row
		}
		changed := e.Changed
		row.Changed = &changed
		switch {
		case e.Slot == secrets.Pending:
			row.State = "pending"
		case declared(e.Name):
			row.Set, row.State = true, "current"
		default:
			row.Set, row.State = true, "unused"
		}
	}
	list := make([]control.Secret, 0, len(rows))
	for _, row := range rows {
		list = append(list, *row)
	}
	slices.SortFunc(list, func(a, b control.Secret) int { return strings.Compare(a.Name, b.Name) })
	return list
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

// Change stores each change: in current, or in pending where a database still has the current value.
func (l *local) Change(ctx context.Context, changes []control.Change, report func(control.Progress)) error {
	required, err := l.requirements(ctx)
	if err != nil {
		return err
	}
	return l.with(ctx, func(store secrets.Store) error {
		for _, change := range changes {
			message, err := storeChange(ctx, store, required, change)
			if err != nil {
				return err
			}
			report(control.Progress{Message: message})
		}
		return nil
	})
}

// storeChange stores one change and says what became of it.
func storeChange(ctx context.Context, store secrets.Store, required []secrets.Requirement, change control.Change) (string, error) {
	name := change.Name
	var r secrets.Requirement
	if i := slices.IndexFunc(required, func(r secrets.Requirement) bool { return r.Name == name }); i >= 0 {
		r = required[i]
	}
	value, err := valueOf(change, r.Generate)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	current, err := store.Get(ctx, name, secrets.Current)
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return "", err
	}
	switch {
	case current.Value.IsZero():
		// What waited first: after a crash between the two it must not replace the newer value.
		if err := drop(ctx, store, name, secrets.Pending); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s is set; it takes effect at the next start of minibotd", name), store.Put(ctx, name, secrets.Current, value)
	case current.Value.Equal(value):
		if err := drop(ctx, store, name, secrets.Pending); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s has this value already; nothing changes", name), nil
	}
	if err := store.Put(ctx, name, secrets.Pending, value); err != nil {
		return "", err
	}
	if r.Rotate.InDatabase() {
		return fmt.Sprintf("%s waits in pending: %s takes it at the next start of minibotd, until then the current value stays in force", name, r.Rotate.Service), nil
	}
	return fmt.Sprintf("%s is changed; it takes effect at the next start of minibotd", name), secrets.Promote(ctx, store, name)
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
	err := usage("the compose file does not say how to generate %s", name)
	return hint.Wrap(err, "mb-secrets set %s, or mb-secrets generate %s --length 32", name, name)
}

// drop empties a slot, if it holds anything.
func drop(ctx context.Context, store secrets.Store, name secrets.Name, slot secrets.Slot) error {
	if err := store.Delete(ctx, name, slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return err
	}
	return nil
}

// Delete empties every slot of name, current last: whoever is interrupted finds it still there and can repeat.
func (l *local) Delete(ctx context.Context, name secrets.Name) error {
	return l.with(ctx, func(store secrets.Store) error {
		found := false
		for _, slot := range []secrets.Slot{secrets.Previous, secrets.Pending, secrets.Current} {
			switch err := store.Delete(ctx, name, slot); {
			case err == nil:
				found = found || slot != secrets.Previous
			case !errors.Is(err, secrets.ErrNotFound):
				return err
			}
		}
		if !found {
			return fmt.Errorf("%s: %w", name, secrets.ErrNotFound)
		}
		return nil
	})
}
