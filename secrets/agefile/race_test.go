package agefile

import (
	"errors"
	"testing"
)

// meanwhile calls before ahead of each opening of a file.
type meanwhile struct {
	fileSystem
	before func(name string)
}

func (m meanwhile) open(name string) (file, error) {
	m.before(name)
	return m.fileSystem.open(name)
}

// TestRekeyBetweenTwoReads has another process rekey the store after this one has read the store file and before it reads
// the key that opened it.
func TestRekeyBetweenTwoReads(t *testing.T) {
	for _, c := range scenarios {
		if !c.rekeys() || c.passphrase != "" {
			continue
		}
		d := c.setUp(t)
		honest := place{d, simulated}
		other, err := honest.open("", false)
		if err != nil {
			t.Fatal(err)
		}
		rekeyed := false
		p := place{meanwhile{d, func(name string) {
			if name == honest.key() && !rekeyed {
				rekeyed = true
				check(t, c.name, c.act(other))
			}
		}}, simulated}
		s, err := p.open(c.becomes, false)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := contents(s)
		if err != nil || !rekeyed || len(got) != len(held) {
			t.Errorf("%s: %d values, rekeyed: %t, %v", c.name, len(got), rekeyed, err)
		}
		check(t, c.name, errors.Join(s.Close(), other.Close()))
	}
}
