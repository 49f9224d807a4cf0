package secrets

import (
	"fmt"
	"regexp"
)

// Name identifies a secret. It is also the account of its keychain item.
type Name string

var namePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// ParseName returns s as a Name, or an error that wraps [ErrInvalidName]: a capital letter, then at most 63
// capitals, digits and underscores.
func ParseName(s string) (Name, error) {
	if !namePattern.MatchString(s) {
		return "", fmt.Errorf("%w %q: want a capital letter, then up to 63 of A-Z, 0-9 and _", ErrInvalidName, s)
	}
	return Name(s), nil
}
