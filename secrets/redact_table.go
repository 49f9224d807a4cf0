package secrets

import (
	"encoding/binary"
)

// formTable finds the forms that a text begins with. Every form has at least minRedacted bytes.
type formTable struct {
	forms  map[uint32][]string // by their first four bytes, longest first
	begins map[string]bool     // each form's first one, two and three bytes
	filter []uint64            // one bit for each hash of the first four bytes: most text is passed over by a look at it
	shift  int                 // of the hash, so that it is a number of a bit
	count  int
}

const (
	leastFilterBits = 16 // 8 KiB: it stays in the fastest cache
	mostFilterBits  = 22
	formsPerFilter  = 16 // bits for each form; about that many texts in a row are passed over before one is looked up in vain
)

func newFormTable() *formTable {
	return &formTable{forms: map[uint32][]string{}, begins: map[string]bool{}, filter: make([]uint64, 1<<leastFilterBits/64), shift: 32 - leastFilterBits}
}

// clone returns a table that can learn more while others use t.
func (t *formTable) clone() *formTable {
	c := &formTable{forms: make(map[uint32][]string, len(t.forms)), begins: make(map[string]bool, len(t.begins)),
		filter: append([]uint64(nil), t.filter...), shift: t.shift, count: t.count}
	for key, list := range t.forms {
		c.forms[key] = list[:len(list):len(list)] // insert copies
	}
	for key := range t.begins {
		c.begins[key] = true
	}
	return c
}

// learn adds the forms of a value.
func (t *formTable) learn(value Value) {
	for _, form := range formsOf(value.text()) {
		if len(form) >= minRedacted {
			t.insert(form)
		}
	}
}

func (t *formTable) insert(form string) {
	key := keyOf(form)
	list, at := t.forms[key], 0
	for ; at < len(list) && len(list[at]) >= len(form); at++ {
		if list[at] == form {
			return
		}
	}
	grown := make([]string, 0, len(list)+1)
	grown = append(append(append(grown, list[:at]...), form), list[at:]...)
	t.forms[key] = grown
	for n := 1; n < minRedacted; n++ {
		t.begins[form[:n]] = true
	}
	if t.count++; t.count*formsPerFilter > len(t.filter)*64 && t.shift > 32-mostFilterBits {
		t.widen()
		return
	}
	t.mark(key)
}

// widen doubles the filter.
func (t *formTable) widen() {
	t.filter, t.shift = make([]uint64, 2*len(t.filter)), t.shift-1
	for key := range t.forms {
		t.mark(key)
	}
}

func (t *formTable) mark(key uint32) {
	bit := key * hashFactor >> t.shift
	t.filter[bit/64] |= 1 << (bit % 64)
}

// hashFactor is 2^32 divided by the golden ratio: products of it spread well.
const hashFactor = 2654435769

func keyOf(form string) uint32 { return binary.LittleEndian.Uint32([]byte(form[:minRedacted])) }

// next returns the first place in text, from a place on, where a form may begin; len(text) when there is none.
func (t *formTable) next(text []byte, from int) int {
	if len(text) < minRedacted {
		return from
	}
	filter, shift, last := t.filter, t.shift&31, len(text)-minRedacted
	for ; from <= last; from++ {
		bit := binary.LittleEndian.Uint32(text[from:]) * hashFactor >> shift
		if filter[bit/64]&(1<<(bit%64)) != 0 {
			break
		}
	}
	return from
}

// match returns the length of the longest form that text begins with, 0 for none, and whether text may be the
// beginning of a longer one.
func (t *formTable) match(text []byte) (length int, open bool) {
	if len(text) < minRedacted {
		return 0, t.begins[string(text)]
	}
	for _, form := range t.forms[binary.LittleEndian.Uint32(text)] {
		if len(form) > len(text) {
			open = open || form[:len(text)] == string(text)
		} else if form == string(text[:len(form)]) {
			return len(form), open
		}
	}
	return 0, open
}
