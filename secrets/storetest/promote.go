package storetest

import (
	"context"
	"errors"
	"testing"

	"minibot/secrets"
)

// promotions lists what the slots hold before and after, as current, pending, previous.
var promotions = []struct {
	name          string
	before, after [3]string
}{
	{"a change", [3]string{"canary-c", "canary-n", "canary-p"}, [3]string{"canary-n", "", "canary-c"}},
	{"the first change", [3]string{"canary-c", "canary-n", ""}, [3]string{"canary-n", "", "canary-c"}},
	{"the first value", [3]string{"", "canary-n", ""}, [3]string{"canary-n", "", ""}},
	{"nothing current", [3]string{"", "canary-n", "canary-p"}, [3]string{"canary-n", "", "canary-p"}},
	{"nothing pending", [3]string{"canary-c", "", "canary-p"}, [3]string{"canary-c", "", "canary-p"}},
	{"the same value", [3]string{"canary-c", "canary-c", "canary-p"}, [3]string{"canary-c", "", "canary-p"}},
	{"back to the previous one", [3]string{"canary-c", "canary-p", "canary-p"}, [3]string{"canary-p", "", "canary-c"}},
}

func arrange(t testing.TB, s secrets.Store, hold [3]string) {
	t.Helper()
	for _, slot := range secrets.Slots {
		if err := s.Delete(t.Context(), nameA, slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
			t.Fatalf("Delete: %v", err)
		}
		if hold[slot] != "" {
			put(t, s, nameA, slot, hold[slot])
		}
	}
}

func checkPromote(t testing.TB, h Harness) {
	for _, variant := range []secrets.Store{h.Store, plainStore{h.Store}} {
		for _, p := range promotions {
			arrange(t, variant, p.before)
			for range 2 { // the second time it has nothing to do
				if err := secrets.Promote(t.Context(), variant, nameA); err != nil {
					t.Fatalf("%s: %v", p.name, err)
				}
				for _, slot := range secrets.Slots {
					mustHold(t, h.Store, nameA, slot, p.after[slot])
				}
			}
		}
		arrange(t, variant, [3]string{"", "", "canary-p"})
		mustBe(t, "Promote of nothing", secrets.Promote(t.Context(), variant, nameA), secrets.ErrNotFound, nameA)
		mustHold(t, h.Store, nameA, secrets.Previous, "canary-p")
	}
}

// checkPromoteKilled ends a step-by-step Promote after each number of writes, and does it again.
func checkPromoteKilled(t testing.TB, h Harness) {
	for _, p := range promotions {
		for writes := range 3 {
			arrange(t, h.Store, p.before)
			killed := &dyingStore{plainStore{h.Store}, writes}
			if err := secrets.Promote(t.Context(), killed, nameA); err != nil && !errors.Is(err, errDied) {
				t.Fatalf("%s, killed after %d writes: %v", p.name, writes, err)
			}
			if err := secrets.Promote(t.Context(), plainStore{h.Store}, nameA); err != nil {
				t.Fatalf("%s, after a kill after %d writes: %v", p.name, writes, err)
			}
			for _, slot := range secrets.Slots {
				mustHold(t, h.Store, nameA, slot, p.after[slot])
			}
		}
	}
}

// plainStore hides that a store can promote atomically.
type plainStore struct{ secrets.Store }

var errDied = errors.New("died")

// dyingStore does so many writes and no more.
type dyingStore struct {
	secrets.Store
	writes int
}

func (s *dyingStore) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	if s.writes--; s.writes < 0 {
		return errDied
	}
	return s.Store.Put(ctx, name, slot, value)
}

func (s *dyingStore) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	if s.writes--; s.writes < 0 {
		return errDied
	}
	return s.Store.Delete(ctx, name, slot)
}
