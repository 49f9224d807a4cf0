package keychain

import (
	"context"
	"errors"
	"fmt"

	"minibot/hint"
	"minibot/secrets"
)

// lane lets one call at a time through to the keychain, whichever Store of the process makes it. A call that nobody waits for any more
// holds it until the keychain has answered.
type lane chan struct{}

// Attributes are read without a dialog, so that they need not wait for a call that may have one.
var (
	valueLane     = make(lane, 1)
	attributeLane = make(lane, 1)
)

// do runs call on a goroutine of its own and returns what it answers, or, when the deadline of ctx or the Store's timeout comes
// first, an error that wraps [secrets.ErrDenied] and [context.DeadlineExceeded]. What call answers then is dropped. A
// call that has not begun by then never does.
func do[T any](ctx context.Context, s *Store, l lane, call func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return none, overdue(ctx.Err(), "an earlier call still waits for an answer of the keychain")
	}
	type answer struct {
		result T
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		defer func() { <-l }()
		err := ctx.Err()
		var result T
		if err == nil {
			result, err = call(ctx)
		}
		answered <- answer{result, err}
	}()
	select {
	case a := <-answered:
		if ctx.Err() != nil && errors.Is(a.err, ctx.Err()) {
			break // it has stopped between two steps
		}
		return a.result, a.err
	case <-ctx.Done():
	}
	return none, overdue(ctx.Err(), "the keychain has not answered")
}

// overdue is the error of a call whose context ended while it waited.
func overdue(err error, what string) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return hint.Wrap(fmt.Errorf("%w: %s: %w", secrets.ErrDenied, what, err),
		"a dialog may wait on the Mac's screen: answer it there with Always Allow, then try again")
}
