package keychain

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"minibot/secrets"
)

// endsUnseen is a context whose deadline passes right after it was looked at first, and whose Done is never seen.
type endsUnseen struct {
	context.Context
	looks atomic.Int32
}

func (*endsUnseen) Deadline() (time.Time, bool) { return time.Time{}, true }

func (c *endsUnseen) Err() error {
	if c.looks.Add(1) == 1 {
		return nil
	}
	return context.DeadlineExceeded
}

// A call that stops by itself because its context has ended is late too, whichever of the two is seen first.
func TestCallStopsAtTheDeadline(t *testing.T) {
	ctx := &endsUnseen{Context: context.Background()}
	n, err := do(ctx, &Store{}, make(lane, 1), func(context.Context) (int, error) {
		t.Error("it begins after its deadline")
		return 1, nil
	})
	if n != 0 || !errors.Is(err, secrets.ErrDenied) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestTheCallersDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		slow := func(context.Context) (int, error) {
			<-time.After(time.Minute) // in the bubble's time
			return 1, nil
		}
		if n, err := do(ctx, &Store{timeout: time.Second}, make(lane, 1), slow); n != 1 || err != nil || time.Since(begin) != time.Minute {
			t.Errorf("got %d, %v after %v", n, err, time.Since(begin))
		}
	})
}
