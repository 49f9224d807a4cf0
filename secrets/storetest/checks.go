package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"minibot/secrets"
)

const (
	nameA secrets.Name = "STORETEST_A"
	nameB secrets.Name = "STORETEST_B"
)

func value(t testing.TB, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t testing.TB, s secrets.Store, name secrets.Name, slot secrets.Slot, plain string) {
	t.Helper()
	if err := s.Put(t.Context(), name, slot, value(t, plain)); err != nil {
		t.Fatalf("Put %s (%v): %v", name, slot, err)
	}
}

// mustHold checks one slot; "" means that it is empty.
func mustHold(t testing.TB, s secrets.Store, name secrets.Name, slot secrets.Slot, want string) {
	t.Helper()
	item, err := s.Get(t.Context(), name, slot)
	switch {
	case want == "" && !errors.Is(err, secrets.ErrNotFound):
		t.Fatalf("Get %s (%v): got %v, want ErrNotFound", name, slot, err)
	case want != "" && err != nil:
		t.Fatalf("Get %s (%v): %v", name, slot, err)
	case want != string(item.Value.Reveal()):
		t.Fatalf("%s (%v) does not hold what it should", name, slot)
	}
}

// mustList checks List against lines of "NAME slot".
func mustList(t testing.TB, s secrets.Store, want ...string) {
	t.Helper()
	entries, err := s.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %v", e.Name, e.Slot))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List: got %q, want %q", got, want)
	}
}

func mustBe(t testing.TB, what string, err, want error, name secrets.Name) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
	if name != "" && !strings.Contains(err.Error(), string(name)) {
		t.Errorf("%s: %q does not name the secret", what, err)
	}
}

func checkRoundTrip(t testing.TB, h Harness) {
	same := func(plain []byte) bool {
		v, err := secrets.NewValue(plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Store.Put(t.Context(), nameA, secrets.Current, v); err != nil {
			t.Fatalf("Put: %v", err)
		}
		item, err := h.Store.Get(t.Context(), nameA, secrets.Current)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		return bytes.Equal(item.Value.Reveal(), plain)
	}
	for _, plain := range []string{
		"x", " ", "\n", "a\n", "a\r\n", " a ", "-", "--flag", "$HOME ${X} $(id) `id`", `"q" 'q' \ \n`, "ä€😀", "\xff\xfe", "0x6869", "a\tb\x01\x1b\x7f",
		strings.Repeat("x", 4096), strings.Repeat("0123456789abcdef", secrets.MaxValueSize/16), strings.Repeat("\xff", secrets.MaxValueSize),
	} {
		if !same([]byte(plain)) {
			t.Errorf("a value of %d bytes came back as another one", len(plain))
		}
	}
	arbitrary := func(seed int64) bool {
		random := rand.New(rand.NewSource(seed))
		plain := make([]byte, 1+random.Intn(1<<random.Intn(17)))
		for i := range plain {
			plain[i] = byte(1 + random.Intn(255))
		}
		return same(plain)
	}
	if err := quick.Check(arbitrary, &quick.Config{MaxCount: 30}); err != nil {
		t.Error(err)
	}
}

func checkUpdate(t testing.TB, h Harness) {
	put(t, h.Store, nameA, secrets.Current, "first, and longer")
	put(t, h.Store, nameA, secrets.Current, "second")
	mustHold(t, h.Store, nameA, secrets.Current, "second")
	mustList(t, h.Store, "STORETEST_A current")
}

// checkNoGap reads a secret while it is replaced: a store that deletes before it adds shows a gap, and loses the secret
// to a crash in it.
func checkNoGap(t testing.TB, h Harness) {
	put(t, h.Store, nameA, secrets.Current, "canary-0")
	ctx, done := t.Context(), make(chan struct{})
	go func() {
		defer close(done)
		for i := range 10 {
			v, err := secrets.NewValue(fmt.Appendf(nil, "canary-%d", i+1))
			if err == nil {
				err = h.Store.Put(ctx, nameA, secrets.Current, v)
			}
			if err != nil {
				t.Errorf("Put: %v", err)
			}
		}
	}()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		if _, err := h.Store.Get(ctx, nameA, secrets.Current); err != nil {
			t.Errorf("Get while it is replaced: %v", err)
			break
		}
	}
	<-done
	mustHold(t, h.Store, nameA, secrets.Current, "canary-10")
}

