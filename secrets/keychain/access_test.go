//go:build secemu

package keychain_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/keychain"
	"minibot/secrets/keychain/internal/secemu"
)

var securityProgram = secemu.Identity{Application: "security", Partition: "apple-tool:"}

// operations calls every method that uses a value of an item.
func operations(ctx context.Context, t testing.TB, s secrets.Store) map[string]error {
	_, err := s.Get(ctx, name, secrets.Current)
	return map[string]error{
		"Get":    err,
		"Put":    s.Put(ctx, name, secrets.Current, value(t, canary)),
		"Delete": s.Delete(ctx, name, secrets.Current),
	}
}

func TestStatuses(t *testing.T) {
	for code, want := range map[int]error{
		-25300: secrets.ErrNotFound,
		-25308: secrets.ErrDenied, // the keychain itself is unlocked
		-25293: secrets.ErrDenied,
		-25243: secrets.ErrDenied,
		-25244: secrets.ErrDenied,
		-128:   secrets.ErrDenied,
		-34018: secrets.ErrDenied,
		-25291: secrets.ErrUnavailable,
		-25294: secrets.ErrUnavailable,
		-25295: secrets.ErrUnavailable,
		-25307: secrets.ErrUnavailable,
		-25299: nil, // at the end too
		-50:    nil,
		-26275: nil,
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			emulation(t)
			s := open(t, keychain.Options{Service: service})
			put(t, s, secrets.Current, canary)
			lift := secemu.Rule{Ops: secemu.Secret}.Fail(code)
			for what, err := range operations(t.Context(), t, s) {
				mustBe(t, what, err, want)
				if code != -25300 && !strings.Contains(err.Error(), fmt.Sprint(code)) {
					t.Errorf("%s: %v does not tell the number", what, err)
				}
			}
			lift()
			mustHold(t, s, secrets.Current, canary)
		})
	}
}

// An item that cannot be updated because it is not found, and not be made because it is there.
func TestItemInAKeychainThatIsNotSearched(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.Rule{Ops: secemu.Add}.Fail(-25299)
	err := s.Put(t.Context(), name, secrets.Current, value(t, canary))
	mustBe(t, "Put", err, nil)
	if !strings.Contains(hint.Of(err), "security list-keychains") {
		t.Errorf("hint %q", hint.Of(err))
	}
}

func TestNoKeychain(t *testing.T) {
	for _, code := range []int{-25291, -25294, -25295, -25307, -25308, -50} {
		emulation(t)
		s := open(t, keychain.Options{Service: service})
		put(t, s, secrets.Current, canary)
		lift := secemu.Rule{Ops: secemu.Status}.Fail(code)
		for what, err := range operations(t.Context(), t, s) {
			mustBe(t, what, err, secrets.ErrUnavailable)
		}
		_, err := s.List(t.Context())
		mustBe(t, "List", err, secrets.ErrUnavailable)
		_, err = keychain.Open(t.Context(), keychain.Options{})
		mustBe(t, "Open", err, secrets.ErrUnavailable)
		lift()
		mustHold(t, s, secrets.Current, canary)
	}
}

func TestListFails(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	put(t, s, secrets.Current, canary)
	for code, want := range map[int]error{-25291: secrets.ErrUnavailable, -25308: secrets.ErrDenied, -50: nil} {
		lift := secemu.Rule{Service: service + ".previous", Ops: secemu.List}.Fail(code)
		entries, err := s.List(t.Context())
		mustBe(t, "List", err, want)
		if entries != nil {
			t.Errorf("it lists a part: %v", entries)
		}
		lift()
	}
}

