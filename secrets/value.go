package secrets

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"minibot/hint"
)

// MaxValueSize is the largest value in bytes: what every store and every delivery is tested with.
const MaxValueSize = 64 << 10

const redacted = "[redacted]"

// Value is a secret's plaintext. However it is printed, logged or encoded, it shows as "[redacted]"; [Value.Reveal]
// alone gives the bytes. The zero Value is "no value". A Value may be copied and used concurrently. Its bytes are cleared
// some time after the last copy of it is gone, when the garbage is collected.
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

// newValue makes a Value of plain itself, which nobody else may hold.
func newValue(plain []byte) Value {
	v := Value{plain: seal(plain)}
	runtime.AddCleanup(*v.plain.at, wipe, plain)
	return v
}

// wipe clears the bytes of a Value that is gone. Tests put another one here.
var wipe = func(plain []byte) { clear(plain) }

// use calls f with the bytes, which f must neither keep nor change.
func (v Value) use(f func(plain []byte)) {
	f(v.plain.open())
	runtime.KeepAlive(v.plain.at) // else the bytes might be cleared while f reads them
}

// text returns the plaintext as a string, which nothing ever clears.
func (v Value) text() (text string) {
	v.use(func(plain []byte) { text = string(plain) })
	return text
}

// Reveal returns a copy of the plaintext. Every use of a secret passes here; search for it to find them.
// The caller clears it where it can.
func (v Value) Reveal() (plain []byte) {
	v.use(func(own []byte) { plain = slices.Clone(own) })
	return plain
}

// IsZero reports whether there is no value.
func (v Value) IsZero() bool { return v.Len() == 0 }

// Len is the length in bytes.
func (v Value) Len() (n int) {
	v.use(func(plain []byte) { n = len(plain) })
	return n
}

// Equal compares in time that does not depend on the contents.
func (v Value) Equal(other Value) (equal bool) {
	v.use(func(mine []byte) {
		other.use(func(theirs []byte) { equal = subtle.ConstantTimeCompare(mine, theirs) == 1 })
	})
	return equal
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
