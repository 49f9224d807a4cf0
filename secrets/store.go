// Package secrets defines what a secret is (Name, Value, Requirement) and what keeps one (Store).
//
// It owns the contract that every store passes (see storetest) and an in-memory store. It guarantees that a value
// does not show by accident: only [Value.Reveal] gives the plaintext. It never talks to Docker, a database or the
// network, and imports nothing beyond the standard library and minibot/hint.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a store and this package answer; callers branch with errors.Is. Missing, locked, denied and unavailable are
// different situations with different remedies, so no store may answer one for another.
var (
	ErrNotFound    = errors.New("not found")
	ErrLocked      = errors.New("store is locked")
	ErrDenied      = errors.New("access to the store was denied")
	ErrUnavailable = errors.New("store is unavailable") // what keeps it does not answer, or is not there
	ErrNoStore     = errors.New("there is no store yet")
	ErrDamaged     = errors.New("store is damaged")
	ErrInvalidName = errors.New("invalid secret name")
	ErrEmptyValue  = errors.New("the value is empty")
	ErrNUL         = errors.New("the value holds a NUL byte, which no environment and no database password can carry")
	ErrTooLarge    = errors.New("the value is too large")
)

// Slot is one of the three places a store has for a name.
type Slot uint8

// The slots. Current is what services use, Pending a change that is not in force yet, Previous what was in force before.
const (
	Current Slot = iota
	Pending
	Previous
)

// Slots lists every slot, in the order of their values.
var Slots = [...]Slot{Current, Pending, Previous}

func (s Slot) String() string {
	switch s {
	case Current:
		return "current"
	case Pending:
		return "pending"
	case Previous:
		return "previous"
	}
	return fmt.Sprintf("Slot(%d)", uint8(s))
}

// Service is the service name under which a keychain keeps the items of a slot, each with the secret's name as its
// account: base itself for Current, so that whoever looks there by hand finds what is in force, and services beside it
// for the companions.
func (s Slot) Service(base string) string {
	if s == Current {
		return base
	}
	return base + "." + s.String()
}

// Check tells whether name and slot can be an address in a store: every store calls it first, because an empty or
// malformed name may mean "any" to what lies beneath. It returns an error that wraps [ErrInvalidName], or one that
// names the slot.
func Check(name Name, slot Slot) error {
	if _, err := ParseName(string(name)); err != nil {
		return err
	}
	if int(slot) >= len(Slots) {
		return fmt.Errorf("no such slot: %v", slot)
	}
	return nil
}

// Item is a value and when it was written to its slot. Times are in UTC; a store may keep whole seconds only.
type Item struct {
	Value   Value
	Changed time.Time
}

// Entry says that a slot of a name is set, and since when, without its value.
type Entry struct {
	Name    Name
	Slot    Slot
	Changed time.Time
}

// Store keeps secrets. Every method may block on a disk, a dialog or a bus: callers pass a context with a deadline,
// and the store returns when it ends. A call that what lies beneath has not answered by the deadline, because a dialog
// waits for somebody, wraps both [ErrDenied] and the context's error; a write among these may still happen later, but never
// after a later write. Stores are safe for concurrent use. Errors wrap the sentinels above, name the secret and never hold a value.
// Those that a person can mend carry a hint.
type Store interface {
	// Get returns what slot holds, or ErrNotFound.
	Get(ctx context.Context, name Name, slot Slot) (Item, error)
	// Put sets one slot, replacing what it holds; a crash in it leaves the old value or the new one. A zero Value is ErrEmptyValue.
	Put(ctx context.Context, name Name, slot Slot, value Value) error
	// Delete empties one slot, or returns ErrNotFound. The other slots stay.
	Delete(ctx context.Context, name Name, slot Slot) error
	// List returns every set slot, ordered by name and slot. It reads no values.
	List(ctx context.Context) ([]Entry, error)
}
