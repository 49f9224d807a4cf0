package migration

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
)

var errDied = errors.New("died")

// place is one item's place; kinds with the same items have one domain.
type place struct {
	domain, service string
	name            secrets.Name
	slot            secrets.Slot
}

type held struct {
	owner string // the kind that wrote it
	value secrets.Value
}

// world is every store of a machine, the configuration and the record. It outlives whoever is killed.
type world struct {
	t          *testing.T
	items      map[place]held
	configured string
	record     string
	reports    []string

	steps, at int  // effects so far; the one before or after which the process dies
	after     bool // it dies after the effect
	jealous   bool // only who wrote an item may delete it
}

func newWorld(t *testing.T, configured string) *world {
	return &world{t: t, items: map[place]held{}, configured: configured, record: filepath.Join(t.TempDir(), "migration.json")}
}

// step counts effects. Once dead, nothing has an effect any more.
func (w *world) step(effect func() error) error {
	w.steps++
	switch {
	case w.at == 0 || w.steps < w.at:
		return effect()
	case w.steps == w.at && w.after:
		_ = effect()
	}
	return errDied
}

func domain(kind string) string {
	if kind == "security" {
		return "keychain"
	}
	return kind
}

func (w *world) put(kind string, name secrets.Name, slot secrets.Slot, plain string) {
	w.items[place{domain(kind), "", name, slot}] = held{kind, value(w.t, plain)}
}

// store is one kind's view of the world. An item that another kind wrote wants a dialog that nobody answers.
type store struct {
	w             *world
	kind, service string
}

func (s *store) at(name secrets.Name, slot secrets.Slot) place {
	return place{domain(s.kind), s.service, name, slot}
}

func (s *store) Get(_ context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	h, ok := s.w.items[s.at(name, slot)]
	switch {
	case s.w.at > 0 && s.w.steps >= s.w.at:
		return secrets.Item{}, errDied
	case !ok:
		return secrets.Item{}, secrets.ErrNotFound
	case h.owner != s.kind:
		s.w.t.Errorf("%s asks for %s, which %s wrote: a dialog", s.kind, name, h.owner)
		return secrets.Item{}, secrets.ErrDenied
	}
	return secrets.Item{Value: h.value}, nil
}

func (s *store) Put(_ context.Context, name secrets.Name, slot secrets.Slot, v secrets.Value) error {
	return s.w.step(func() error {
		if h, ok := s.w.items[s.at(name, slot)]; ok && h.owner != s.kind {
			s.w.t.Errorf("%s writes over %s, which %s wrote", s.kind, name, h.owner)
		}
		s.w.items[s.at(name, slot)] = held{s.kind, v}
		return nil
	})
}

func (s *store) Delete(_ context.Context, name secrets.Name, slot secrets.Slot) error {
	return s.w.step(func() error {
		switch h, ok := s.w.items[s.at(name, slot)]; {
		case !ok:
			return secrets.ErrNotFound
		case s.w.jealous && h.owner != s.kind:
			return secrets.ErrDenied
		}
		delete(s.w.items, s.at(name, slot))
		return nil
	})
}

func (s *store) List(context.Context) ([]secrets.Entry, error) {
	var entries []secrets.Entry
	for p := range s.w.items {
		if p.domain == domain(s.kind) && p.service == s.service {
			entries = append(entries, secrets.Entry{Name: p.name, Slot: p.slot})
		}
	}
	slices.SortFunc(entries, func(a, b secrets.Entry) int {
		return strings.Compare(fmt.Sprint(a.Name, int(a.Slot)), fmt.Sprint(b.Name, int(b.Slot)))
	})
	return entries, nil
}

func (w *world) migration(to string) *Migration {
	return &Migration{
		From: w.configured, To: to, Record: w.record,
		Open: func(_ context.Context, kind, service string) (secrets.Store, error) {
			return &store{w, kind, service}, nil
		},
		Switch: func(kind string) error { return w.step(func() error { w.configured = kind; return nil }) },
		Report: func(message string) { w.reports = append(w.reports, message) },
		save: func(path string, r *record) error {
			return w.step(func() error { return writeRecord(path, r) })
		},
	}
}

