package main

import (
	"context"
	"errors"
	"fmt"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/migration"
	"minibot/secrets/stores"
)

// opener opens the store of a kind.
type opener func(ctx context.Context, kind string) (secrets.Store, error)

// openStore opens the store and makes sure that its values can be read.
func (d *daemon) openStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	d.opening.Lock()
	defer d.opening.Unlock()
	kind := d.storeKind()
	err := migration.Unfinished(d.paths.Migration, kind)
	var store secrets.Store
	if err == nil {
		store, err = d.open(ctx, kind)
	}
	if err == nil {
		if err = readable(ctx, store); err != nil {
			err = errors.Join(err, closeStore(store))
		}
	}
	if err != nil {
		d.store.set(nil, err)
		return err
	}
	return d.store.replace(store)
}

// readable reports whether a store is locked, as far as that shows: some list what they hold all the same. What else is
// wrong with one item is for those who need it to find.
func readable(ctx context.Context, store secrets.Store) error {
	entries, err := store.List(ctx)
	if err != nil || len(entries) == 0 {
		return err
	}
	_, err = store.Get(ctx, entries[0].Name, entries[0].Slot)
	if errors.Is(err, secrets.ErrLocked) || errors.Is(err, secrets.ErrUnavailable) {
		return err
	}
	return nil
}

// phaseOf is the phase of a step that failed: whatever was under way, a store that cannot be read is what it waits for.
func phaseOf(err error, phase control.Phase) control.Phase {
	for _, kind := range []error{secrets.ErrLocked, secrets.ErrDenied, secrets.ErrUnavailable} {
		if errors.Is(err, kind) {
			return control.PhaseWaitingForStore
		}
	}
	return phase
}

// asks reports whether the store may show a dialog when a value is read.
func (d *daemon) asks() bool {
	kind := d.storeKind()
	return kind == config.StoreKeychain || kind == config.StoreSecurity
}

func (d *daemon) storeKind() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kind
}

// Migrate moves all secrets to another store, or finishes such a move, and uses that store from then on.
func (d *daemon) Migrate(ctx context.Context, m control.Migration, report func(control.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	d.record(control.Event{Kind: "secret", Message: "move to the store " + m.To + " begins"})
	err := d.rotator.Alone(ctx, func() error { return d.migrate(ctx, m, report) })
	outcome := "the secrets are in the store " + m.To
	if err != nil {
		outcome = "move to the store " + m.To + " failed: " + err.Error()
	}
	d.record(control.Event{Kind: "secret", Message: outcome})
	return ending(err)
}

func (d *daemon) migrate(ctx context.Context, m control.Migration, report func(control.Progress)) error {
	d.refreshing.Lock() // nobody reads values of a store that is being emptied
	defer d.refreshing.Unlock()
	d.opening.Lock()
	defer d.opening.Unlock()
	from := d.storeKind()
	failed := stores.Migrate(ctx, stores.Options{Kind: from, Home: d.paths.Home, Passphrase: credential}, m, d.paths, report)
	cfg, err := config.Load(d.paths.Home)
	if err != nil || cfg.Store == from {
		return errors.Join(failed, err)
	}
	d.mu.Lock()
	d.kind = cfg.Store
	d.mu.Unlock()
	store, err := d.open(ctx, cfg.Store)
	if err != nil {
		return errors.Join(failed, hint.Wrap(fmt.Errorf("open the new store: %w", err), "restart minibotd"))
	}
	select {
	case d.again <- make(chan error, 1): // a start that waits for its store need wait no longer
	default:
	}
	return errors.Join(failed, d.store.replace(store))
}
