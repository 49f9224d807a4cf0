package security

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"

	"minibot/hint"
	"minibot/secrets"
)

// The markers. A value that begins with one of them is kept as base64 itself.
const (
	base64Marker = "minibot-base64:"
	partsMarker  = "minibot-parts:"
)

// parts is what an item says of a value that is kept in parts:
//
//	minibot-parts:1:GENERATION:COUNT:LENGTH:SHA256
//
// Part n of it, from 0, is the item with the account NAME.GENERATION.00n under the slot's service with ".parts". It holds
// base64; the parts' bytes one after another are the value.
type parts struct {
	generation    string // 16 hex digits
	count, length int
	sum           string // hex
}

var partsPattern = regexp.MustCompile(`^` + partsMarker + `1:([0-9a-f]{16}):([1-9][0-9]{0,2}):([1-9][0-9]{0,5}):([0-9a-f]{64})$`)

func (p *parts) String() string {
	return fmt.Sprintf("%s1:%s:%d:%d:%s", partsMarker, p.generation, p.count, p.length, p.sum)
}

func (p *parts) account(name secrets.Name, n int) string {
	return fmt.Sprintf("%s.%s.%03d", name, p.generation, n)
}

var partAccount = regexp.MustCompile(`^([A-Z][A-Z0-9_]{0,63})\.([0-9a-f]{16})\.[0-9]{3}$`)

// damaged never quotes what it found.
func damaged(what string) error {
	return hint.Wrap(fmt.Errorf("%w: %s", secrets.ErrDamaged, what), "set the secret anew: mb-secrets set NAME, or mb-secrets generate NAME")
}

// decode returns the value that an item's text stands for, or the parts that hold it.
func decode(text []byte) (plain []byte, in *parts, err error) {
	switch {
	case bytes.HasPrefix(text, []byte(base64Marker)):
		plain, err := decodeBase64(text[len(base64Marker):])
		return plain, nil, err
	case bytes.HasPrefix(text, []byte(partsMarker)):
		m := partsPattern.FindSubmatch(text)
		if m == nil {
			return nil, nil, damaged("the item's list of parts cannot be read")
		}
		count, _ := strconv.Atoi(string(m[2])) // of at most 6 digits
		length, _ := strconv.Atoi(string(m[3]))
		return nil, &parts{string(m[1]), count, length, string(m[4])}, nil
	}
	return text, nil, nil
}

func decodeBase64(text []byte) ([]byte, error) {
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(plain, text)
	if err != nil || n == 0 || bytes.ContainsAny(text, "\r\n") {
		clear(plain)
		return nil, damaged("its base64 cannot be decoded")
	}
	return plain[:n], nil
}

// join puts the parts of a value together, unless they are not what in says.
func (p *parts) join(texts [][]byte) ([]byte, error) {
	whole := make([]byte, 0, p.length+base64.StdEncoding.DecodedLen(maxLine))
	for _, text := range texts {
		part, err := decodeBase64(text)
		if err != nil {
			clear(whole)
			return nil, err
		}
		whole = append(whole, part...)
		clear(part)
	}
	if sum := sha256.Sum256(whole); len(whole) != p.length || hex.EncodeToString(sum[:]) != p.sum {
		clear(whole)
		return nil, damaged("its parts are not those that were written")
	}
	return whole, nil
}

// printable reports whether find-generic-password -w prints value as it is.
func printable(value []byte) bool {
	return !bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

// encode returns the text of the item that is to hold value, and the parts to be written before it, if any.
func (s *Store) encode(name secrets.Name, slot secrets.Slot, value []byte) (text []byte, in *parts, texts [][]byte) {
	fits := func(text []byte) bool {
		line := s.addLine(slot.Service(s.service), string(name), text)
		defer clear(line)
		return len(line) <= maxLine+1
	}
	marked := bytes.HasPrefix(value, []byte(base64Marker)) || bytes.HasPrefix(value, []byte(partsMarker))
	if printable(value) && !marked && fits(value) {
		return bytes.Clone(value), nil, nil
	}
	text = base64.StdEncoding.AppendEncode([]byte(base64Marker), value)
	if fits(text) {
		return text, nil, nil
	}
	clear(text)
	sum := sha256.Sum256(value)
	in = &parts{generation: newGeneration(), length: len(value), sum: hex.EncodeToString(sum[:])}
	room := maxLine + 1 - len(s.addLine(s.partsService(slot), in.account(name, 0), []byte{}))
	for rest := value; len(rest) > 0; in.count++ {
		n := min(len(rest), room/4*3)
		texts = append(texts, base64.StdEncoding.AppendEncode(nil, rest[:n]))
		rest = rest[n:]
	}
	return []byte(in.String()), in, texts
}

// newGeneration is one that no parts were written under.
func newGeneration() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

func (s *Store) partsService(slot secrets.Slot) string { return slot.Service(s.service) + ".parts" }
