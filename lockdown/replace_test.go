package lockdown

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"minibot/control"
	"minibot/secrets"
)

var errCut = errors.New("cut short")

// cutStore fails from a certain write on, as for a process that was killed there.
type cutStore struct {
	secrets.Store
	left int
}

func (c *cutStore) write() error {
	if c.left--; c.left < 0 {
		return errCut
	}
	return nil
}

func (c *cutStore) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	if err := c.write(); err != nil {
		return err
	}
	return c.Store.Put(ctx, name, slot, value)
}

func (c *cutStore) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if err := c.write(); err != nil {
		return err
	}
	return c.Store.Delete(ctx, name, slot)
}

func val(t *testing.T, text string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(text))
	must(t, err)
	return v
}

var required = []secrets.Requirement{
	{Name: "DB", Generate: &secrets.Recipe{Length: 24}, Rotate: secrets.Rotation{Driver: "postgres", Service: "pg"}},
	{Name: "KEY"},
	{Name: "TOKEN", Generate: &secrets.Recipe{Length: 24}},
}

// stocked is a store of all three with every slot set.
func stocked(t *testing.T) *secrets.Memory {
	t.Helper()
	store := secrets.NewMemory()
	for _, r := range required {
		for _, slot := range secrets.Slots {
			must(t, store.Put(t.Context(), r.Name, slot, val(t, fmt.Sprintf("canary-%s-%s-old", r.Name, slot))))
		}
	}
	return store
}

func slot(t *testing.T, store secrets.Store, name secrets.Name, slot secrets.Slot) string {
	t.Helper()
	item, err := store.Get(t.Context(), name, slot)
	if errors.Is(err, secrets.ErrNotFound) {
		return ""
	}
	must(t, err)
	return string(item.Value.Reveal())
}

func quiet(string) {}

// replaced checks that of a name only a new value is left.
func replaced(t *testing.T, store secrets.Store, name secrets.Name) {
	t.Helper()
	if got := slot(t, store, name, secrets.Current); got == "" || got == fmt.Sprintf("canary-%s-current-old", name) || got == fmt.Sprintf("canary-%s-pending-old", name) {
		t.Errorf("%s is %q", name, got)
	}
	for _, s := range []secrets.Slot{secrets.Pending, secrets.Previous} {
		if got := slot(t, store, name, s); got != "" {
			t.Errorf("the %s value of %s is %q", s, name, got)
		}
	}
}

var all = []secrets.Name{"DB", "KEY", "TOKEN"}

func TestCompromise(t *testing.T) {
	f, store := newFile(t), stocked(t)
	if err := f.Compromise(t.Context(), store, required, all, quiet); !errors.Is(err, ErrNone) {
		t.Errorf("without a lockdown: %v", err)
	}
	f.begin(t, "")
	if err := f.Compromise(t.Context(), store, required, []secrets.Name{"DB", "OTHER"}, quiet); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("with a name that is not declared: %v", err)
	}
	if slot(t, store, "DB", secrets.Current) != "canary-DB-current-old" {
		t.Error("a refused call changed something")
	}
	must(t, f.Compromise(t.Context(), store, required, all, quiet))
	replaced(t, store, "DB")
	replaced(t, store, "TOKEN")
	if got := slot(t, store, "KEY", secrets.Current); got != "canary-KEY-current-old" {
		t.Errorf("KEY, which only a person can replace, is %q", got)
	}
	if r := f.Read(); fmt.Sprint(r.Awaiting()) != "[KEY]" {
		t.Errorf("%+v", r)
	}
	db := slot(t, store, "DB", secrets.Current)
	must(t, f.Compromise(t.Context(), store, required, all, quiet))
	if slot(t, store, "DB", secrets.Current) != db {
		t.Error("what was replaced is replaced again")
	}
	key := required[1]
	for _, skipped := range []bool{false, true} {
		if skipped {
			must(t, f.Update(t.Context(), func(r *Record) error { return r.skip([]secrets.Name{"KEY"}) }))
		}
		if _, err := f.Set(t.Context(), store, key, val(t, "canary-KEY-current-old")); !errors.Is(err, ErrCompromised) {
			t.Errorf("the compromised value again: %v", err)
		}
	}
	if err := f.Refuse("KEY", val(t, "canary-KEY-current-old"), val(t, "canary-KEY-current-old")); !errors.Is(err, ErrCompromised) {
		t.Errorf("it is not refused beforehand: %v", err)
	}
	if _, err := f.Set(t.Context(), store, key, val(t, "canary-KEY-new")); err != nil {
		t.Error(err)
	}
	replaced(t, store, "KEY")
	if _, err := f.Set(t.Context(), store, key, val(t, "canary-KEY-new")); err != nil {
		t.Errorf("the new value a second time: %v", err)
	}
	must(t, f.Unlock(t.Context(), nil, false))
	must(t, f.Finish(t.Context(), store))
	must(t, f.End(t.Context()))
}