func checkNotFound(t testing.TB, h Harness) {
	for _, slot := range secrets.Slots {
		mustHold(t, h.Store, nameA, slot, "")
		mustBe(t, "Delete of what is not there", h.Store.Delete(t.Context(), nameA, slot), secrets.ErrNotFound, nameA)
	}
	_, err := h.Store.Get(t.Context(), nameA, secrets.Current)
	mustBe(t, "Get of what is not there", err, secrets.ErrNotFound, nameA)
	mustList(t, h.Store)
}

func checkDelete(t testing.TB, h Harness) {
	put(t, h.Store, nameA, secrets.Current, "canary-a")
	put(t, h.Store, nameB, secrets.Current, "canary-b")
	if err := h.Store.Delete(t.Context(), nameA, secrets.Current); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	mustHold(t, h.Store, nameA, secrets.Current, "")
	mustHold(t, h.Store, nameB, secrets.Current, "canary-b")
	mustBe(t, "second Delete", h.Store.Delete(t.Context(), nameA, secrets.Current), secrets.ErrNotFound, nameA)
	mustList(t, h.Store, "STORETEST_B current")
}

func checkList(t testing.TB, h Harness) {
	for _, name := range []secrets.Name{"STORETEST_B", "STORETEST_A1", "STORETEST_A_", "STORETEST_A"} {
		put(t, h.Store, name, secrets.Previous, "canary-previous")
		put(t, h.Store, name, secrets.Current, "canary-current")
	}
	put(t, h.Store, "STORETEST_C", secrets.Pending, "canary-pending")
	mustList(t, h.Store,
		"STORETEST_A current", "STORETEST_A previous", "STORETEST_A1 current", "STORETEST_A1 previous",
		"STORETEST_A_ current", "STORETEST_A_ previous", "STORETEST_B current", "STORETEST_B previous", "STORETEST_C pending")
}

func checkSlots(t testing.TB, h Harness) {
	s := h.Store
	for _, slot := range secrets.Slots {
		put(t, s, nameA, slot, "canary-"+slot.String())
	}
	put(t, s, nameA, secrets.Pending, "canary-new")
	mustHold(t, s, nameA, secrets.Current, "canary-current")
	mustHold(t, s, nameA, secrets.Previous, "canary-previous")
	for i, slot := range secrets.Slots {
		if err := s.Delete(t.Context(), nameA, slot); err != nil {
			t.Fatalf("Delete %v: %v", slot, err)
		}
		mustHold(t, s, nameA, slot, "")
		entries, err := s.List(t.Context())
		if err != nil || len(entries) != len(secrets.Slots)-1-i {
			t.Fatalf("List after deleting %v: %d entries, %v", slot, len(entries), err)
		}
	}
}

func checkDates(t testing.TB, h Harness) {
	changed := func() time.Time {
		t.Helper()
		item, err := h.Store.Get(t.Context(), nameA, secrets.Current)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		entries, err := h.Store.List(t.Context())
		if err != nil || len(entries) == 0 {
			t.Fatalf("List: %d entries, %v", len(entries), err)
		}
		if !entries[0].Changed.Equal(item.Changed) {
			t.Errorf("List says %v, Get %v", entries[0].Changed, item.Changed)
		}
		if item.Changed.Location() != time.UTC || entries[0].Changed.Location() != time.UTC {
			t.Errorf("%v is not in UTC", item.Changed)
		}
		return item.Changed
	}
	var last time.Time
	for i := range 3 {
		before := time.Now().Truncate(time.Second)
		put(t, h.Store, nameA, secrets.Current, fmt.Sprint("canary-", i))
		after := time.Now()
		at := changed()
		if at.Before(before) || at.After(after) {
			t.Errorf("changed at %v, but put between %v and %v", at, before, after)
		}
		if at.Before(last) {
			t.Errorf("changed at %v, before the put at %v", at, last)
		}
		last = at
	}
	put(t, h.Store, nameA, secrets.Previous, "canary")
	put(t, h.Store, nameB, secrets.Current, "canary")
	if at := changed(); !at.Equal(last) {
		t.Errorf("the date changed from %v to %v without a Put to the slot", last, at)
	}
}

