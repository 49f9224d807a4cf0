package search

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// scan is the search through one stream, which is written to it. After the last write close finds what waits.
type scan struct {
	s     *Searcher
	found func(Hit) error

	buffer  []byte
	base    int64 // offset of buffer[0] in the stream
	seen    int   // buffer[:seen] has been through the automaton
	open    []opened
	reached map[*candidate]int64 // where the last match of a candidate ends
}

// opened is a beginning whose form may go on.
type opened struct {
	start int // in buffer
	c     *candidate
}

func (s *Searcher) scan(found func(Hit) error) *scan {
	c := &scan{s: s, found: found, reached: map[*candidate]int64{}}
	if b, ok := s.buffers.Get().(*[]byte); ok {
		c.buffer = (*b)[:0]
	} else {
		c.buffer = make([]byte, 0, s.block+s.window)
	}
	return c
}

// Write takes the next piece of the stream.
func (c *scan) Write(p []byte) (int, error) {
	if c.s.automaton == nil {
		c.base += int64(len(p))
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), max(c.s.block-(len(c.buffer)-c.seen), 1))
		c.buffer = append(c.buffer, rest[:n]...)
		rest = rest[n:]
		if len(c.buffer)-c.seen >= c.s.block {
			if err := c.pass(false); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// close ends the stream and gives the buffer back.
func (c *scan) close() error {
	if c.s.automaton == nil {
		return nil
	}
	err := c.pass(true)
	clear(c.buffer) // what was found lies in it
	if cap(c.buffer) <= 4*c.s.block {
		c.s.buffers.Put(&c.buffer)
	}
	c.buffer = nil
	return err
}

// pass searches what is new, decides what can be decided, and drops what is no longer needed.
func (c *scan) pass(final bool) error {
	from := max(0, c.seen-c.s.window+1)
	for _, m := range c.s.automaton.FindAllOverlapping(c.buffer[from:]) {
		if from+m.End <= c.seen {
			continue // the last pass saw it
		}
		for i := range c.s.patterns[m.PatternID] {
			c.open = append(c.open, opened{from + m.Start, &c.s.patterns[m.PatternID][i]})
		}
	}
	c.seen = len(c.buffer)
	waiting := c.open[:0]
	for _, o := range c.open {
		decided, err := c.decide(o, final)
		if err != nil {
			return err
		}
		if !decided {
			waiting = append(waiting, o)
		}
	}
	c.open = waiting
	keep := max(0, len(c.buffer)-c.s.window) // the automaton's overlap, and the byte before it
	for _, o := range c.open {
		keep = min(keep, max(0, o.start-1))
	}
	c.buffer = slices.Delete(c.buffer, 0, keep)
	c.base += int64(keep)
	c.seen -= keep
	for i := range c.open {
		c.open[i].start -= keep
	}
	return nil
}

// decide reports a match and says whether o is done with: it is not while its end may still come.
func (c *scan) decide(o opened, final bool) (bool, error) {
	text := c.buffer[o.start:]
	at := c.base + int64(o.start)
	if at < c.reached[o.c] || !bytes.HasPrefix(text, o.c.head[:min(len(text), len(o.c.head))]) {
		return true, nil // inside the last match, or none
	}
	if len(text) < o.c.length || (o.c.word && len(text) == o.c.length && !final) {
		return final, nil
	}
	end := o.start + o.c.length
	if o.c.word && (o.start > 0 && isWord(c.buffer[o.start-1]) || end < len(c.buffer) && isWord(c.buffer[end])) {
		return true, nil
	}
	text = text[:o.c.length]
	if !bytes.HasSuffix(text, o.c.tail) || maphash.Bytes(c.s.seed, text) != o.c.hash {
		return true, nil
	}
	c.reached[o.c] = at + int64(o.c.length)
	return true, c.found(Hit{Value: o.c.value, Encoding: o.c.encoding, Offset: at})
}

func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
