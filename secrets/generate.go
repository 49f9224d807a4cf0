package secrets

import (
	"crypto/rand"
	"fmt"
)

// MinGenerated is the shortest value that is generated, in characters: 16 of 62 are 95 bits.
const MinGenerated = 16

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Generate returns a new random value of Length characters of A-Z, a-z and 0-9, each equally likely. A Length below
// [MinGenerated] or above [MaxValueSize] is an error.
func (r Recipe) Generate() (Value, error) {
	if r.Length < MinGenerated || r.Length > MaxValueSize {
		return Value{}, fmt.Errorf("generate a value of %d characters: want %d to %d", r.Length, MinGenerated, MaxValueSize)
	}
	plain := make([]byte, 0, r.Length)
	random := make([]byte, r.Length)
	for {
		_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
		for _, b := range random {
			c, ok := character(b)
			if !ok {
				continue
			}
			if plain = append(plain, c); len(plain) == r.Length {
				return newValue(plain), nil
			}
		}
	}
}

// character maps a random byte to the alphabet. The bytes left over by the largest multiple of its length are
// dropped: with them its first characters would come up more often.
func character(b byte) (byte, bool) {
	if int(b) >= 256-256%len(alphabet) {
		return 0, false
	}
	return alphabet[int(b)%len(alphabet)], true
}