// safe reports whether every value of want can be found: in the configured store, or, while its items are taken over,
// among the staging items.
func (w *world) safe(want map[place]held) error {
	r, err := readRecord(w.record)
	if err != nil {
		return err
	}
	for p, h := range want {
		at := place{domain(w.configured), "", p.name, p.slot}
		if r.taking(w.configured) {
			at = place{domain(r.To), Staging, p.name, p.slot}
		}
		if got, ok := w.items[at]; !ok || !got.value.Equal(h.value) {
			return fmt.Errorf("%s (%v) is lost: the configuration names %s, the record is %+v", p.name, p.slot, w.configured, r)
		}
	}
	return nil
}

func value(t testing.TB, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func filled(t *testing.T, kind string) (*world, map[place]held) {
	w := newWorld(t, kind)
	w.put(kind, "A", secrets.Current, "canary-a")
	w.put(kind, "A", secrets.Pending, "canary-a-pending")
	w.put(kind, "A", secrets.Previous, "canary-a-previous")
	w.put(kind, "B", secrets.Current, "canary-b")
	want := map[place]held{}
	for p, h := range w.items {
		want[p] = h
	}
	return w, want
}

// mustEnd checks how a finished move leaves the world.
func (w *world) mustEnd(want map[place]held, from, to string, removed bool) {
	w.t.Helper()
	if w.configured != to {
		w.t.Errorf("the configuration names %s, want %s", w.configured, to)
	}
	for p, h := range want {
		if got := w.items[place{domain(to), "", p.name, p.slot}]; !got.value.Equal(h.value) || got.owner != to {
			w.t.Errorf("%s (%v) is not in %s, or written by %s", p.name, p.slot, to, got.owner)
		}
		_, stays := w.items[place{domain(from), "", p.name, p.slot}]
		if domain(from) != domain(to) && stays == removed {
			w.t.Errorf("%s (%v) in %s: %v", p.name, p.slot, from, stays)
		}
	}
	for p := range w.items {
		if p.service == Staging {
			w.t.Errorf("a staging item stays: %s (%v)", p.name, p.slot)
		}
	}
	if r, err := readRecord(w.record); err != nil || removed != (r == nil) {
		w.t.Errorf("record %+v, %v", r, err)
	}
}

var moves = []struct {
	from, to string
	remove   bool
}{
	{"age", "keychain", false}, {"age", "keychain", true}, {"security", "age", true}, {"secret-service", "age", false},
	{"security", "keychain", true}, {"keychain", "security", true},
}

// TestKilledAtEveryStep ends a move before and after each of its effects, once and then a second time, and runs it to its end.
func TestKilledAtEveryStep(t *testing.T) {
	for i, move := range append(moves, moves...) {
		jealous := i < len(moves)
		t.Run(fmt.Sprintf("%s to %s, remove %v, jealous %v", move.from, move.to, move.remove, jealous), func(t *testing.T) {
			for at := 1; ; at++ {
				for _, after := range []bool{false, true} {
					w, want := filled(t, move.from)
					w.jealous = jealous
					run := func() error {
						w.steps = 0
						m := w.migration(move.to)
						m.Remove = move.remove
						err := m.Run(t.Context())
						if lost := w.safe(want); lost != nil {
							t.Fatalf("killed at %d (after: %v): %v", at, after, lost)
						}
						return err
					}
					w.at, w.after = at, after
					if err := run(); err == nil {
						if w.steps >= at && !after {
							t.Fatalf("killed at %d without an error", at)
						}
						if w.steps < at {
							w.mustEnd(want, move.from, move.to, move.remove)
							return
						}
					}
					w.at = at/2 + 1
					_ = run() // killed again, or done
					w.at = 0
					if err := run(); err != nil {
						t.Fatalf("killed at %d (after: %v), run again: %v", at, after, err)
					}
					w.mustEnd(want, move.from, move.to, move.remove)
				}
			}
		})
	}
}

func TestTheOldItemsCanBeRemovedLater(t *testing.T) {
	w, want := filled(t, "age")
	if err := w.migration("keychain").Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mustEnd(want, "age", "keychain", false)
	w.put("age", "BY_HAND", secrets.Current, "canary-by-hand") // after the move
	w.put("keychain", "B", secrets.Current, "canary-b-new")    // changed meanwhile
	want[place{"age", "", "B", secrets.Current}] = held{"age", value(t, "canary-b-new")}
	m := w.migration("keychain")
	m.Remove = true
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mustEnd(want, "age", "keychain", true)
	if _, ok := w.items[place{"age", "", "BY_HAND", secrets.Current}]; !ok {
		t.Error("what was never moved is removed")
	}
}

func TestNothingToDo(t *testing.T) {
	w, want := filled(t, "age")
	for range 2 {
		m := w.migration("age")
		m.Remove = true
		if err := m.Run(t.Context()); err != nil || w.safe(want) != nil || !strings.Contains(w.reports[0], "already") {
			t.Errorf("%v, %q", err, w.reports)
		}
	}
}

func TestConflict(t *testing.T) {
	spoil := map[string]func(w *world){
		"another value": func(w *world) { w.put("keychain", "B", secrets.Current, "canary-other") },
		"another name":  func(w *world) { w.put("keychain", "C", secrets.Current, "canary-other") },
		"another slot":  func(w *world) { w.put("keychain", "B", secrets.Pending, "canary-other") },
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			w, want := filled(t, "age")
			w.put("keychain", "A", secrets.Current, "canary-a") // the same is no conflict
			spoil(w)
			before := len(w.items)
			err := w.migration("keychain").Run(t.Context())
			if !errors.Is(err, ErrConflict) || !strings.Contains(hint.Of(err), "--overwrite") || w.configured != "age" || len(w.items) != before {
				t.Fatalf("%v, hint %q", err, hint.Of(err))
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("a value shows: %v", err)
			}
			m := w.migration("keychain")
			m.Overwrite, m.Remove = true, true
			if err := m.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.mustEnd(want, "age", "keychain", true)
			if len(w.items) != len(want) {
				t.Errorf("%d items, want %d", len(w.items), len(want))
			}
		})
	}
}

