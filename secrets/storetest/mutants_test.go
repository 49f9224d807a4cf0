package storetest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"minibot/secrets"
)

// mutant is a sound store with one operation broken. Promote of plainStore goes through it step by step.
type mutant struct {
	secrets.Store
	get     func(secrets.Item, error) (secrets.Item, error)
	put     func(context.Context, secrets.Store, secrets.Name, secrets.Slot, secrets.Value) error
	delete  func(context.Context, secrets.Store, secrets.Name, secrets.Slot) error
	list    func([]secrets.Entry) []secrets.Entry
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
	failed bool
}

func (r *recorder) Error(...any)          { r.failed = true }
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatal(...any)          { r.failed = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }
func (r *recorder) Failed() bool          { return r.failed }

// passes reports whether a store passes the whole suite.
func passes(t *testing.T, broken mutant) bool {
	for _, check := range checks {
		memory := secrets.NewMemory()
		m := broken
		m.Store = plainStore{memory}
		lock := func(locked bool) {
			if memory.Unlock(); locked {
				memory.Lock()
			}
		}
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			check.run(r, Harness{Store: m, Lock: lock, Deny: memory.Deny})
		}()
		<-done
		if r.failed {
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
		if passes(t, broken) {
			t.Errorf("a store that is broken passes: %s", name)
		}
	}
}
