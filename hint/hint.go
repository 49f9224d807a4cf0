// Package hint attaches to an error the advice that mends it: the command to type or the thing to look at.
//
// The advice travels beside the error's text, not in it, so that a log line stays short and a command line can
// print it on a line of its own. A hint never holds a secret.
package hint

import (
	"errors"
	"fmt"
)

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Wrap returns err with advice attached, or nil for a nil err. An inner hint is kept, but [Of] finds the outer one.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// Of returns the outermost hint in err's chain, or "" when there is none.
func Of(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}