func TestTheSameItemsCannotStay(t *testing.T) {
	w, want := filled(t, "security")
	err := w.migration("keychain").Run(t.Context())
	if !errors.Is(err, ErrKeepsNothing) || hint.Of(err) != "mb-secrets migrate --to keychain --remove" || w.steps != 0 || w.safe(want) != nil {
		t.Errorf("%v, hint %q, %d effects", err, hint.Of(err), w.steps)
	}
}

// TestWhileItemsAreTakenOver checks that nobody opens a store that holds a part of the secrets, or moves elsewhere.
func TestWhileItemsAreTakenOver(t *testing.T) {
	w, want := filled(t, "security")
	m := w.migration("keychain")
	m.Remove = true
	w.at = 7 // four copies, the record, and one item is gone
	if err := m.Run(t.Context()); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	w.at = 0
	err := Unfinished(w.record, w.configured)
	if !errors.Is(err, secrets.ErrUnavailable) || hint.Of(err) != "mb-secrets migrate --to keychain --remove goes on from there" {
		t.Fatalf("%v, hint %q", err, hint.Of(err))
	}
	if err := w.migration("age").Run(t.Context()); !errors.Is(err, secrets.ErrUnavailable) {
		t.Errorf("a move elsewhere: %v", err)
	}
	if err := w.migration("keychain").Run(t.Context()); err != nil { // --remove was said the first time
		t.Fatal(err)
	}
	w.mustEnd(want, "security", "keychain", true)
	if err := Unfinished(w.record, w.configured); err != nil {
		t.Error(err)
	}
}

// liar answers reads with another value, or claims to hold what it does not.
type liar struct {
	secrets.Store
	lies bool
}

func (l *liar) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, v secrets.Value) error {
	if l.lies && name == "B" {
		return nil
	}
	return l.Store.Put(ctx, name, slot, v)
}

func TestNoSwitchToAStoreThatDoesNotHoldEverything(t *testing.T) {
	w, want := filled(t, "age")
	m := w.migration("keychain")
	m.Remove = true
	open := m.Open
	m.Open = func(ctx context.Context, kind, service string) (secrets.Store, error) {
		s, err := open(ctx, kind, service)
		return &liar{s, kind == "keychain"}, err
	}
	if err := m.Run(t.Context()); err == nil || w.configured != "age" || w.safe(want) != nil {
		t.Errorf("got %v, the configuration names %s", err, w.configured)
	}
}
