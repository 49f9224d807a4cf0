package secrets

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
	"slices"

	"minibot/hint"
)

// MaxValueSize is the largest value in bytes: what every store and every delivery is tested with.
const MaxValueSize = 64 << 10

const redacted = "[redacted]"

// Value is a secret's plaintext. However it is printed, logged or encoded, it shows as "[redacted]"; [Value.Reveal]
// alone gives the bytes. The zero Value is "no value". A Value may be copied and used concurrently.
type Value struct {
	_ [0]func() // not comparable: == would say nothing about the contents; use Equal

	plain sealed[[]byte]
}

// NewValue takes a copy of plain. It refuses what some store, file or environment could not carry: an empty value
// ([ErrEmptyValue]), one with a NUL byte ([ErrNUL]), and one beyond [MaxValueSize] ([ErrTooLarge]).
func NewValue(plain []byte) (Value, error) {
	switch {
	case len(plain) == 0:
		return Value{}, hint.Wrap(ErrEmptyValue, "mb-secrets delete removes a secret")
	case slices.Contains(plain, 0):
		return Value{}, hint.Wrap(ErrNUL, "store it encoded, as in base64, and have the service decode it")
	case len(plain) > MaxValueSize:
		err := fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(plain), MaxValueSize)
		return Value{}, hint.Wrap(err, "store the key that opens it, and keep the rest where the service finds it")
	}
	return newValue(slices.Clone(plain)), nil
}

func newValue(plain []byte) Value { return Value{plain: seal(plain)} }

func (v Value) bytes() []byte { return v.plain.open() }

// Reveal returns a copy of the plaintext. Every use of a secret passes here; search for it to find them.
func (v Value) Reveal() []byte { return slices.Clone(v.bytes()) }

// IsZero reports whether there is no value.
func (v Value) IsZero() bool { return len(v.bytes()) == 0 }

// Len is the length in bytes.
func (v Value) Len() int { return len(v.bytes()) }

// Equal compares in time that does not depend on the contents.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare(v.bytes(), other.bytes()) == 1
}

// String redacts.
func (Value) String() string { return redacted }

// GoString redacts.
func (Value) GoString() string { return redacted }

// Format redacts under every verb.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue redacts.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText redacts.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
