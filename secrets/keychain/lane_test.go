package keychain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"minibot/secrets"
)

// A call that stops by itself when its context ends is late, whichever of the two is seen first.
func TestCallStopsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := make(lane, 1)
		stop := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 1, ctx.Err()
		}
		for range 100 {
			n, err := do(t.Context(), &Store{timeout: time.Second}, l, stop)
			if n != 0 || !errors.Is(err, secrets.ErrDenied) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %d, %v", n, err)
			}
		}
	})
}

func TestTheCallersDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		slow := func(context.Context) (int, error) {
			time.Sleep(time.Minute) // in the bubble's time
			return 1, nil
		}
		if n, err := do(ctx, &Store{timeout: time.Second}, make(lane, 1), slow); n != 1 || err != nil || time.Since(begin) != time.Minute {
			t.Errorf("got %d, %v after %v", n, err, time.Since(begin))
		}
	})
}
