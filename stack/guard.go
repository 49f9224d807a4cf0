package stack

import (
	"errors"
	"fmt"
	"runtime"
)

// errPanic is what becomes of a panic in the libraries that read compose files. A file that is `!reset` and nothing else
// brings compose-go 2.16.1 to one.
var errPanic = errors.New("the library of Compose cannot read it")

// guarded calls read and turns a panic in it into an error: no file may end the daemon. What the library panics with is
// left out unless it is the runtime's: it could quote the file.
func guarded[T any](read func() (T, error)) (result T, err error) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("%w: %w", errPanic, reason)
		default:
			err = errPanic
		}
	}()
	return read()
}
