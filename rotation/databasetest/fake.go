// Package databasetest is what a rotation.Database has to do: a suite that the real drivers and the fake ones of tests
// pass alike, and those fakes.
//
// It owns no database: who runs the suite brings one. A [Fake] keeps its state as a real database does when the process
// that changes it dies, and can be told to fail. It never sleeps by itself.
package databasetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"minibot/database"
	"minibot/secrets"
)

// Kind is how a Fake behaves.
type Kind string

// The kinds, each like a real driver.
const (
	Single  Kind = "single"  // one password, and a prepared switch: Postgres with one role
	Overlap Kind = "overlap" // two passwords at once and no entrance without one: Redis
	Roles   Kind = "roles"   // two users who take turns: Postgres with alternating roles
	Plain   Kind = "plain"   // one password, taken over at once: a command
	Reload  Kind = "reload"  // the file decides: OpenClaw
)

// Kinds lists them all.
var Kinds = []Kind{Single, Overlap, Roles, Plain, Reload}

// The users of Roles.
const (
	UserA = "app_a"
	UserB = "app_b"
)

// Fake is a database that lives as long as the test. It is safe for concurrent use.
type Fake struct {
	Kind Kind
	// Before is called before every operation, named as the method, After when it has had its effect. An error of either
	// is the operation's answer.
	Before, After func(operation string) error

	mu       sync.Mutex
	good     map[string][]secrets.Value // by user
	sessions int                        // of the current credential
	prepared *prepared

	throwaways int
}

// NewFake returns a database that lets first in.
func NewFake(kind Kind, first database.Credential) *Fake {
	f := &Fake{Kind: kind, good: map[string][]secrets.Value{first.User: {first.Password}}}
	f.Before = func(string) error { return nil }
	f.After = f.Before
	return f
}

// Set makes c the only good credential, as somebody else might.
func (f *Fake) Set(c database.Credential) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.good = map[string][]secrets.Value{c.User: {c.Password}}
}

// Sessions sets how many sessions InUse counts.
func (f *Fake) Sessions(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = n
}

// Any is a credential that logs in.
func (f *Fake) Any() database.Credential {
	f.mu.Lock()
	defer f.mu.Unlock()
	for user, all := range f.good {
		if len(all) > 0 {
			return database.Credential{User: user, Password: all[0]}
		}
	}
	return database.Credential{}
}

// Lets reports whether c logs in.
func (f *Fake) Lets(c database.Credential) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lets(c)
}

func (f *Fake) lets(c database.Credential) bool {
	for _, v := range f.good[c.User] {
		if v.Equal(c.Password) {
			return true
		}
	}
	return false
}

// Crash ends what is prepared, as the death of the process that prepared it does.
func (f *Fake) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepared = nil
}

// Restart starts the database with a delivered credential: that is good then, whatever was before where the kind has no
// other entrance.
func (f *Fake) Restart(c database.Credential) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Kind == Reload || f.Kind == Overlap && !f.lets(c) {
		f.good = map[string][]secrets.Value{c.User: {c.Password}}
	}
}

// op is one operation that can fail before or after its effect.
func (f *Fake) op(name string, effect func() error) error {
	if err := f.Before(name); err != nil {
		return err
	}
	f.mu.Lock()
	err := effect()
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.After(name)
}

// Check takes everything.
func (*Fake) Check(secrets.Value) error { return nil }

// Live is false for Reload.
func (f *Fake) Live() bool { return f.Kind != Reload }

// Overlaps is true for Overlap and Roles.
func (f *Fake) Overlaps() bool { return f.Kind == Overlap || f.Kind == Roles }

// Successor is the other user of Roles.
func (f *Fake) Successor(user string) string {
	switch {
	case f.Kind != Roles:
		return user
	case user == UserA:
		return UserB
	}
	return UserA
}

