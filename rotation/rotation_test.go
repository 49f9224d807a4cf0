package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"minibot/database"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
)

const (
	pg, rd, key secrets.Name = "POSTGRES_PASSWORD", "REDIS_PASSWORD", "API_KEY"
)

var errInjected = errors.New("injected")

// world is a store, two databases and a stack that keep their state when the Rotator dies.
type world struct {
	secrets.Store
	live, restarted secrets.Value // what Postgres and Redis let in
	delivered       map[secrets.Name]secrets.Value

	steps, at     int           // operations so far; the one that fails (0: none)
	after, crash  bool          // fail after its effect; everything later fails too
	held          chan struct{} // Await blocks until it is closed
	reject, quiet bool          // Postgres refuses every proof; Postgres never gets ready
}

// step counts an operation; f is its effect.
func (w *world) step(f func() error) error {
	w.steps++
	switch {
	case w.at == 0 || w.steps < w.at || w.steps > w.at && !w.crash:
		return f()
	case w.steps == w.at && w.after:
		_ = f() // the effect took place, the answer is lost
	}
	return fmt.Errorf("step %d: %w", w.steps, errInjected)
}

// faulty makes every store operation a step. It embeds the interface, so that promotion goes step by step.
type faulty struct {
	secrets.Store
	w *world
}

func (s faulty) Get(ctx context.Context, n secrets.Name, slot secrets.Slot) (item secrets.Item, err error) {
	err = s.w.step(func() error { item, err = s.Store.Get(ctx, n, slot); return err })
	return item, err
}

func (s faulty) Put(ctx context.Context, n secrets.Name, slot secrets.Slot, v secrets.Value) error {
	return s.w.step(func() error { return s.Store.Put(ctx, n, slot, v) })
}

func (s faulty) Delete(ctx context.Context, n secrets.Name, slot secrets.Slot) error {
	return s.w.step(func() error { return s.Store.Delete(ctx, n, slot) })
}

type fakeDB struct {
	w    *world
	live bool
}

func (d fakeDB) Live() bool { return d.live }
func (d fakeDB) Check(v secrets.Value) error {
	if d.live {
		return database.Check(database.DriverPostgres, v)
	}
	return database.Check(database.DriverRedis, v)
}

func (d fakeDB) Accept(_ context.Context, c database.Change) error {
	return d.w.step(func() error {
		if d.live {
			d.w.live = c.Next.Password
		}
		return nil
	})
}

func (d fakeDB) Prove(_ context.Context, c database.Credential) error {
	return d.w.step(func() error {
		has := d.w.restarted
		if d.live {
			has = d.w.live
		}
		if !has.Equal(c.Password) || d.live && d.w.reject {
			return database.ErrRefused
		}
		return nil
	})
}

func (w *world) Await(context.Context, string) error {
	if w.held != nil {
		<-w.held
	}
	return w.step(func() error {
		if w.quiet {
			return errors.New("not healthy")
		}
		return nil
	})
}

func (w *world) Adopt(ctx context.Context, _ []secrets.Name, _ rotation.Report) error {
	return w.step(func() error { return w.deliver(ctx) })
}

// deliver restarts what has a new value; Postgres takes its own only when it has none.
func (w *world) deliver(ctx context.Context) error {
	for _, n := range []secrets.Name{pg, rd, key} {
		item, err := w.Get(ctx, n, secrets.Current)
		if err != nil {
			continue // not set: its service is held back
		}
		w.delivered[n] = item.Value
		if n == rd {
			w.restarted = item.Value
		}
		if n == pg && w.live.IsZero() {
			w.live = item.Value
		}
	}
	return nil
}

var requirements = []secrets.Requirement{
	{Name: pg, Rotate: secrets.Rotation{Driver: "postgres", Service: "postgres"}},
	{Name: rd, Rotate: secrets.Rotation{Driver: "redis", Service: "redis"}},
	{Name: key},
}

func (w *world) rotator() *rotation.Rotator {
	return rotation.New(faulty{w.Store, w}, func() []secrets.Requirement { return requirements },
		func(q secrets.Requirement) rotation.Database { return fakeDB{w, q.Rotate.Driver == "postgres"} }, w, slog.New(slog.DiscardHandler))
}

