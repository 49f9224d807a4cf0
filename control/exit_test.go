package control

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"minibot/hint"
	"minibot/secrets"
)

func TestExitCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{context.DeadlineExceeded, 1},
		{ErrVersion, 1},
		{fmt.Errorf("%w: no such flag", ErrUsage), 2},
		{secrets.ErrInvalidName, 2},
		{secrets.ErrEmptyValue, 2},
		{fmt.Errorf("get: %w", secrets.ErrNotFound), 3},
		{errors.Join(secrets.ErrLocked, ErrRolledBack), 4},
		{errors.Join(ErrRolledBack, ErrRecoveryPending), 5},
		{&Error{Code: CodeUnreachable}, 6},
		{fmt.Errorf("open: %w", secrets.ErrLocked), 7},
		{&Error{Code: CodeDenied}, 7},
		{&Error{Code: CodeNoStore}, 7},
		{&Error{Code: "of a newer daemon"}, 1},
		{hint.Wrap(context.Canceled, "x"), 130},
		{ErrInterrupted, 130},
		{errors.Join(context.Canceled, ErrRolledBack), 4},
		{AsError(context.Canceled), 1}, // something in the daemon was cancelled, not the person's command
	} {
		if got := ExitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestEveryCodeSurvivesTheWire(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range kinds {
		e := AsError(hint.Wrap(fmt.Errorf("outer: %w", k.sentinel), "do this"))
		if e.Code != k.code || !errors.Is(e, k.sentinel) || hint.Of(e) != "do this" || ExitCode(e) != k.exit || seen[k.code] {
			t.Errorf("%s: %+v", k.code, e)
		}
		if again := AsError(fmt.Errorf("more: %w", e)); again.Code != k.code || again.HintMsg != "do this" {
			t.Errorf("%s the second time: %+v", k.code, again)
		}
		seen[k.code] = true
	}
}
