package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"minibot/hint"
	"minibot/secrets"
)

// lateStore is the store from the moment it is open, so that the socket can be there at once. Calls wait for the first
// attempt to open it; from then on, until one succeeds, they fail as the last one did.
type lateStore struct {
	tried chan struct{} // closed after the first attempt
	once  sync.Once
	learn func(secrets.Name, secrets.Value) // is told every value that passes, before whoever asked has it; may be nil

	mu      sync.Mutex
	store   secrets.Store
	failure error // of the last attempt
}

func newLateStore() *lateStore { return &lateStore{tried: make(chan struct{})} }

// set takes the outcome of an attempt to open the store: it, or why not.
func (l *lateStore) set(store secrets.Store, failure error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.failure = store, failure
	l.once.Do(func() { close(l.tried) })
}

// replace puts another store in place of the one that is open, and closes that.
func (l *lateStore) replace(store secrets.Store) error {
	l.mu.Lock()
	before := l.store
	l.mu.Unlock()
	l.set(store, nil)
	return closeStore(before)
}

// close closes the store, if it is open; later calls find it locked.
func (l *lateStore) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	store := l.store
	l.store = nil
	return closeStore(store)
}

// closeStore closes a store that is an io.Closer.
func closeStore(store secrets.Store) error {
	if closer, ok := store.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func (l *lateStore) get(ctx context.Context) (secrets.Store, error) {
	select {
	case <-l.tried:
	case <-ctx.Done():
		return nil, hint.Wrap(fmt.Errorf("the store is not open yet: %w", ctx.Err()), "run `minibotd status` to see what the daemon waits for")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.store == nil && l.failure != nil:
		return nil, l.failure
	case l.store == nil:
		return nil, hint.Wrap(secrets.ErrLocked, "run `minibotd status` to see what the daemon waits for")
	}
	return l.store, nil
}

// Get passes on to the store.
func (l *lateStore) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	store, err := l.get(ctx)
	if err != nil {
		return secrets.Item{}, err
	}
	item, err := store.Get(ctx, name, slot)
	l.tell(name, item.Value)
	return item, err
}

// Put passes on to the store.
func (l *lateStore) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	store, err := l.get(ctx)
	if err != nil {
		return err
	}
	l.tell(name, value)
	return store.Put(ctx, name, slot, value)
}

func (l *lateStore) tell(name secrets.Name, value secrets.Value) {
	if l.learn != nil && !value.IsZero() {
		l.learn(name, value)
	}
}

// Delete passes on to the store.
func (l *lateStore) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	store, err := l.get(ctx)
	if err != nil {
		return err
	}
	return store.Delete(ctx, name, slot)
}

// List passes on to the store.
func (l *lateStore) List(ctx context.Context) ([]secrets.Entry, error) {
	store, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return store.List(ctx)
}

// Promote passes on to the store, which may do it in one step.
func (l *lateStore) Promote(ctx context.Context, name secrets.Name) error {
	store, err := l.get(ctx)
	if err != nil {
		return err
	}
	return secrets.Promote(ctx, store, name)
}
