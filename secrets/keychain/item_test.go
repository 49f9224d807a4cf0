//go:build secemu

package keychain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/keychain"
	"minibot/secrets/keychain/internal/secemu"
)

const (
	name   secrets.Name = "CANARY_NAME"
	canary              = "canary-value-1f7a"
)

func value(t testing.TB, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t testing.TB, s secrets.Store, slot secrets.Slot, plain string) {
	t.Helper()
	if err := s.Put(t.Context(), name, slot, value(t, plain)); err != nil {
		t.Fatal(err)
	}
}

func mustHold(t testing.TB, s secrets.Store, slot secrets.Slot, plain string) {
	t.Helper()
	item, err := s.Get(t.Context(), name, slot)
	if err != nil || string(item.Value.Reveal()) != plain {
		t.Errorf("%v does not hold what it should: %v", slot, err)
	}
}

var sentinels = []error{secrets.ErrNotFound, secrets.ErrLocked, secrets.ErrDenied, secrets.ErrUnavailable, secrets.ErrDamaged, secrets.ErrEmptyValue, secrets.ErrNUL}

// mustBe checks that err wraps want (nil: none) and no other sentinel, has a hint unless it is ErrNotFound, and shows no value.
func mustBe(t testing.TB, what string, err, want error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: succeeded", what)
		return
	}
	for _, s := range sentinels {
		if errors.Is(err, s) != (s == want) {
			t.Errorf("%s: got %v, want %v and nothing else", what, err, want)
		}
	}
	if (hint.Of(err) == "") != (want == secrets.ErrNotFound) {
		t.Errorf("%s: %v has the hint %q", what, err, hint.Of(err))
	}
	if text := err.Error() + hint.Of(err); strings.Contains(text, "canary") || strings.Contains(text, "%!") {
		t.Errorf("%s: a bad text: %s", what, text)
	}
}

func TestOptions(t *testing.T) {
	emulation(t)
	for _, o := range []keychain.Options{{Service: "a\x00b"}, {Service: "\xff"}, {Timeout: -1}} {
		if s, err := keychain.Open(t.Context(), o); err == nil || s != nil {
			t.Errorf("%+v is taken", o)
		}
	}
	put(t, open(t, keychain.Options{}), secrets.Current, canary)
	mustHold(t, open(t, keychain.Options{Service: "minibot"}), secrets.Current, canary)
	if !keychain.Available {
		t.Error("the keychain is not available")
	}
}

// The service of a slot is part of what people type: security find-generic-password -s minibot -a NAME -w.
func TestServiceOfEachSlot(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	for _, slot := range secrets.Slots {
		put(t, s, slot, "canary-"+slot.String())
	}
	for _, slot := range secrets.Slots {
		mustHold(t, open(t, keychain.Options{Service: slot.Service(service)}), secrets.Current, "canary-"+slot.String())
	}
}

func TestItemsMadeByHand(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.Put(service, string(name), canary)
	mustHold(t, s, secrets.Current, canary)

	secemu.Put(service, string(name), "")
	_, err := s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get of an empty item", err, secrets.ErrEmptyValue)
	if got := hint.Of(err); got != "mb-secrets set CANARY_NAME" || !strings.Contains(err.Error(), string(name)) {
		t.Errorf("an empty item: %v, hint %q", err, got)
	}
	secemu.Put(service, string(name), "canary\x00x")
	_, err = s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get of a NUL byte", err, secrets.ErrNUL)
	put(t, s, secrets.Current, canary)
	mustHold(t, s, secrets.Current, canary)
}

func TestListLeavesOutWhatIsNotOurs(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	secemu.Clock(at)
	put(t, s, secrets.Previous, canary)
	put(t, s, secrets.Current, canary)
	secemu.Clock(at.Add(time.Hour))
	for _, account := range []string{"", "lower", "TWO WORDS", "Ä", "A-B", strings.Repeat("A", 65)} {
		secemu.Put(service, account, canary)
	}
	secemu.Put(service+".other", "CANARY_OTHER", canary)
	secemu.PutElsewhere(service, string(name), canary)
	entries, err := s.List(t.Context())
	want := []secrets.Entry{{Name: name, Slot: secrets.Current, Changed: at}, {Name: name, Slot: secrets.Previous, Changed: at}}
	if err != nil || len(entries) != 2 || entries[0] != want[0] || entries[1] != want[1] {
		t.Errorf("got %v, %v, want %v", entries, err, want)
	}
}

// To replace a value takes one step that happens or does not: nothing is deleted, nothing is added.
func TestReplaceInOneStep(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	put(t, s, secrets.Current, "canary-old")
	lift := secemu.Rule{Ops: secemu.Add | secemu.Delete}.Fail(-50)
	put(t, s, secrets.Current, canary)
	lift()
	lift = secemu.Rule{Ops: secemu.Update}.Fail(-50)
	mustBe(t, "Put", s.Put(t.Context(), name, secrets.Current, value(t, "canary-new")), nil)
	lift()
	mustHold(t, s, secrets.Current, canary)
}

// A write that another program's gets ahead of, between the look for the item and its making, is done all the same.
func TestAddedMeanwhile(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.Rule{Service: service, Account: string(name), Ops: secemu.Add, Once: true}.Rival()
	go func() { // the item is the other program's: to read it back asks
		secemu.Await(1)
		secemu.Reply(secemu.Always)
	}()
	put(t, s, secrets.Current, canary)
	mustHold(t, s, secrets.Current, canary)
}

func TestReadBack(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	try := func(what string, rule secemu.Rule, set func(secemu.Rule) func(), want error) {
		t.Helper()
		rule.Service, rule.Account = service, string(name)
		lift := set(rule)
		mustBe(t, what, s.Put(t.Context(), name, secrets.Current, value(t, canary)), want)
		lift()
	}
	fail := func(code int) func(secemu.Rule) func() {
		return func(r secemu.Rule) func() { return r.Fail(code) }
	}
	try("a new item that arrives damaged", secemu.Rule{Ops: secemu.Add}, secemu.Rule.Garble, secrets.ErrDamaged)
	try("an item that arrives damaged", secemu.Rule{Ops: secemu.Update}, secemu.Rule.Garble, secrets.ErrDamaged)
	try("an item that is gone at once", secemu.Rule{Ops: secemu.Read}, fail(-25300), secrets.ErrDamaged)
	try("an item that cannot be read back", secemu.Rule{Ops: secemu.Read}, fail(-25293), secrets.ErrDenied)
	put(t, s, secrets.Current, canary)
}
