package database

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
)

const (
	scramIterations = 4096 // Postgres' own default; each login pays for it
	scramSaltSize   = 16   // bytes, as Postgres' own
)

// verifier returns what Postgres stores for a password: enough to check it, not enough to log in.
func verifier(password []byte) (string, error) {
	salt := make([]byte, scramSaltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	return verifierWith(password, salt, scramIterations)
}

// verifierWith follows RFC 5802 and 7677.
func verifierWith(password, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, prepare(string(password)), salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive the verifier: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(message)) // a hash never fails
	return h.Sum(nil)
}

// prepare is SASLprep as Postgres and libpq do it, which is not to the letter of RFC 4013: ASCII is taken as it is,
// prohibited and bidirectional characters are looked for before the normalisation, and what fails is taken as it is.
// [stringprep.SASLprep] looks after it, and so disagrees on some passwords.
func prepare(password string) string {
	ascii := true
	for i := range len(password) {
		ascii = ascii && password[i] < utf8.RuneSelf
	}
	if ascii || !utf8.ValidString(password) {
		return password
	}
	mapped, err := mapAndCheck.Prepare(password)
	if err != nil || mapped == "" {
		return password
	}
	normal, err := normalize.Prepare(mapped)
	if err != nil {
		return password
	}
	return normal
}

var (
	mapAndCheck = stringprep.Profile{
		Mappings: []stringprep.Mapping{nonASCIISpaces(), stringprep.TableB1},
		Prohibits: []stringprep.Set{
			stringprep.TableA1, stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4,
			stringprep.TableC5, stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
		},
		CheckBiDi: true,
	}
	normalize = stringprep.Profile{Normalize: true}
)

func nonASCIISpaces() stringprep.Mapping {
	m := stringprep.Mapping{}
	for _, r := range stringprep.TableC1_2 {
		for c := r[0]; c <= r[1]; c++ {
			m[c] = []rune{' '}
		}
	}
	return m
}
