package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

func fill(t testing.TB, s secrets.Store) {
	t.Helper()
	put(t, s, nameA, secrets.Current, "canary-a")
	put(t, s, nameA, secrets.Pending, "canary-pending")
}

// refuses checks that every operation fails with want and that nothing has changed when restore has run. Where
// attributes are readable, List and what is not there may answer as ever.
func refuses(ctx context.Context, t testing.TB, s secrets.Store, want error, attributesReadable bool, restore func()) {
	t.Helper()
	must := func(what string, err error, name secrets.Name) {
		t.Helper()
		mustBe(t, what, err, want, name)
		if person := errors.Is(want, secrets.ErrLocked) || errors.Is(want, secrets.ErrDenied); person && hint.Of(err) == "" {
			t.Errorf("%s: %v has no hint", what, err)
		}
	}
	mustAbsent := func(what string, err error) {
		t.Helper()
		if !attributesReadable || !errors.Is(err, secrets.ErrNotFound) {
			must(what, err, nameB)
		}
	}
	_, err := s.Get(ctx, nameA, secrets.Current)
	must("Get", err, nameA)
	_, err = s.Get(ctx, nameB, secrets.Current)
	mustAbsent("Get of what is not there", err)
	if attributesReadable {
		mustList(t, s, "STORETEST_A current", "STORETEST_A pending")
	} else {
		_, err = s.List(ctx)
		must("List", err, "")
	}
	must("Put", s.Put(ctx, nameA, secrets.Current, value(t, "canary-new")), nameA)
	must("Put of a new one", s.Put(ctx, nameB, secrets.Current, value(t, "canary-new")), nameB)
	must("Delete", s.Delete(ctx, nameA, secrets.Current), nameA)
	mustAbsent("Delete of what is not there", s.Delete(ctx, nameB, secrets.Current))
	must("Promote", secrets.Promote(ctx, s, nameA), nameA)
	restore()
	mustHold(t, s, nameA, secrets.Current, "canary-a")
	mustHold(t, s, nameA, secrets.Pending, "canary-pending")
	mustList(t, s, "STORETEST_A current", "STORETEST_A pending")
}

func checkContext(t testing.TB, h Harness) {
	fill(t, h.Store)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	refuses(cancelled, t, h.Store, context.Canceled, false, func() {})
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	refuses(expired, t, h.Store, context.DeadlineExceeded, false, func() {})
}

func checkLocked(t testing.TB, h Harness) {
	if h.Lock == nil {
		return
	}
	fill(t, h.Store)
	h.Lock(true)
	refuses(t.Context(), t, h.Store, secrets.ErrLocked, h.AttributesReadable, func() { h.Lock(false) })
}

func checkDenied(t testing.TB, h Harness) {
	if h.Deny == nil {
		return
	}
	fill(t, h.Store)
	h.Deny(true)
	refuses(t.Context(), t, h.Store, secrets.ErrDenied, h.AttributesReadable, func() { h.Deny(false) })
}

// How long a blocked call is let wait, and how late it may return at the most.
const (
	blockedFor   = 50 * time.Millisecond
	blockedSlack = 5 * time.Second
)

// whileBlocked makes one call that what lies beneath does not answer, until its context ends, and returns its error.
func whileBlocked(t testing.TB, what string, with func(context.Context) (context.Context, context.CancelFunc), call func(context.Context) error) error {
	t.Helper()
	ctx, cancel := with(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	late := time.NewTimer(blockedSlack)
	defer late.Stop()
	select {
	case err := <-done:
		if ctx.Err() == nil {
			t.Errorf("%s: answered %v before its context had ended", what, err)
		}
		return err
	case <-late.C:
		t.Fatalf("%s: still hangs %v after its context has ended", what, blockedSlack)
		return nil
	}
}

func checkBlocked(t testing.TB, h Harness) {
	if h.Block == nil {
		return
	}
	fill(t, h.Store)
	deadline := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, blockedFor)
	}
	h.Block(true)
	calls := []struct {
		what string
		call func(context.Context) error
	}{
		{"Get", func(ctx context.Context) error { _, err := h.Store.Get(ctx, nameA, secrets.Current); return err }},
		{"a second Get", func(ctx context.Context) error { _, err := h.Store.Get(ctx, nameA, secrets.Pending); return err }},
		{"Put", func(ctx context.Context) error {
			return h.Store.Put(ctx, nameA, secrets.Current, value(t, "canary-late"))
		}},
	}
	for _, c := range calls {
		err := whileBlocked(t, c.what, deadline, c.call)
		mustBe(t, c.what, err, secrets.ErrDenied, nameA)
		mustBe(t, c.what, err, context.DeadlineExceeded, nameA)
		if hint.Of(err) == "" {
			t.Errorf("%s: %v has no hint", c.what, err)
		}
	}
	h.Block(false)
	// What nobody waited for may happen now, but not after what is written from here on.
	put(t, h.Store, nameA, secrets.Current, "canary-after")
	mustHold(t, h.Store, nameA, secrets.Current, "canary-after")
	mustHold(t, h.Store, nameA, secrets.Pending, "canary-pending")
	mustList(t, h.Store, "STORETEST_A current", "STORETEST_A pending")
}

func checkBlockedCancel(t testing.TB, h Harness) {
	if h.Block == nil {
		return
	}
	fill(t, h.Store)
	h.Block(true)
	err := whileBlocked(t, "Get", func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(blockedFor, cancel)
		return ctx, cancel
	}, func(ctx context.Context) error { _, err := h.Store.Get(ctx, nameA, secrets.Current); return err })
	mustBe(t, "Get", err, context.Canceled, nameA)
	if errors.Is(err, secrets.ErrDenied) {
		t.Errorf("whoever leaves was not denied: %v", err)
	}
	h.Block(false)
	mustHold(t, h.Store, nameA, secrets.Current, "canary-a")
}
