package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// mutant is a sound store with one operation broken. Promote of plainStore goes through it step by step.
type mutant struct {
	secrets.Store
	get     func(secrets.Item, error) (secrets.Item, error)
	put     func(context.Context, secrets.Store, secrets.Name, secrets.Slot, secrets.Value) error
	delete  func(context.Context, secrets.Store, secrets.Name, secrets.Slot) error
	list    func([]secrets.Entry) []secrets.Entry
	before  func(context.Context, secrets.Store) // every List
	context func(context.Context) context.Context
}

func (m mutant) ctx(ctx context.Context) context.Context {
	if m.context != nil {
		return m.context(ctx)
	}
	return ctx
}

func (m mutant) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	item, err := m.Store.Get(m.ctx(ctx), name, slot)
	if m.get != nil {
		return m.get(item, err)
	}
	return item, err
}

func (m mutant) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, v secrets.Value) error {
	if m.put != nil {
		return m.put(ctx, m.Store, name, slot, v)
	}
	return m.Store.Put(m.ctx(ctx), name, slot, v)
}

func (m mutant) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if m.delete != nil {
		return m.delete(ctx, m.Store, name, slot)
	}
	return m.Store.Delete(m.ctx(ctx), name, slot)
}

func (m mutant) List(ctx context.Context) ([]secrets.Entry, error) {
	if m.before != nil {
		m.before(ctx, m.Store)
	}
	entries, err := m.Store.List(m.ctx(ctx))
	if m.list != nil {
		return m.list(entries), err
	}
	return entries, err
}

var mutants = map[string]mutant{
	"swallows not found": {delete: func(ctx context.Context, s secrets.Store, n secrets.Name, slot secrets.Slot) error {
		if err := s.Delete(ctx, n, slot); !errors.Is(err, secrets.ErrNotFound) {
			return err
		}
		return nil
	}},
	"locked is not found": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		if errors.Is(err, secrets.ErrLocked) {
			err = secrets.ErrNotFound
		}
		return i, err
	}},
	"loses previous": {put: func(ctx context.Context, s secrets.Store, n secrets.Name, slot secrets.Slot, v secrets.Value) error {
		if slot == secrets.Previous {
			return nil
		}
		return s.Put(ctx, n, slot, v)
	}},
	"delete empties all slots": {delete: func(ctx context.Context, s secrets.Store, n secrets.Name, slot secrets.Slot) error {
		err := s.Delete(ctx, n, slot)
		for _, other := range secrets.Slots {
			_ = s.Delete(ctx, n, other)
		}
		return err
	}},
	"date of reading": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		i.Changed = time.Now().UTC()
		return i, err
	}},
	"local time": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		i.Changed = i.Changed.In(time.FixedZone("there", 3600))
		return i, err
	}},
	"no dates": {
		get: func(i secrets.Item, err error) (secrets.Item, error) { i.Changed = time.Time{}.UTC(); return i, err },
		list: func(e []secrets.Entry) []secrets.Entry {
			e = slices.Clone(e)
			for i := range e {
				e[i].Changed = time.Time{}.UTC()
			}
			return e
		},
	},
	"date of creation": {put: func(ctx context.Context, s secrets.Store, n secrets.Name, slot secrets.Slot, v secrets.Value) error {
		if old, err := s.Get(ctx, n, slot); err == nil {
			m := s.(plainStore).Store.(*ground)
			now := m.Now
			defer func() { m.Now = now }()
			m.Now = func() time.Time { return old.Changed }
		}
		return s.Put(ctx, n, slot, v)
	}},
	"deletes, then adds": {put: func(ctx context.Context, s secrets.Store, n secrets.Name, slot secrets.Slot, v secrets.Value) error {
		if err := s.Delete(ctx, n, slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
			return err
		}
		for range 1000 {
			runtime.Gosched()
		}
		return s.Put(ctx, n, slot, v)
	}},
	"list reads values": {before: func(ctx context.Context, s secrets.Store) { _, _ = s.Get(ctx, nameA, secrets.Current) }},
	"denied is locked": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		if errors.Is(err, secrets.ErrDenied) {
			err = hint.Wrap(fmt.Errorf("%s: %w", nameA, secrets.ErrLocked), "unlock it")
		}
		return i, err
	}},
	"no hints": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		if hint.Of(err) != "" {
			for _, kind := range []error{secrets.ErrLocked, secrets.ErrDenied, context.DeadlineExceeded} {
				if errors.Is(err, kind) {
					return i, fmt.Errorf("%s %s: %w", nameA, nameB, kind)
				}
			}
		}
		return i, err
	}},
	"nobody answers is only late": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		if errors.Is(err, context.DeadlineExceeded) {
			err = hint.Wrap(fmt.Errorf("%s %s: %w", nameA, nameB, context.DeadlineExceeded), "wait")
		}
		return i, err
	}},
	"whoever leaves was denied": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		if errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%w: %w", secrets.ErrDenied, err)
		}
		return i, err
	}},
	"an empty name is any": {delete: func(ctx context.Context, s secrets.Store, n secrets.Name, slot secrets.Slot) error {
		if n == "" {
			n = nameA
		}
		return s.Delete(ctx, n, slot)
	}},
	"unsorted":            {list: func(e []secrets.Entry) []secrets.Entry { slices.Reverse(e); return e }},
	"ignores the context": {context: func(context.Context) context.Context { return context.Background() }},
	"cuts newlines": {get: func(i secrets.Item, err error) (secrets.Item, error) {
		if plain := i.Value.Reveal(); len(plain) > 1 && plain[len(plain)-1] == '\n' {
			i.Value, err = secrets.NewValue(plain[:len(plain)-1])
		}
		return i, err
	}},
}

