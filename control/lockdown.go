package control

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"minibot/secrets"
)

// maxReason bounds the reason of a lockdown, in bytes.
const maxReason = 500

// CheckReason says what is wrong with the reason of a lockdown, wrapping ErrUsage.
func CheckReason(reason string) error {
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return fmt.Errorf("%w: a reason has up to %d bytes of text", ErrUsage, maxReason)
	}
	for _, r := range reason {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w: a reason is one line of text", ErrUsage)
		}
	}
	return nil
}

// checkLockdown is check for the verbs about a lockdown.
func (op Operation) checkLockdown() error {
	switch {
	case op.Service != "":
		return fmt.Errorf("%w: %s takes no service", ErrUsage, op.Verb)
	case op.Verb != VerbLockdown && op.Reason != "":
		return fmt.Errorf("%w: %s takes no reason", ErrUsage, op.Verb)
	case op.Verb == VerbLockdown && (len(op.Names) > 0 || op.All):
		return fmt.Errorf("%w: lockdown takes no names", ErrUsage)
	case op.Verb == VerbCompromise && (len(op.Names) > 0) == op.All:
		return fmt.Errorf("%w: compromise wants names, or all", ErrUsage)
	}
	for _, name := range op.Names {
		if _, err := secrets.ParseName(string(name)); err != nil {
			return err
		}
	}
	return CheckReason(op.Reason)
}
