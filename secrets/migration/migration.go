// Package migration moves every secret of an installation from one store to another.
//
// It owns the order of a move and the record of one under way, which holds no value: copy, read back, compare, switch the
// configuration, and then, only if asked, remove. It guarantees that whatever ends a move at whatever moment, every value
// is still in a store, the next run knows where, and finishes. It never switches to a store that does not hold exactly
// what the other holds, and never chooses a store.
//
// The kinds "keychain" and "security" keep the same items, each written by one of them only. Between these two there can be no copy
// beside the old items, so a move copies to staging items, which only the new kind writes, and then, item by item,
// removes the old one and writes the new.
package migration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"minibot/hint"
	"minibot/secrets"
)

// Staging is the service of the items that a move between two kinds with the same items keeps until it is done.
const Staging = "minibot.migrating"

// ErrConflict says that the store to move to holds other secrets already.
var ErrConflict = errors.New("the store holds other secrets already")

// ErrKeepsNothing says that a move between two kinds with the same items cannot leave the old ones.
var ErrKeepsNothing = errors.New("both stores keep the same items, so the old ones cannot stay")

// Migration is one move. All fields but Remove and Overwrite are required.
type Migration struct {
	From string // the kind that the configuration names now
	To   string // the kind to move to

	Remove    bool // remove the old items once the configuration names To
	Overwrite bool // let To hold exactly what From holds, whatever was in it

	// Open opens the store of a kind, and makes it where it can be made. service is the service of its items in a
	// keychain, "" for the usual one. A store that is an io.Closer is closed by Run.
	Open func(ctx context.Context, kind, service string) (secrets.Store, error)
	// Switch makes the configuration name a kind, durably.
	Switch func(kind string) error
	// Record is the path of the record; its folder exists.
	Record string
	// Report tells a person how far it is.
	Report func(message string)

	save func(path string, r *record) error // writeRecord, unless a test replaces it
}

// Run carries the move out, or finishes one that was cut short. The caller makes sure that nobody else changes either
// store or the configuration meanwhile. To being the configured kind already is no error; then Remove finishes an earlier move. An
// error leaves the configuration as it is or switched, and every secret where the configuration, or the record, says. Blocks
// as the stores do; ctx ends it between two items.
func (m *Migration) Run(ctx context.Context) error {
	if m.save == nil {
		m.save = writeRecord
	}
	if err := m.run(ctx); err != nil {
		return fmt.Errorf("move the secrets from %s to %s: %w", m.From, m.To, err)
	}
	return nil
}

func (m *Migration) run(ctx context.Context) error {
	r, err := readRecord(m.Record)
	if err != nil {
		return err
	}
	switch {
	case m.To == m.From:
		return m.afterSwitch(ctx, r)
	case r.taking(m.From) && r.To != m.To:
		return interrupted(r)
	case shares(m.From, m.To) && !m.Remove && !r.taking(m.From):
		return hint.Wrap(ErrKeepsNothing, "mb-secrets migrate --to %s --remove", m.To)
	}
	if !r.taking(m.From) {
		r = &record{From: m.From, To: m.To, Phase: copied}
		if err := m.copy(ctx); err != nil {
			return err
		}
		if shares(m.From, m.To) {
			r.Phase = taking
		}
		if err := m.save(m.Record, r); err != nil {
			return err
		}
	}
	if r.Phase == taking {
		if err := m.take(ctx); err != nil {
			return err
		}
	}
	if err := m.Switch(m.To); err != nil {
		return fmt.Errorf("switch the configuration: %w", err)
	}
	m.Report(fmt.Sprintf("the store is now %s", m.To))
	return m.afterSwitch(ctx, r)
}

// copy makes the store to move to, or its staging items, hold exactly what the old one holds. Copies that an earlier run
// made are no conflict, unless a secret has changed since.
func (m *Migration) copy(ctx context.Context) (err error) {
	service := ""
	if shares(m.From, m.To) {
		service = Staging
	}
	from, to, done, err := m.both(ctx, service)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	source, err := readAll(ctx, from)
	if err != nil {
		return err
	}
	if service != Staging && !m.Overwrite { // nothing else writes staging items
		if err := m.conflict(ctx, to, source); err != nil {
			return err
		}
	}
	for i, e := range source.order {
		if err := put(ctx, to, e, source.values[e]); err != nil {
			return err
		}
		m.Report(fmt.Sprintf("%d of %d: %v is copied", i+1, len(source.order), e))
	}
	if err := removeOthers(ctx, to, source); err != nil {
		return err
	}
	if err := same(ctx, to, source); err != nil {
		return err
	}
	m.Report(fmt.Sprintf("%d copies are read back and equal", len(source.order)))
	return nil
}

