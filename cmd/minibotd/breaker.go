package main

import (
	"context"
	"sync"
)

// breaker cancels all that runs under it at once. The zero value is ready.
type breaker struct {
	mu     sync.Mutex
	cancel map[*context.CancelCauseFunc]bool
}

// enter returns a context that trip cancels, and what ends that.
func (b *breaker) enter(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel == nil {
		b.cancel = map[*context.CancelCauseFunc]bool{}
	}
	b.cancel[&cancel] = true
	return ctx, func() {
		b.mu.Lock()
		delete(b.cancel, &cancel)
		b.mu.Unlock()
		cancel(nil)
	}
}

func (b *breaker) trip(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for cancel := range b.cancel {
		(*cancel)(cause)
	}
}

// inFlight counts actions. The zero value is ready.
type inFlight struct {
	mu sync.Mutex
	n  int
}

// enter counts one, until what it returns is called.
func (f *inFlight) enter() (leave func()) {
	f.add(1)
	return func() { f.add(-1) }
}

func (f *inFlight) add(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n += n
	return f.n
}

// turn is a lock that may be held across calls to a store or an engine. Unlike one of a mutex, a wait for it is a wait to
// testing/synctest too.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// Lock waits for the turn.
func (t turn) Lock() { t <- struct{}{} }

// Unlock ends it.
func (t turn) Unlock() { <-t }

// TryLock takes the turn unless another has it, and tells whether it did.
func (t turn) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}
