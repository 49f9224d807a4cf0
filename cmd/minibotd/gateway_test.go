package main

import (
	"errors"
	"slices"
	"testing"

	"minibot/secrets"
)

func TestTokensInOrder(t *testing.T) {
	memory := secrets.NewMemory()
	d := &daemon{store: newLateStore()}
	d.store.set(memory, nil)
	tokens := func() []string {
		t.Helper()
		values, err := d.slots(t.Context(), "TOKEN", secrets.Previous, secrets.Current, secrets.Pending)
		if err != nil {
			t.Fatal(err)
		}
		var plain []string
		for _, v := range values {
			plain = append(plain, string(v.Reveal()))
		}
		return plain
	}
	put := func(slot secrets.Slot, plain string) {
		t.Helper()
		value, err := secrets.NewValue([]byte(plain))
		if err == nil {
			err = memory.Put(t.Context(), "TOKEN", slot, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := tokens(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	put(secrets.Current, "canary-TOKEN-new")
	put(secrets.Previous, "canary-TOKEN-old")
	if got, want := tokens(), []string{"canary-TOKEN-old", "canary-TOKEN-new"}; !slices.Equal(got, want) {
		t.Errorf("after a change: %q", got)
	}
	put(secrets.Current, "canary-TOKEN-old")
	put(secrets.Pending, "canary-TOKEN-new")
	if got, want := tokens(), []string{"canary-TOKEN-old", "canary-TOKEN-new"}; !slices.Equal(got, want) {
		t.Errorf("after one that was taken back: %q", got)
	}
	d.store.set(nil, secrets.ErrLocked)
	if _, err := d.slots(t.Context(), "TOKEN", secrets.Previous); !errors.Is(err, secrets.ErrLocked) {
		t.Errorf("of a locked store: %v", err)
	}
}