// recorder stands in for a test and only notes that it failed.
type recorder struct {
	testing.TB
	fault atomic.Bool
}

func (r *recorder) Error(...any)          { r.fault.Store(true) }
func (r *recorder) Errorf(string, ...any) { r.fault.Store(true) }
func (r *recorder) Fatal(...any)          { r.fault.Store(true); runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.fault.Store(true); runtime.Goexit() }
func (r *recorder) failed() bool          { return r.fault.Load() }

// ground is a sound store that can be made to hang and that counts what is read.
type ground struct {
	*secrets.Memory

	mu    sync.Mutex
	gate  chan struct{} // nil while nothing blocks; closed when it ends
	reads int
	at    time.Time // the clock; zero: the machine's
}

func newGround() *ground {
	g := &ground{Memory: secrets.NewMemory()}
	g.Now = func() time.Time {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.at.IsZero() {
			return time.Now()
		}
		return g.at
	}
	return g
}

func (g *ground) block(blocked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gate != nil {
		close(g.gate)
		g.gate = nil
	}
	if blocked {
		g.gate = make(chan struct{})
	}
}

func (g *ground) pass(ctx context.Context, name secrets.Name) error {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return hint.Wrap(fmt.Errorf("%s: %w: %w", name, secrets.ErrDenied, ctx.Err()), "answer the dialog")
	}
	return fmt.Errorf("%s: %w", name, ctx.Err())
}

func (g *ground) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	if err := g.pass(ctx, name); err != nil {
		return secrets.Item{}, err
	}
	g.mu.Lock()
	g.reads++
	g.mu.Unlock()
	return g.Memory.Get(ctx, name, slot)
}

func (g *ground) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, v secrets.Value) error {
	if err := g.pass(ctx, name); err != nil {
		return err
	}
	return g.Memory.Put(ctx, name, slot, v)
}

// passes reports whether a store passes the whole suite.
func passes(t *testing.T, broken mutant) bool {
	for _, check := range checks {
		g := newGround()
		m := broken
		m.Store = plainStore{g}
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			check.run(r, Harness{
				Store: m, Deny: g.Deny, Block: g.block,
				Lock: func(locked bool) {
					if g.Unlock(); locked {
						g.Lock()
					}
				},
				Reads:    func() int { g.mu.Lock(); defer g.mu.Unlock(); return g.reads },
				SetClock: func(at time.Time) { g.mu.Lock(); defer g.mu.Unlock(); g.at = at },
			})
		}()
		<-done
		g.block(false)
		if r.failed() {
			return false
		}
	}
	return true
}

func TestBrokenStoresFail(t *testing.T) {
	if !passes(t, mutant{}) {
		t.Error("a sound store fails")
	}
	for name, broken := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if passes(t, broken) {
				t.Error("a store that is broken passes")
			}
		})
	}
}