func val(s string) secrets.Value {
	v, err := secrets.NewValue([]byte("canary-" + s))
	if err != nil {
		panic(err)
	}
	return v
}

func silent(string, string) {}

func newWorld(t *testing.T, set bool) *world {
	t.Helper()
	w := &world{Store: secrets.NewMemory(), delivered: map[secrets.Name]secrets.Value{}}
	if set {
		for _, n := range []secrets.Name{pg, rd, key} {
			if err := w.Put(t.Context(), n, secrets.Current, val("old-"+string(n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = w.deliver(t.Context()) // never fails
	return w
}

func newValues() map[secrets.Name]secrets.Value {
	return map[secrets.Name]secrets.Value{pg: val("new-" + string(pg)), rd: val("new-" + string(rd)), key: val("new-" + string(key))}
}

func (w *world) slot(n secrets.Name, s secrets.Slot) secrets.Value {
	item, _ := w.Get(context.Background(), n, s) // zero when empty
	return item.Value
}

// restart is a new daemon on the same world.
func (w *world) restart(t *testing.T) {
	t.Helper()
	w.at, w.reject, w.quiet = 0, false, false
	r := w.rotator()
	if err := r.BeforeDelivery(t.Context()); err != nil {
		t.Fatalf("before delivery: %v", err)
	}
	_ = w.deliver(t.Context()) // never fails
	if err := r.AfterStart(t.Context(), silent); err != nil {
		t.Fatalf("after start: %v", err)
	}
}

// agree is the invariant: store, databases and services have the same, nothing waits, nothing is lost.
func (w *world) agree(t *testing.T, hadOld bool) {
	t.Helper()
	for n, has := range map[secrets.Name]secrets.Value{pg: w.live, rd: w.restarted, key: w.delivered[key]} {
		current := w.slot(n, secrets.Current)
		if !current.Equal(has) || !current.Equal(w.delivered[n]) {
			t.Errorf("%s: store, database and services disagree", n)
		}
		if !w.slot(n, secrets.Pending).IsZero() {
			t.Errorf("%s: pending is left", n)
		}
		if hadOld && current.Equal(newValues()[n]) && !w.slot(n, secrets.Previous).Equal(val("old-"+string(n))) {
			t.Errorf("%s: the old value is lost", n)
		}
		if hadOld && !current.Equal(newValues()[n]) && !current.Equal(val("old-"+string(n))) {
			t.Errorf("%s: neither the old nor the new value is current", n)
		}
	}
}

func TestChange(t *testing.T) {
	w := newWorld(t, true)
	if err := w.rotator().Change(t.Context(), newValues(), silent); err != nil {
		t.Fatal(err)
	}
	w.agree(t, true)
	if !w.live.Equal(newValues()[pg]) {
		t.Error("the database has not taken the new password")
	}
}

// Every step of a change fails, before or after its effect, alone or for good.
func TestFailureAtEveryStep(t *testing.T) {
	for _, set := range []bool{true, false} {
		for _, crash := range []bool{true, false} {
			for _, after := range []bool{false, true} {
				total := 1
				for at := 1; at <= total; at++ {
					name := fmt.Sprintf("set=%v/crash=%v/after=%v/step=%d", set, crash, after, at)
					t.Run(name, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							w := newWorld(t, set)
							w.at, w.after, w.crash = at, after, crash
							err := w.rotator().Change(t.Context(), newValues(), silent)
							if w.steps >= at { // the fault was met: there may be a next step
								total = at + 1
							}
							if errors.Is(err, rotation.ErrRolledBack) && set {
								w.agree(t, true)
								if !w.live.Equal(val("old-" + string(pg))) {
									t.Error("rolled back, but the database has another password")
								}
							}
							w.restart(t)
							w.agree(t, set)
							w.restart(t)
							w.agree(t, set)
						})
					})
				}
				if set && total < 20 {
					t.Errorf("only %d steps were tried", total)
				}
			}
		}
	}
}

// Recovery itself is cut short at every step.
func TestCrashInRecovery(t *testing.T) {
	for at := 1; at < 40; at++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true)
			for n, v := range newValues() {
				if err := w.Put(t.Context(), n, secrets.Pending, v); err != nil {
					t.Fatal(err)
				}
			}
			w.live = newValues()[pg] // accepted, not promoted
			w.at, w.crash, w.after = at, true, at%2 == 0
			r := w.rotator()
			_ = r.BeforeDelivery(t.Context())     // cut short: fails or not
			_ = r.AfterStart(t.Context(), silent) // likewise
			w.restart(t)
			w.agree(t, true)
			if !w.live.Equal(newValues()[pg]) {
				t.Errorf("step %d: a change that the database had accepted is gone", at)
			}
		})
	}
}

func TestRollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		w.reject = true
		err := w.rotator().Change(t.Context(), newValues(), silent)
		if !errors.Is(err, rotation.ErrRolledBack) {
			t.Fatal(err)
		}
		w.agree(t, true)
		w.reject, w.quiet = false, true
		if err := w.rotator().Change(t.Context(), newValues(), silent); !errors.Is(err, rotation.ErrRolledBack) {
			t.Errorf("a database that is never ready: %v", err)
		}
		w.agree(t, true)
	})
	w := newWorld(t, true)
	bad := newValues()
	bad[pg] = val("two\nlines")
	if err := w.rotator().Change(t.Context(), bad, silent); !errors.Is(err, database.ErrUnfit) || hint.Of(err) == "" {
		t.Error(err)
	}
	w.agree(t, true)
}

// A store that cannot be written now holds what it held: nothing is left to finish.
func TestReadOnlyStore(t *testing.T) {
	w := newWorld(t, true)
	r := rotation.New(readOnly{w.Store}, func() []secrets.Requirement { return requirements },
		func(q secrets.Requirement) rotation.Database { return fakeDB{w, q.Rotate.Driver == "postgres"} }, w, slog.New(slog.DiscardHandler))
	if err := r.Change(t.Context(), newValues(), silent); !errors.Is(err, rotation.ErrRolledBack) {
		t.Error(err)
	}
	w.agree(t, true)
}

type readOnly struct{ secrets.Store }

func (readOnly) Put(context.Context, secrets.Name, secrets.Slot, secrets.Value) error {
	return errInjected
}
func (readOnly) Delete(context.Context, secrets.Name, secrets.Slot) error { return errInjected }

func TestOldVolume(t *testing.T) {
	w := newWorld(t, true)
	w.live = val("from an old volume")
	w.restart(t)
	w.agree(t, true)
}

func TestStage(t *testing.T) {
	w := newWorld(t, true)
	for i, want := range []secrets.Slot{secrets.Pending, secrets.Pending, secrets.Current} {
		got, err := rotation.Stage(t.Context(), w.Store, requirements[i], newValues()[requirements[i].Name])
		if err != nil || got != want {
			t.Errorf("%s: %v %v", requirements[i].Name, got, err)
		}
	}
	if got, err := rotation.Stage(t.Context(), w.Store, requirements[1], val("old-"+string(rd))); err != nil || got != secrets.Current {
		t.Error("the current value again:", got, err)
	}
	if !w.slot(rd, secrets.Pending).IsZero() || !w.slot(key, secrets.Previous).Equal(val("old-"+string(key))) {
		t.Error("pending is left, or previous lost")
	}
	w.restart(t)
	w.agree(t, true)
	if !w.live.Equal(newValues()[pg]) {
		t.Error("the staged password was not carried out")
	}
	empty := newWorld(t, false)
	if got, err := rotation.Stage(t.Context(), empty.Store, requirements[0], val("first")); err != nil || got != secrets.Current {
		t.Error("a first value:", got, err)
	}
}

func TestSecondChangeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		w.held = make(chan struct{})
		r := w.rotator()
		done := make(chan error, 1)
		go func() { done <- r.Change(t.Context(), newValues(), silent) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		steps := w.steps
		if err := r.Change(ctx, newValues(), silent); !errors.Is(err, context.DeadlineExceeded) || w.steps != steps {
			t.Errorf("the second change: %v after %d steps", err, w.steps-steps)
		}
		if err := r.Alone(ctx, func() error { t.Error("called beside a change"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("alone beside a change:", err)
		}
		close(w.held)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Alone(t.Context(), func() error { return errInjected }); !errors.Is(err, errInjected) {
			t.Error("alone:", err)
		}
	})
}