// checkClock moves the clock beneath the store: the date is that of the last Put, not of the first.
func checkClock(t testing.TB, h Harness) {
	if h.SetClock == nil {
		return
	}
	first := time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC) // an hour that local time may not have
	for i := range 3 {
		at := first.Add(time.Duration(i) * 100 * time.Minute)
		h.SetClock(at)
		put(t, h.Store, nameA, secrets.Current, fmt.Sprint("canary-", i))
		item, err := h.Store.Get(t.Context(), nameA, secrets.Current)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		entries, err := h.Store.List(t.Context())
		if err != nil || len(entries) != 1 {
			t.Fatalf("List: %d entries, %v", len(entries), err)
		}
		if !item.Changed.Equal(at) || !entries[0].Changed.Equal(at) {
			t.Errorf("put at %v, but Get says %v and List %v", at, item.Changed, entries[0].Changed)
		}
	}
}

func checkListReads(t testing.TB, h Harness) {
	if h.Reads == nil {
		return
	}
	fill(t, h.Store)
	before := h.Reads()
	mustList(t, h.Store, "STORETEST_A current", "STORETEST_A pending")
	if n := h.Reads() - before; n > 0 {
		t.Errorf("List read %d values", n)
	}
	mustHold(t, h.Store, nameA, secrets.Current, "canary-a")
	if h.Reads() == before {
		t.Error("Get read no value, or reads are not counted")
	}
}

func checkBadInput(t testing.TB, h Harness) {
	s, ctx := h.Store, t.Context()
	put(t, s, nameA, secrets.Current, "canary-a")
	for _, name := range []secrets.Name{"", "lower", "A B", "A/B", "A\x00", "STORETEST_A\n", secrets.Name(strings.Repeat("A", 65))} {
		_, err := s.Get(ctx, name, secrets.Current)
		mustBe(t, "Get of a bad name", err, secrets.ErrInvalidName, "")
		mustBe(t, "Put of a bad name", s.Put(ctx, name, secrets.Current, value(t, "x")), secrets.ErrInvalidName, "")
		mustBe(t, "Delete of a bad name", s.Delete(ctx, name, secrets.Current), secrets.ErrInvalidName, "")
	}
	bad := secrets.Slot(len(secrets.Slots))
	if _, err := s.Get(ctx, nameA, bad); err == nil {
		t.Error("Get of a slot that does not exist succeeds")
	}
	if s.Put(ctx, nameA, bad, value(t, "x")) == nil || s.Delete(ctx, nameA, bad) == nil {
		t.Error("Put or Delete of a slot that does not exist succeeds")
	}
	mustBe(t, "Put of no value", s.Put(ctx, nameA, secrets.Current, secrets.Value{}), secrets.ErrEmptyValue, nameA)
	mustHold(t, s, nameA, secrets.Current, "canary-a")
	mustList(t, s, "STORETEST_A current")
}

func checkConcurrent(t testing.TB, h Harness) {
	const workers, rounds = 4, 5
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			own := secrets.Name(fmt.Sprintf("STORETEST_OWN%d", w))
			for i := range rounds {
				v, err := secrets.NewValue(fmt.Appendf(nil, "canary-%d-%d", w, i))
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(h.Store.Put(ctx, own, secrets.Current, v), h.Store.Put(ctx, nameA, secrets.Current, v)); err != nil {
					t.Errorf("Put: %v", err)
				}
				if item, err := h.Store.Get(ctx, own, secrets.Current); err != nil || !item.Value.Equal(v) {
					t.Errorf("a worker does not read what it has written: %v", err)
				}
				if _, err := h.Store.List(ctx); err != nil {
					t.Errorf("List: %v", err)
				}
			}
		})
	}
	wg.Wait()
	mustList(t, h.Store, "STORETEST_A current", "STORETEST_OWN0 current", "STORETEST_OWN1 current", "STORETEST_OWN2 current", "STORETEST_OWN3 current")
}

func checkReopen(t testing.TB, h Harness) {
	if h.Reopen == nil {
		return
	}
	fill(t, h.Store)
	before, err := h.Store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := h.Reopen()
	after, err := other.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(before, after, func(a, b secrets.Entry) bool {
		return a.Name == b.Name && a.Slot == b.Slot && a.Changed.Equal(b.Changed)
	}) {
		t.Errorf("before %v, after %v", before, after)
	}
	mustHold(t, other, nameA, secrets.Pending, "canary-pending")
	// What one writes, the other sees, and neither overwrites the other's.
	put(t, other, nameB, secrets.Current, "canary-b")
	mustHold(t, h.Store, nameB, secrets.Current, "canary-b")
	put(t, h.Store, nameA, secrets.Current, "canary-new")
	mustHold(t, other, nameA, secrets.Current, "canary-new")
	mustHold(t, other, nameB, secrets.Current, "canary-b")
}
