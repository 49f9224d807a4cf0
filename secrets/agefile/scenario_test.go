package agefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"
	"testing"

	"minibot/secrets"
)

// place is where the tests in memory and with faults keep a store: with its key in another directory, so that syncing one
// does not help the other.
type place struct {
	files fileSystem
	root  string
}

func (p place) store() string { return path.Join(p.root, "home", "store.age") }
func (p place) key() string   { return path.Join(p.root, "keys", "age.key") }

// open opens the store with a passphrase, or "" for none.
func (p place) open(passphrase string, create bool) (*Store, error) {
	return openOn(context.Background(), p.files, Options{
		Path: p.store(), KeyFile: p.key(), Create: create, WithPassphrase: passphrase != "", WorkFactor: 1,
		Passphrase: func() (string, error) { return passphrase, nil },
	})
}

// scenario is one operation on a store that holds held.
type scenario struct {
	name       string
	passphrase string // that opens the store before; "" is the key file
	missing    bool   // there is no store yet, nor its directory: the operation is to create it
	stale      bool   // another process has written since the store was opened
	act        func(*Store) error
	becomes    string // the passphrase that opens the store after; "" is the key file
	after      map[string]string
}

const (
	oldPassphrase = "canary old passphrase"
	newPassphrase = "canary new pässphrase"
)

var held = map[string]string{"A current": "canary-a", "A pending": "canary-new", "B current": "canary-b"}

func changed(edit func(map[string]string)) map[string]string {
	m := maps.Clone(held)
	edit(m)
	return m
}

func rekeyTo(passphrase string) func(*Store) error {
	return func(s *Store) error {
		return s.Rekey(context.Background(), RekeyOptions{passphrase != "", func() (string, error) { return passphrase, nil }})
	}
}

func putting(name secrets.Name, plain string) func(*Store) error {
	return func(s *Store) error {
		v, err := secrets.NewValue([]byte(plain))
		if err != nil {
			return err
		}
		return s.Put(context.Background(), name, secrets.Current, v)
	}
}

func deleting(name secrets.Name) func(*Store) error {
	return func(s *Store) error { return s.Delete(context.Background(), name, secrets.Current) }
}

func promoting(s *Store) error { return s.Promote(context.Background(), "A") }

var (
	putNew   = changed(func(m map[string]string) { m["C current"] = "canary-c" })
	promoted = changed(func(m map[string]string) {
		m["A current"], m["A previous"] = "canary-new", "canary-a"
		delete(m, "A pending")
	})
)

var scenarios = []scenario{
	{name: "put", act: putting("C", "canary-c"), after: putNew},
	{name: "put over what another process wrote", stale: true, act: putting("C", "canary-c"), after: putNew},
	{name: "put with a passphrase", passphrase: oldPassphrase, act: putting("C", "canary-c"), becomes: oldPassphrase, after: putNew},
	{name: "replace", act: putting("A", "canary-replaced"), after: changed(func(m map[string]string) { m["A current"] = "canary-replaced" })},
	{name: "delete", act: deleting("B"), after: changed(func(m map[string]string) { delete(m, "B current") })},
	{name: "promote", act: promoting, after: promoted},
	{name: "create", missing: true, after: map[string]string{}},
	{name: "create with a passphrase", missing: true, passphrase: oldPassphrase, becomes: oldPassphrase, after: map[string]string{}},
	{name: "rekey", act: rekeyTo(""), after: held},
	{name: "rekey from key to passphrase", act: rekeyTo(newPassphrase), becomes: newPassphrase, after: held},
	{name: "rekey from passphrase to key", passphrase: oldPassphrase, act: rekeyTo(""), after: held},
	{name: "rekey to another passphrase", passphrase: oldPassphrase, act: rekeyTo(newPassphrase), becomes: newPassphrase, after: held},
}

func (c scenario) rekeys() bool { return strings.HasPrefix(c.name, "rekey") }

// prepare makes the store that the operation finds.
func (c scenario) prepare(p place) error {
	if c.missing {
		return nil
	}
	s, err := p.open(c.passphrase, true)
	if err != nil {
		return err
	}
	v, err := secrets.NewValue([]byte("canary-new"))
	if err != nil {
		return err
	}
	return errors.Join(putting("A", "canary-a")(s), putting("B", "canary-b")(s), s.Put(context.Background(), "A", secrets.Pending, v), s.Close())
}

