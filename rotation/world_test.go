package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

var errInjected = errors.New("injected")

// world is a store, databases and services that keep their state when the Rotator dies. Each secret is named after the
// kind of its database and read by one service of that name.
type world struct {
	t       *testing.T
	store   *secrets.Memory
	journal string
	kinds   []databasetest.Kind
	dbs     map[secrets.Name]*databasetest.Fake

	delivered   map[secrets.Name]secrets.Value
	taken       map[secrets.Name]secrets.Value
	sick        map[secrets.Name]secrets.Value // a user does not get well with this value
	silent      []string
	overwritten bool // somebody overwrote what was current, so that only this process knew it
	down        bool // no database gets ready

	ops, failAt int    // operations so far; the one that fails, 0 for none
	failing     string // operations that fail as long as it is set
	after       bool   // it fails after its effect
	delays      *rand.Rand

	points map[rotation.Point]int // how often each was passed
	dieAt  rotation.Point
	dieOn  int // the passage at which it dies; 0 never
	notes  []rotation.Note

	wrap func(rotation.Database) rotation.Database
}

const plain secrets.Name = "PLAIN_KEY"

func nameOf(kind databasetest.Kind) secrets.Name {
	return secrets.Name("S_" + map[databasetest.Kind]string{"single": "SINGLE", "overlap": "OVERLAP", "roles": "ROLES", "plain": "PLAIN", "reload": "RELOAD"}[kind])
}

func userOf(name secrets.Name) secrets.Name { return name + "_USER" }

func val(s string) secrets.Value {
	v, err := secrets.NewValue([]byte(s))
	if err != nil {
		panic(err)
	}
	return v
}

func oldOf(name secrets.Name) secrets.Value { return val("canary-old-" + string(name)) }
func newOf(name secrets.Name) secrets.Value { return val("canary-new-" + string(name)) }

