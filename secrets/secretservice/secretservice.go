// Package secretservice keeps secrets in the desktop's keyring, over the Secret Service interface of the session bus:
// gnome-keyring, KWallet, KeePassXC.
//
// It owns the items of its services in the default collection: attributes service = [secrets.Slot.Service] and account = the
// secret's name, label "minibot: NAME". `secret-tool lookup service minibot account NAME` finds them, and what
// `secret-tool store` has put there is found here. Several items for one slot are one secret: the one that was modified
// last (of two in one second, the one whose path comes first) is read and written, a Put removes the others once the new
// value is in place, a Delete removes all of them.
//
// It guarantees that a value is replaced in one call of the service, so that whatever dies in a Put leaves the old value
// or the new one; that it has read back what it has written; that values cross the bus encrypted to the session; and that
// no call outlives its deadline, whatever the bus or the service does. It never asks anybody anything: a locked keyring
// is [secrets.ErrLocked], and a prompt that the service offers is dismissed. It never starts a bus. It may make the bus
// start the service, where that is installed for it.
//
// Messages and the sealing of values are go-keychain's secretservice package. Its connection is not used: it cannot be
// closed or given a deadline, may start a bus, and shows prompts. Nor is its key agreement, which cuts leading zeros off
// the shared secret and so gets another key than the service in one session of 256, nor its reading of values, which
// takes one that it cannot decrypt for no value.
package secretservice

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"minibot/secrets"
)

// DefaultService is the service under which items are kept unless Options say otherwise.
const DefaultService = "minibot"

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 20 * time.Second

// Options say where the keyring is and which items in it are meant.
type Options struct {
	Service    string        // the attribute "service" of Current's items; "" is DefaultService
	BusAddress string        // the session bus, "unix:path=…"; "" is $DBUS_SESSION_BUS_ADDRESS
	Timeout    time.Duration // of a call whose context has no deadline; 0 is DefaultTimeout
}

func (o Options) withDefaults() Options {
	if o.Service == "" {
		o.Service = DefaultService
	}
	if o.BusAddress == "" {
		o.BusAddress = os.Getenv("DBUS_SESSION_BUS_ADDRESS")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return o
}

// Store is the keyring's items of one service. It is a [secrets.Store], safe for concurrent use; calls are carried out
// one at a time. It connects again by itself when bus or service were away.
type Store struct {
	options Options
	quit    chan struct{} // closed by Close
	busy    chan struct{} // holds one token: who has it talks to the keyring

	mu     sync.Mutex
	client *client // nil: not connected
	closed bool
}

// Open looks whether the keyring is there and can be used: [secrets.ErrUnavailable] without a bus, without a service on
// it or when it went away, [secrets.ErrNoStore] when it has no default collection, [secrets.ErrLocked], or
// [secrets.ErrDenied] when the bus lets nobody through to it or nothing answers by the deadline. Close the store when done.
func Open(ctx context.Context, options Options) (*Store, error) {
	s := &Store{options: options.withDefaults(), quit: make(chan struct{}), busy: make(chan struct{}, 1)}
	_, err := do(ctx, s, func(ctx context.Context, c *client) (struct{}, error) {
		_, err := c.unlocked(ctx)
		return struct{}{}, err
	})
	if err != nil {
		_ = s.Close() // the error that matters is the first
		return nil, fmt.Errorf("open the keyring: %w", err)
	}
	return s, nil
}

// Close ends the connection and waits for what is under way, which fails. Later calls fail with [fs.ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.quit)
	if s.client != nil {
		s.client.cut()
	}
	s.mu.Unlock()
	s.busy <- struct{}{}
	s.drop(s.client)
	<-s.busy
	return nil
}

// do carries op out when its turn has come, on a goroutine of its own that holds the token until op is done. When ctx
// or its deadline ends first, do returns at once. What op has sent by then the service may still carry out: on the same
// connection, so before whatever is sent later. It sends nothing more.
func do[T any](ctx context.Context, s *Store, op func(context.Context, *client) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel = context.WithTimeout(ctx, s.options.Timeout)
	}
	bounded, cancelBounded := context.WithCancel(bounded)
	defer cancel()
	defer cancelBounded()
	select {
	case s.busy <- struct{}{}:
	case <-bounded.Done():
		return zero, explain(bounded.Err())
	case <-s.quit:
		return zero, fs.ErrClosed
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-s.busy }()
		value, err := attempt(bounded, s, op)
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, explain(a.err)
	case <-bounded.Done():
		return zero, explain(bounded.Err())
	case <-s.quit:
		return zero, fs.ErrClosed
	}
}

// attempts bounds how often an operation starts anew because an item vanished or a session ended under it.
const attempts = 4

// attempt connects where needed and carries op out.
func attempt[T any](ctx context.Context, s *Store, op func(context.Context, *client) (T, error)) (value T, err error) {
	for range attempts {
		var c *client
		if c, err = s.connect(ctx); err != nil {
			return value, err
		}
		value, err = op(ctx, c)
		switch {
		case isGone(err):
			continue
		case isSessionLost(err):
			c.session = nil
			continue
		case isBroken(err):
			s.drop(c)
		}
		return value, err
	}
	return value, err
}

// connect returns the connection, made anew when there is none that lives. The caller holds the token.
func (s *Store) connect(ctx context.Context) (*client, error) {
	s.mu.Lock()
	c, closed := s.client, s.closed
	s.mu.Unlock()
	if closed {
		return nil, fs.ErrClosed
	}
	if c != nil && c.bus.Connected() {
		return c, nil
	}
	s.drop(c)
	c, err := dial(ctx, s.options.BusAddress)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.close()
		return nil, fs.ErrClosed
	}
	s.client = c
	return c, nil
}

// drop closes c, which may be nil. The caller holds the token.
func (s *Store) drop(c *client) {
	if c == nil {
		return
	}
	c.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = nil
}

var _ secrets.Store = (*Store)(nil)