// A daemon polls a locked keychain: it must not throw a dialog at the user each time.
func TestLockedShowsNoDialog(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	put(t, s, secrets.Current, canary)
	before := secemu.Dialogs()
	for _, desktop := range []bool{true, false} {
		secemu.Desktop(desktop)
		secemu.Lock(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		for what, err := range operations(ctx, t, s) {
			mustBe(t, what, err, secrets.ErrLocked)
			if !strings.Contains(hint.Of(err), "security unlock-keychain") {
				t.Errorf("%s: hint %q", what, hint.Of(err))
			}
		}
		open(t, keychain.Options{Service: service})
		if entries, err := s.List(ctx); err != nil || len(entries) != 1 {
			t.Errorf("List while locked: %v, %v", entries, err)
		}
		cancel()
		secemu.Lock(false)
		mustHold(t, s, secrets.Current, canary)
	}
	if n := secemu.Dialogs() - before; n != 0 {
		t.Errorf("%d dialogs were shown", n)
	}
}

func TestUnlockDialogInTheMiddleIsRefused(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	put(t, s, secrets.Current, canary)
	secemu.Rule{Ops: secemu.Read, Once: true}.Lock()
	go func() {
		secemu.Await(1)
		secemu.Reply(secemu.Refuse)
	}()
	_, err := s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get", err, secrets.ErrLocked)
}

func TestLockedInTheMiddle(t *testing.T) {
	for _, op := range []secemu.Op{secemu.Read, secemu.Update, secemu.Delete} {
		emulation(t)
		s := open(t, keychain.Options{Service: service})
		put(t, s, secrets.Current, canary)
		secemu.Desktop(false)
		secemu.Rule{Ops: op, Once: true}.Lock()
		var err error
		switch op {
		case secemu.Read:
			_, err = s.Get(t.Context(), name, secrets.Current)
		case secemu.Update:
			err = s.Put(t.Context(), name, secrets.Current, value(t, canary))
		case secemu.Delete:
			err = s.Delete(t.Context(), name, secrets.Current)
		}
		mustBe(t, "the call", err, secrets.ErrLocked)
	}
}

// What the security program has written is another program's to this one: without a desktop it is denied, not locked.
func TestItemOfAnotherProgramWithoutADesktop(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.As(securityProgram)
	secemu.Put(service, string(name), canary)
	secemu.As(secemu.Minibot)
	secemu.Desktop(false)
	for what, err := range operations(t.Context(), t, s) {
		mustBe(t, what, err, secrets.ErrDenied)
		if !strings.Contains(hint.Of(err), "Keychain Access") {
			t.Errorf("%s: hint %q", what, hint.Of(err))
		}
	}
}

// A rebuilt ad-hoc program is in another partition.
func TestRebuiltProgramIsAnother(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.As(secemu.Identity{Application: "minibot", Partition: "cdhash:1"})
	put(t, s, secrets.Current, canary)
	mustHold(t, s, secrets.Current, canary)
	secemu.As(secemu.Identity{Application: "minibot", Partition: "cdhash:2"})
	secemu.Desktop(false)
	_, err := s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get", err, secrets.ErrDenied)
}

func TestDialogIsAnswered(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.As(securityProgram)
	secemu.Put(service, string(name), canary)
	secemu.As(secemu.Minibot)
	get := func(answer secemu.Answer) error {
		done := make(chan error, 1)
		go func() {
			item, err := s.Get(t.Context(), name, secrets.Current)
			if err == nil && string(item.Value.Reveal()) != canary {
				err = errors.New("another value")
			}
			done <- err
		}()
		secemu.Await(1)
		secemu.Reply(answer)
		return <-done
	}
	mustBe(t, "Get, refused", get(secemu.Refuse), secrets.ErrDenied)
	if err := get(secemu.Allow); err != nil {
		t.Errorf("Get, allowed: %v", err)
	}
	if err := get(secemu.Always); err != nil {
		t.Errorf("Get, always allowed: %v", err)
	}
	before := secemu.Dialogs()
	mustHold(t, s, secrets.Current, canary)
	if secemu.Dialogs() != before {
		t.Error("it asks again")
	}
}

// A write by either program takes the item from the other: the reason why a store's items have one writer.
func TestWriteTakesTheItem(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service})
	secemu.Desktop(false)
	put(t, s, secrets.Current, canary)
	secemu.As(securityProgram)
	secemu.Put(service, string(name), canary)
	secemu.As(secemu.Minibot)
	_, err := s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get after another program's write", err, secrets.ErrDenied)
	put(t, s, secrets.Current, canary)
	mustHold(t, s, secrets.Current, canary)
}

func TestDialogThatNobodyAnswers(t *testing.T) {
	emulation(t)
	s := open(t, keychain.Options{Service: service, Timeout: 30 * time.Millisecond})
	secemu.As(securityProgram)
	secemu.Put(service, string(name), canary)
	secemu.As(secemu.Minibot)
	_, err := s.Get(t.Context(), name, secrets.Current)
	mustBe(t, "Get", err, secrets.ErrDenied)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(hint.Of(err), "dialog") {
		t.Errorf("got %v, hint %q", err, hint.Of(err))
	}
	if entries, err := s.List(t.Context()); err != nil || len(entries) != 1 {
		t.Errorf("List while a dialog waits: %v, %v", entries, err)
	}
	_, err = s.Get(t.Context(), name, secrets.Pending)
	mustBe(t, "Get of another item while a dialog waits", err, secrets.ErrDenied)
	secemu.Reply(secemu.Always)
	keychain.Idle()
	mustHold(t, s, secrets.Current, canary)
}