// take replaces, item by item, what the old kind wrote by what the new kind writes, from the staging items.
func (m *Migration) take(ctx context.Context) (err error) {
	from, to, done, err := m.both(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	staging, err := m.Open(ctx, m.To, Staging)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore(staging)) }()
	copies, err := readAll(ctx, staging)
	if err != nil {
		return err
	}
	for i, e := range copies.order {
		value := copies.values[e]
		if err := from.Delete(ctx, e.name, e.slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
			// Perhaps it is the new kind's already, written by a run that was cut short.
			if item, getErr := to.Get(ctx, e.name, e.slot); getErr != nil || !item.Value.Equal(value) {
				return err
			}
		}
		if err := put(ctx, to, e, value); err != nil {
			return err
		}
		m.Report(fmt.Sprintf("%d of %d: %v is taken over", i+1, len(copies.order), e))
	}
	return same(ctx, to, copies)
}

// afterSwitch removes what is left of a move whose configuration is switched: staging items always, the old items where
// that is wanted.
func (m *Migration) afterSwitch(ctx context.Context, r *record) error {
	switch {
	case r == nil || r.To != m.To:
		m.Report(fmt.Sprintf("the store is %s already; nothing changes", m.To))
		return nil
	case shares(r.From, r.To):
		if err := m.clear(ctx, r.To, Staging, func(secrets.Name) bool { return true }); err != nil {
			return err
		}
		return removeRecord(m.Record)
	case !m.Remove:
		m.Report(fmt.Sprintf("the old items stay in %s; mb-secrets migrate --to %s --remove removes them", r.From, r.To))
		return nil
	}
	to, err := m.Open(ctx, r.To, "")
	if err != nil {
		return err
	}
	entries, err := to.List(ctx)
	if err = errors.Join(err, closeStore(to)); err != nil {
		return err
	}
	moved := func(name secrets.Name) bool {
		return slices.ContainsFunc(entries, func(e secrets.Entry) bool { return e.Name == name })
	}
	if err := m.clear(ctx, r.From, "", moved); err != nil {
		return err
	}
	return removeRecord(m.Record)
}

// clear removes the items of the names that were moved from a store; one that is gone already is empty.
func (m *Migration) clear(ctx context.Context, kind, service string, moved func(secrets.Name) bool) (err error) {
	store, err := m.Open(ctx, kind, service)
	if errors.Is(err, secrets.ErrNoStore) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore(store)) }()
	entries, err := store.List(ctx)
	if err != nil {
		return err
	}
	removed := 0
	for _, e := range entries {
		if !moved(e.Name) { // stored there after the move, by hand
			m.Report(fmt.Sprintf("%s is not in the new store: it stays in %s", e.Name, kind))
			continue
		}
		if err := store.Delete(ctx, e.Name, e.Slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
			return err
		}
		removed++
	}
	if service == "" {
		m.Report(fmt.Sprintf("%d old items are removed from %s", removed, kind))
	}
	return nil
}

// both opens the old store, and the new one with the given service.
func (m *Migration) both(ctx context.Context, service string) (from, to secrets.Store, done func() error, err error) {
	if from, err = m.Open(ctx, m.From, ""); err != nil {
		return nil, nil, nil, err
	}
	if to, err = m.Open(ctx, m.To, service); err != nil {
		return nil, nil, nil, errors.Join(err, closeStore(from))
	}
	return from, to, func() error { return errors.Join(closeStore(from), closeStore(to)) }, nil
}

// conflict reports what the store to move to holds that the old one does not hold alike.
func (m *Migration) conflict(ctx context.Context, to secrets.Store, source contents) error {
	held, err := readAll(ctx, to)
	if err != nil {
		return err
	}
	var others []string
	for _, e := range held.order {
		if value, ok := source.values[e]; !ok || !value.Equal(held.values[e]) {
			others = append(others, e.String())
		}
	}
	if len(others) == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("%s: %w: %v", m.To, ErrConflict, others), "mb-secrets migrate --to %s --overwrite replaces them by what %s holds", m.To, m.From)
}

// closeStore closes a store that is an io.Closer.
func closeStore(store secrets.Store) error {
	if closer, ok := store.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// shares reports whether two kinds keep the same items.
func shares(a, b string) bool {
	same := []string{"keychain", "security"}
	return a != b && slices.Contains(same, a) && slices.Contains(same, b)
}
