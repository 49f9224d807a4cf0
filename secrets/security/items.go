package security

import (
	"context"
	"errors"
	"fmt"
	"time"

	"minibot/secrets"
)

// item is what a slot of a name holds, as it is written.
type item struct {
	text     []byte
	changed  time.Time
	anyParts bool // whether the slot's service of parts has any item; told beside ErrNotFound too
}

// read reads an item, and looks whether there are parts of any name.
func (s *Store) read(ctx context.Context, name secrets.Name, slot secrets.Slot) (item, error) {
	service := slot.Service(s.service)
	a, err := s.run(ctx, s.readLine(service, string(name)), s.seeLine(s.partsService(slot), ""))
	if err != nil {
		return item{}, err
	}
	defer a.clear()
	// The first command ends with one outcome, whatever it is. The second one, if it finds something, is silent, and as the
	// last one sets the exit status.
	outcomes := a.outcomes()
	switch {
	case len(outcomes) == 0 && a.exit != 0:
		return item{}, fault(a.status(commandFind))
	case len(outcomes) == 0 || outcomes[0].command != commandFind:
		return item{}, broken("it printed no value")
	case a.exit != 0 && a.exit != statusNotFound&0xff:
		return item{}, fault(a.status(commandFind))
	}
	found := item{anyParts: a.exit == 0}
	if status := outcomes[0].status; status != 0 {
		return found, fault(status)
	}
	printed := a.items()
	if found.text = outcomes[0].value; found.text == nil || len(printed) == 0 {
		return item{}, broken("a value cannot be decoded")
	}
	if printed[0].service != service || printed[0].account != string(name) {
		return item{}, broken("it printed another item")
	}
	if found.changed = printed[0].changed; found.changed.IsZero() {
		return item{}, broken("the item has no date")
	}
	return found, nil
}

func (p *parts) accounts(name secrets.Name) []string {
	accounts := make([]string, p.count)
	for n := range accounts {
		accounts[n] = p.account(name, n)
	}
	return accounts
}

// readParts returns the value that the parts hold. A part that is missing or not the right one is ErrDamaged.
func (s *Store) readParts(ctx context.Context, name secrets.Name, slot secrets.Slot, in *parts) ([]byte, error) {
	var lines [][]byte
	for _, account := range in.accounts(name) {
		lines = append(lines, s.readLine(s.partsService(slot), account))
	}
	a, err := s.run(ctx, lines...)
	if err != nil {
		return nil, err
	}
	defer a.clear()
	return joinPrinted(a, in)
}

func joinPrinted(a *answer, in *parts) ([]byte, error) {
	var texts [][]byte
	for _, o := range a.outcomes() {
		switch {
		case o.command != commandFind:
		case o.status == statusNotFound:
			return nil, damaged("a part of the value is missing")
		case o.status != 0:
			return nil, fault(o.status)
		default:
			texts = append(texts, o.value)
		}
	}
	if len(texts) != in.count {
		return nil, broken("it did not print the parts of a value")
	}
	return in.join(texts)
}

// writeParts writes the parts of a value under names that are new, and reads them back.
func (s *Store) writeParts(ctx context.Context, name secrets.Name, slot secrets.Slot, in *parts, texts [][]byte) error {
	var adds, reads [][]byte
	for n, text := range texts {
		defer clear(text)
		adds = append(adds, s.addLine(s.partsService(slot), in.account(name, n), text))
		reads = append(reads, s.readLine(s.partsService(slot), in.account(name, n)))
	}
	a, err := s.run(ctx, append(adds, reads...)...)
	if err != nil {
		return err
	}
	defer a.clear()
	for _, o := range a.outcomes() {
		if o.command == commandAdd {
			return fault(o.status)
		}
	}
	whole, err := joinPrinted(a, in)
	clear(whole)
	return err
}

// sweep removes the parts of name that do not belong to keep, which may be nil.
func (s *Store) sweep(ctx context.Context, name secrets.Name, slot secrets.Slot, keep *parts) error {
	all, err := s.dump(ctx)
	if err != nil {
		return err
	}
	var stale []string
	for _, item := range all {
		m := partAccount.FindStringSubmatch(item.account)
		if item.service == s.partsService(slot) && m != nil && m[1] == string(name) && (keep == nil || m[2] != keep.generation) {
			stale = append(stale, item.account)
		}
	}
	return s.deleteAll(ctx, s.partsService(slot), stale)
}

// deleteAll removes items; what is not there is no error.
func (s *Store) deleteAll(ctx context.Context, service string, accounts []string) error {
	if len(accounts) == 0 {
		return nil
	}
	var lines [][]byte
	for _, account := range accounts {
		lines = append(lines, s.deleteLine(service, account))
	}
	a, err := s.run(ctx, lines...)
	if err != nil {
		return err
	}
	defer a.clear()
	for _, o := range a.outcomes() {
		if err := fault(o.status); !errors.Is(err, secrets.ErrNotFound) {
			return err
		}
	}
	if a.exit != 0 && a.exit != statusNotFound&0xff {
		return fault(a.status(commandDelete))
	}
	return nil
}

// Address names a generic password, which may be another program's.
type Address struct{ Service, Account string }

// Addresses returns where every generic password of the keychains lies, other programs' too, in the order in which they are searched.
// It reads the attributes alone, which opens no dialog and works while the keychains are locked. What has no service is left out.
func (s *Store) Addresses(ctx context.Context) ([]Address, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	all, err := s.dump(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the keychain's items: %w", err)
	}
	var found []Address
	for _, item := range all {
		if item.service != "" {
			found = append(found, Address{item.service, item.account})
		}
	}
	return found, nil
}

// dump reads the attributes of all generic passwords. It never asks for values: -d would open a dialog for each.
func (s *Store) dump(ctx context.Context) ([]attributes, error) {
	a, err := s.run(ctx, s.line(commandDump))
	if err != nil {
		return nil, err
	}
	defer a.clear()
	if a.exit != 0 {
		return nil, fault(a.status(commandDump))
	}
	var generic []attributes
	for _, item := range a.items() {
		if item.class == "genp" {
			generic = append(generic, item)
		}
	}
	return generic, nil
}