// Accept lets Next in.
func (f *Fake) Accept(_ context.Context, c database.Change) error {
	return f.op("accept", func() error {
		switch f.Kind {
		case Overlap:
			if !f.lets(c.Current) && !f.lets(c.Next) {
				return database.ErrRefused
			}
			if !f.lets(c.Next) {
				f.good[c.Next.User] = append(f.good[c.Next.User], c.Next.Password)
			}
		case Roles, Plain, Single:
			f.good[c.Next.User] = []secrets.Value{c.Next.Password}
		case Reload:
		}
		return nil
	})
}

// Prove says whether c is let in.
func (f *Fake) Prove(_ context.Context, c database.Credential) error {
	return f.op("prove", func() error {
		if !f.lets(c) {
			return database.ErrRefused
		}
		return nil
	})
}

// Retire leaves Next alone.
func (f *Fake) Retire(_ context.Context, c database.Change) error {
	return f.op("retire", func() error { return f.leave(c.Next, c.Current) })
}

// Revert leaves Current alone.
func (f *Fake) Revert(_ context.Context, c database.Change) error {
	return f.op("revert", func() error { return f.leave(c.Current, c.Next) })
}

func (f *Fake) leave(keep, drop database.Credential) error {
	switch f.Kind {
	case Overlap:
		if !f.lets(keep) && !f.lets(drop) {
			return database.ErrRefused
		}
		f.good[keep.User] = []secrets.Value{keep.Password}
	case Roles:
		delete(f.good, drop.User)
		f.good[keep.User] = []secrets.Value{keep.Password}
	case Single, Plain, Reload:
	}
	return nil
}

// Assert makes c the only good credential, where the kind has an entrance.
func (f *Fake) Assert(_ context.Context, c database.Credential) error {
	return f.op("assert", func() error {
		if f.Kind == Overlap || f.Kind == Reload {
			return database.ErrNoEntrance
		}
		f.good = map[string][]secrets.Value{c.User: {c.Password}}
		return nil
	})
}

// InUse counts what Sessions set.
func (f *Fake) InUse(context.Context, database.Change, time.Time) (int, error) {
	n := 0
	err := f.op("in use", func() error { n = f.sessions; return nil })
	return n, err
}

// Throwaway makes another Fake of the same kind, and counts those that are not ended.
func (f *Fake) Throwaway(first database.Credential) (other *Fake, end func(context.Context) error) {
	other = NewFake(f.Kind, first)
	other.Before, other.After = f.Before, f.After
	f.mu.Lock()
	defer f.mu.Unlock()
	f.throwaways++
	return other, func(context.Context) error {
		return f.op("end rehearsal", func() error { f.throwaways--; return nil })
	}
}

// Throwaways is how many there are.
func (f *Fake) Throwaways() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.throwaways
}

// Preparing is a Fake that can prepare a switch; for Single.
type Preparing struct{ *Fake }

// Prepare implements rotation.Switcher. A second one waits for none: it fails, as behind a lock.
func (p Preparing) Prepare(_ context.Context, c database.Change) (database.Switch, error) {
	var ready *prepared
	err := p.op("prepare", func() error {
		if p.prepared != nil {
			return fmt.Errorf("%w: another change is prepared", database.ErrNotReady)
		}
		ready = &prepared{p.Fake, c.Next}
		p.prepared = ready
		return nil
	})
	if err != nil {
		p.Crash()
		return nil, err
	}
	return ready, nil
}

type prepared struct {
	f    *Fake
	next database.Credential
}

func (p *prepared) Commit(context.Context) error {
	return p.f.op("commit", func() error {
		if p.f.prepared != p {
			return fmt.Errorf("%w: the session is gone", database.ErrNotReady)
		}
		p.f.prepared = nil
		p.f.good = map[string][]secrets.Value{p.next.User: {p.next.Password}}
		return nil
	})
}

func (p *prepared) Abort() {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.f.prepared == p {
		p.f.prepared = nil
	}
}