func TestSetOfWhatIsNotCompromised(t *testing.T) {
	f, store := newFile(t), stocked(t)
	f.begin(t, "")
	if _, err := f.Set(t.Context(), store, required[0], val(t, "canary-DB-new")); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[secrets.Slot]string{secrets.Current: "canary-DB-new", secrets.Pending: "", secrets.Previous: "canary-DB-current-old"} {
		if got := slot(t, store, "DB", s); got != want {
			t.Errorf("%s is %q, want %q", s, got, want)
		}
	}
	if _, err := f.Set(t.Context(), store, required[0], val(t, "canary-\n-unfit")); err == nil {
		t.Error("a value that Postgres cannot take is stored")
	}
}

// Cut short at any write, everything is done at the second attempt, and nothing new is taken for compromised.
func TestCompromiseIsRepeatable(t *testing.T) {
	for cut := 0; ; cut++ {
		f, store := newFile(t), stocked(t)
		f.begin(t, "")
		limited := &cutStore{store, cut}
		err := f.Compromise(t.Context(), limited, required, all, quiet)
		if err == nil {
			_, err = f.Set(t.Context(), limited, required[1], val(t, "canary-KEY-new"))
		}
		if err == nil {
			if cut < 10 {
				t.Fatalf("only %d writes", cut)
			}
			return
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if unlocked := f.Unlock(t.Context(), nil, false); unlocked == nil && len(f.Read().in(Replaced)) != 3 {
			t.Errorf("cut at %d: unlocked with %+v", cut, f.Read())
		}
		f.begin(t, "")
		must(t, f.Compromise(t.Context(), store, required, all, quiet))
		if _, err := f.Set(t.Context(), store, required[1], val(t, "canary-KEY-new")); err != nil {
			t.Errorf("cut at %d: the new value: %v", cut, err)
		}
		for _, name := range all {
			replaced(t, store, name)
		}
		must(t, f.Unlock(t.Context(), nil, false))
	}
}

// The record alone being cut off between its writes is the same as a cut in the store right after it.
func TestMarkIsCutOff(t *testing.T) {
	f, store := newFile(t), stocked(t)
	f.begin(t, "")
	must(t, f.Update(t.Context(), func(r *Record) error { r.list(all); return nil }))
	must(t, f.clear(t.Context(), store, "KEY"))
	must(t, store.Put(t.Context(), "KEY", secrets.Pending, val(t, "canary-KEY-new")))
	must(t, secrets.Promote(t.Context(), store, "KEY")) // killed here: the record says cleared
	if _, err := f.Set(t.Context(), store, required[1], val(t, "canary-KEY-new")); err != nil {
		t.Errorf("the value that is stored already: %v", err)
	}
	replaced(t, store, "KEY")
}

func TestChangedAfterASkip(t *testing.T) {
	f, store := newFile(t), stocked(t)
	f.begin(t, "")
	must(t, f.Compromise(t.Context(), store, required, []secrets.Name{"KEY"}, quiet))
	must(t, f.Unlock(t.Context(), []secrets.Name{"KEY"}, false))
	must(t, f.Finish(t.Context(), store))
	must(t, f.End(t.Context()))
	must(t, store.Put(t.Context(), "KEY", secrets.Pending, val(t, "canary-KEY-new")))
	must(t, secrets.Promote(t.Context(), store, "KEY"))
	if f.RefuseRollback("KEY", true) == nil {
		t.Error("a rollback to the compromised value is allowed")
	}
	if err := f.Changed(t.Context(), &cutStore{store, 0}, []secrets.Name{"KEY"}); !errors.Is(err, errCut) || f.RefuseRollback("KEY", true) == nil {
		t.Errorf("not erased, and yet forgotten: %v", err)
	}
	must(t, f.Changed(t.Context(), store, []secrets.Name{"KEY", "TOKEN"}))
	replaced(t, store, "KEY")
	if slot(t, store, "TOKEN", secrets.Previous) == "" {
		t.Error("the previous value of TOKEN is erased")
	}
	if err := f.RefuseRollback("KEY", true); err != nil {
		t.Errorf("a later previous value is refused: %v", err)
	}
	if err := f.Update(t.Context(), nil); !errors.Is(err, ErrNone) || errors.Is(err, control.ErrLockedDown) {
		t.Error(err)
	}
}
