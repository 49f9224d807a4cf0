package control

import (
	"context"
	"errors"
)

// ExitCode returns the exit code of both programs for err: 0 done, 1 failed, 2 usage, 3 not found, 4 rolled back,
// 5 recovery pending, 6 daemon unreachable, 7 store locked, denied or missing, 130 interrupted. It looks at what err
// wraps, so an [Error] from the daemon and a store's own error give the same code. A cancelled context is an
// interruption only where nothing else is known: the state of the stack matters more than how the command ended.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	k := kindOfError(err)
	if k.code == CodeFailed && !errors.Is(err, errFailed) && errors.Is(err, context.Canceled) {
		return kindOf(CodeInterrupted).exit
	}
	return k.exit
}
