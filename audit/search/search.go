// Package search finds many values at once in a stream, in all the forms that programs write them in.
//
// It owns the automaton, the buffers and looking into compressed content. It guarantees that a match is found however the
// stream is cut into pieces, that memory depends on the values alone and not on the stream, and that no value shows by
// printing a [Searcher]. It opens no files and decides nothing about what a match means.
package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"

	"github.com/coregx/ahocorasick"

	"minibot/secrets"
)

const (
	// MinAnywhere is the shortest value, in bytes, that is looked for anywhere and in every form. Shorter ones match by
	// chance: those of MinWord bytes and more are looked for as whole words, plainly written, and the others not at all.
	MinAnywhere = 6
	// MinWord is the shortest value, in bytes, that is looked for at all.
	MinWord = 4

	blockSize   = 64 << 10 // searched at once
	maxWindow   = 12       // bytes of a form that are in the automaton
	minWindow   = 6
	tableBudget = 16 << 20 // bytes of the automaton's table above which windows get shorter
	headSize    = 32       // bytes of a form that are kept as they are; the rest is compared by its hash
	tailSize    = 8
)

// Hit is one match.
type Hit struct {
	Value    int // index of the value, as given to New
	Encoding secrets.Encoding
	Offset   int64 // where it begins, in bytes from the beginning of what was searched
}

// Searcher finds values. It is immutable and safe for concurrent use.
type Searcher struct {
	automaton *ahocorasick.Automaton // nil when there is nothing to look for
	patterns  [][]candidate          // of each pattern of the automaton
	block     int                    // bytes searched at once
	window    int                    // length of the longest pattern
	inner     int64                  // bytes searched of one compressed stream
	short     []int
	seed      maphash.Seed
	buffers   sync.Pool
}

// candidate is a form whose beginning was seen.
type candidate struct {
	value      int
	encoding   secrets.Encoding
	word       bool // only as a whole word
	length     int
	head, tail []byte
	hash       uint64 // of the whole form
}

// Format prints nothing of what is looked for, under every verb.
func (*Searcher) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("search.Searcher")) }

// New makes a Searcher for values; zero ones are passed over. It costs some 10 KB of memory for a value, whatever its
// length, and fails only where the automaton cannot be built.
func New(values ...secrets.Value) (*Searcher, error) {
	s := &Searcher{block: blockSize, inner: maxInside, seed: maphash.MakeSeed()}
	var all []candidate
	for i, value := range values {
		if value.IsZero() {
			continue
		}
		if value.Len() < MinAnywhere {
			s.short = append(s.short, i)
			if value.Len() >= MinWord {
				all = append(all, s.candidate(i, secrets.Form{Encoding: secrets.Plain, Text: value}, true))
			}
			continue
		}
		for _, form := range secrets.Forms(value) {
			all = append(all, s.candidate(i, form, false))
		}
	}
	if len(all) == 0 {
		return s, nil
	}
	return s, s.build(all)
}

func (s *Searcher) candidate(value int, form secrets.Form, word bool) candidate {
	text := form.Text.Reveal()
	return candidate{
		value: value, encoding: form.Encoding, word: word, length: len(text),
		head: bytes.Clone(text[:min(len(text), headSize)]), tail: bytes.Clone(text[max(0, len(text)-tailSize):]),
		hash: maphash.Bytes(s.seed, text),
	}
}

// build puts the first bytes of all forms into one automaton.
func (s *Searcher) build(all []candidate) error {
	var used [256]bool
	classes := 1
	for _, c := range all {
		for _, b := range c.head {
			if !used[b] {
				used[b], classes = true, classes+1
			}
		}
	}
	stride := 1
	for stride < min(classes, 256) {
		stride *= 2
	}
	window := min(max(tableBudget/(4*stride*len(all)), minWindow), maxWindow)
	index := map[string]int{}
	var windows [][]byte
	for _, c := range all {
		text := c.head[:min(len(c.head), window)]
		at, ok := index[string(text)]
		if !ok {
			at = len(windows)
			index[string(text)] = at
			windows = append(windows, text)
			s.patterns = append(s.patterns, nil)
		}
		s.patterns[at] = append(s.patterns[at], c)
		s.window = max(s.window, len(text))
	}
	// Version 0.3.1 counts its classes of bytes in a byte, which is too small for 255 of them and more.
	automaton, err := ahocorasick.NewBuilder().SetByteClasses(classes < 255).AddPatterns(windows).Build()
	if err != nil {
		return errors.New("build the automaton of the search") // the library's text could name a pattern
	}
	s.automaton = automaton
	return nil
}

// Short lists the values, by index, that are too short to be looked for everywhere; see [MinAnywhere].
func (s *Searcher) Short() []int { return s.short }

// Search reads r to its end and calls found for every match, those in compressed content too; offsets of these count
// from the beginning of what was compressed. A value that lies in one place in several encodings gives several hits. It
// returns the number of bytes searched. It stops with the error of found, of r, or of ctx, which is looked at between reads;
// [ErrNotWhole] says that everything was read, but not everything that is compressed in it searched.
func (s *Searcher) Search(ctx context.Context, r io.Reader, found func(Hit) error) (int64, error) {
	return s.inside(ctx, r, found)
}