// newWorld is a stack at rest with secrets of these kinds and a plain one.
func newWorld(t *testing.T, kinds ...databasetest.Kind) *world {
	t.Helper()
	dir := "/dev/shm" // syncing costs nothing there
	if _, err := os.Stat(dir); err != nil {
		dir = ""
	}
	dir, err := os.MkdirTemp(dir, "rotation-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of this test alone
	w := &world{
		t: t, store: secrets.NewMemory(), journal: filepath.Join(dir, "journal"), kinds: kinds, dbs: map[secrets.Name]*databasetest.Fake{},
		delivered: map[secrets.Name]secrets.Value{}, taken: map[secrets.Name]secrets.Value{}, sick: map[secrets.Name]secrets.Value{},
		points: map[rotation.Point]int{}, wrap: func(db rotation.Database) rotation.Database { return db },
	}
	for _, kind := range kinds {
		name := nameOf(kind)
		first := database.Credential{Password: oldOf(name)}
		if kind == databasetest.Roles {
			first.User = databasetest.UserA
			w.put(userOf(name), secrets.Current, val(first.User))
		}
		db := databasetest.NewFake(kind, first)
		db.Before = func(op string) error { return w.op("db "+op, false) }
		db.After = func(op string) error { return w.op("db "+op, true) }
		w.dbs[name] = db
		w.put(name, secrets.Current, oldOf(name))
		w.put(name, secrets.Previous, val("canary-older"))
	}
	w.put(plain, secrets.Current, oldOf(plain))
	w.deliver()
	w.take()
	return w
}

func (w *world) names() []secrets.Name {
	all := []secrets.Name{plain}
	for _, kind := range w.kinds {
		all = append(all, nameOf(kind))
	}
	return all
}

func (w *world) put(n secrets.Name, slot secrets.Slot, v secrets.Value) {
	w.t.Helper()
	if err := w.store.Put(context.Background(), n, slot, v); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) slot(n secrets.Name, s secrets.Slot) secrets.Value {
	item, _ := w.store.Get(context.Background(), n, s) // zero when empty
	return item.Value
}

// op counts one operation, may take its time, and may fail.
func (w *world) op(name string, after bool) error {
	if after == w.after {
		w.ops++
	}
	if w.delays != nil {
		<-time.After(time.Duration(w.delays.IntN(3000)) * time.Millisecond) // of the bubble's clock
	}
	if after == w.after && (w.ops == w.failAt || w.failing != "" && name == w.failing) {
		return fmt.Errorf("%s: %w", name, errInjected)
	}
	return nil
}

// at is the Rotator's hook.
func (w *world) at(p rotation.Point) {
	w.points[p]++
	if p == w.dieAt && w.points[p] == w.dieOn {
		panic(p)
	}
}

// deliver brings what the store holds.
func (w *world) deliver() {
	for _, n := range w.names() {
		w.delivered[n] = w.slot(n, secrets.Current)
		w.delivered[userOf(n)] = w.slot(userOf(n), secrets.Current)
	}
}

// take has the services take what is delivered.
func (w *world) take() {
	for _, n := range w.names() {
		w.taken[n] = w.delivered[n]
		if db := w.dbs[n]; db != nil && db.Kind == databasetest.Reload {
			db.Restart(database.Credential{Password: w.delivered[n]})
		}
	}
}

// faulty is the store with faults; it embeds the interface, so that promotion goes step by step.
type faulty struct {
	secrets.Store

	w *world
}

func (s faulty) do(op string, f func() error) error {
	if err := s.w.op(op, false); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return s.w.op(op, true)
}

func (s faulty) Get(ctx context.Context, n secrets.Name, slot secrets.Slot) (item secrets.Item, err error) {
	err = s.do("store get", func() error { item, err = s.Store.Get(ctx, n, slot); return err })
	return item, err
}

func (s faulty) Put(ctx context.Context, n secrets.Name, slot secrets.Slot, v secrets.Value) error {
	return s.do("store put", func() error { return s.Store.Put(ctx, n, slot, v) })
}

func (s faulty) Delete(ctx context.Context, n secrets.Name, slot secrets.Slot) error {
	return s.do("store delete", func() error { return s.Store.Delete(ctx, n, slot) })
}

func (w *world) Await(ctx context.Context, service string) error {
	if w.down {
		<-ctx.Done()
		return fmt.Errorf("service %s did not get healthy", service)
	}
	return w.op("await", false)
}

// Prepare makes a delivery ready.
func (w *world) Prepare(_ context.Context, values map[secrets.Name]secrets.Value) (database.Switch, error) {
	return delivery{w, values}, w.op("deliver", false)
}

type delivery struct {
	w      *world
	values map[secrets.Name]secrets.Value
}

func (d delivery) Abort() {}
func (d delivery) Commit(context.Context) error {
	if err := d.w.op("rename", false); err != nil {
		return err
	}
	for n, v := range d.values {
		d.w.delivered[n] = v
	}
	return d.w.op("rename", true)
}

// Adopt restarts the users.
func (w *world) Adopt(context.Context, []secrets.Name, rotation.Report) error {
	if err := w.op("adopt", false); err != nil {
		return err
	}
	w.take()
	for n, bad := range w.sick {
		if w.taken[n].Equal(bad) {
			return errors.New("its user does not get healthy")
		}
	}
	return w.op("adopt", true)
}

func (w *world) Silent(secrets.Name) []string { return w.silent }

// Restart starts a database with what is delivered.
func (w *world) Restart(_ context.Context, service string) error {
	n := secrets.Name(service)
	w.dbs[n].Restart(database.Credential{User: w.user(n), Password: w.delivered[n]})
	return w.op("restart", true)
}

func (w *world) user(n secrets.Name) string { return string(w.delivered[userOf(n)].Reveal()) }

func (w *world) requirements() []secrets.Requirement {
	all := []secrets.Requirement{{Name: plain}}
	for _, kind := range w.kinds {
		n := nameOf(kind)
		req := secrets.Requirement{Name: n, Rotate: secrets.Rotation{Driver: string(kind), Service: string(n)}}
		if kind == databasetest.Roles {
			req.Rotate.Roles, req.Rotate.UserName = []string{databasetest.UserA, databasetest.UserB}, userOf(n)
			all = append(all, secrets.Requirement{Name: userOf(n)})
		}
		all = append(all, req)
	}
	return all
}

// rotator is that of a new process.
func (w *world) rotator() *rotation.Rotator {
	w.t.Helper()
	journal, err := rotation.OpenJournal(w.journal)
	if err != nil {
		w.t.Fatal(err)
	}
	r := rotation.New(faulty{w.store, w}, journal, w.requirements, func(q secrets.Requirement) rotation.Database {
		if db := w.dbs[q.Name]; db.Kind == databasetest.Single {
			return w.wrap(databasetest.Preparing{Fake: db})
		}
		return w.wrap(w.dbs[q.Name])
	}, w, slog.New(slog.DiscardHandler))
	r.At = w.at
	return r
}

func (w *world) note(n rotation.Note) { w.notes = append(w.notes, n) }

// change sets new values of all secrets. It reports the error, or that the process died.
func (w *world) change() (died bool, err error) {
	values := map[secrets.Name]secrets.Value{}
	for _, n := range w.names() {
		values[n] = newOf(n)
	}
	return w.run(func(r *rotation.Rotator) error {
		return r.Change(w.t.Context(), rotation.Order{Kind: rotation.KindSet, By: "a test", Values: values}, w.note)
	})
}

// run lets a new process do something, and sees it die.
func (w *world) run(f func(*rotation.Rotator) error) (died bool, err error) {
	r := w.rotator()
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(rotation.Point); !ours {
				panic(p)
			}
			died = true
			for _, db := range w.dbs {
				db.Crash()
			}
		}
	}()
	return false, f(r)
}

// restart is a new daemon on the same world: it delivers, starts the services and finishes.
func (w *world) restart() (died bool, err error) {
	return w.run(func(r *rotation.Rotator) error {
		if err := r.BeforeDelivery(w.t.Context()); err != nil {
			return err
		}
		w.deliver()
		w.take()
		return r.AfterStart(w.t.Context(), w.note)
	})
}