// run does the operation, on a store that start has opened.
func (c scenario) run(p place, s *Store) error {
	if !c.missing {
		return c.act(s)
	}
	s, err := p.open(c.passphrase, true)
	if err != nil {
		return err
	}
	return s.Close()
}

// start opens the store that run works on, nil for one that is missing.
func (c scenario) start(p place) (*Store, error) {
	if c.missing {
		return nil, nil
	}
	s, err := p.open(c.passphrase, false)
	if err == nil && c.stale {
		var other *Store
		if other, err = p.open(c.passphrase, false); err == nil {
			err = errors.Join(putting("B", "canary-b")(other), other.Close())
		}
	}
	return s, err
}

// reopen opens the store as it is found, and returns what opened it: a passphrase or the text of a key.
func (c scenario) reopen(p place) (s *Store, opener string, err error) {
	for _, passphrase := range []string{c.passphrase, c.becomes} {
		s, err = p.open(passphrase, false)
		if err == nil && s.sealer.key != nil {
			return s, s.sealer.key.String(), nil
		}
		if err == nil || !errors.Is(err, secrets.ErrDenied) && !errors.Is(err, secrets.ErrLocked) {
			return s, passphrase, err
		}
	}
	return nil, "", err
}

// state is what of a scenario may be found afterwards.
type state int

const (
	oldState state = 1 << iota
	newState
)

// found checks that the store at p, which opener opened before, is in one of the states that may be, and that the next
// writer loses nothing and leaves nothing behind.
func (c scenario) found(p place, opener string, may state) error {
	s, opens, err := c.reopen(p)
	if errors.Is(err, secrets.ErrNoStore) && c.missing && may&oldState != 0 {
		s, err = p.open(c.passphrase, true)
		opens = opener
	}
	if err != nil {
		return fmt.Errorf("it does not open: %w", err)
	}
	got, err := contents(s)
	if err != nil {
		return err
	}
	seen := state(0)
	if maps.Equal(got, held) && !c.missing && opens == opener {
		seen |= oldState
	}
	if maps.Equal(got, c.after) && (c.missing || c.rekeys() == (opens != opener)) {
		seen |= newState
	}
	if c.missing {
		seen = may // an empty store is what it becomes and what it is made anew as
	}
	if seen&may == 0 {
		return fmt.Errorf("it is in another state than it may be: %d values, opened as before: %t", len(got), opens == opener)
	}
	return errors.Join(c.goesOn(p, s, got), s.Close())
}

// goesOn writes one more value and checks that the store then holds it beside what it held, and that nothing is left behind.
func (c scenario) goesOn(p place, s *Store, holds map[string]string) error {
	if err := putting("LATER", "canary-later")(s); err != nil {
		return fmt.Errorf("a later put: %w", err)
	}
	holds = maps.Clone(holds)
	holds["LATER current"] = "canary-later"
	other, _, err := c.reopen(p)
	if err != nil {
		return fmt.Errorf("after a later put: %w", err)
	}
	got, err := contents(other)
	if err != nil || !maps.Equal(got, holds) {
		return fmt.Errorf("a later put lost something, or itself: %d values, %w", len(got), err)
	}
	return errors.Join(tidy(p, s), other.Close())
}

func contents(s *Store) (map[string]string, error) {
	now, err := s.load(context.Background())
	got := map[string]string{}
	for name, items := range now {
		for _, slot := range secrets.Slots {
			if v := items[slot].Value; !v.IsZero() {
				got[fmt.Sprintf("%s %v", name, slot)] = string(v.Reveal())
			}
		}
	}
	return got, err
}

// tidy checks that no temporary file is left, and in the key file only the key that opens s.
func tidy(p place, s *Store) error {
	for _, dir := range []string{path.Dir(p.store()), path.Dir(p.key())} {
		names, err := p.files.readDir(dir)
		for _, name := range names {
			if strings.Contains(name, ".tmp-") {
				err = errors.Join(err, fmt.Errorf("%s is left behind", name))
			}
		}
		if err != nil {
			return err
		}
	}
	k, err := readKeys(p.files, p.key())
	switch {
	case s.sealer.key == nil && errors.Is(err, fs.ErrNotExist):
		return nil
	case s.sealer.key == nil:
		return errors.Join(errors.New("the key file of a store with a passphrase is left behind"), err)
	case err != nil:
		return err
	case k.rekeying || len(k.identities) != 1 || !k.has(s.sealer.key):
		return errors.New("the key file holds another key than the store's")
	}
	return nil
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}
