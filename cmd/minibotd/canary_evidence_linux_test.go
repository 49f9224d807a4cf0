package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// evidence keeps what a run lets out, so that it can be searched when every value is known, those that minibot makes up
// included. What may hold values is kept apart, and shows that a search would find them. Safe for concurrent use.
type evidence struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	files   map[string]*os.File
	open    map[*stream]bool
	streams map[string]int // finished or not, by class
	bytes   map[bool]int64 // by whether it may hold values
	ended   bool
}

// Streams longer than this are written piece by piece, each with so much of the one before it that no value is cut.
const (
	piece   = 1 << 20
	overlap = 4 << 10
)

func newEvidence(t *testing.T) *evidence {
	e := &evidence{t: t, dir: t.TempDir(), files: map[string]*os.File{}, open: map[*stream]bool{}, streams: map[string]int{}, bytes: map[bool]int64{}}
	for _, part := range []bool{false, true} {
		if err := os.Mkdir(e.part(part), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(e.end)
	return e
}

// part is the folder of what may hold values, or of what may not.
func (e *evidence) part(exempt bool) string {
	if exempt {
		return filepath.Join(e.dir, "exempt")
	}
	return filepath.Join(e.dir, "searched")
}

// stream is a run of bytes that belong together.
type stream struct {
	of     *evidence
	class  string
	exempt bool

	mu  sync.Mutex
	buf []byte
	new int // bytes of buf that are not written yet
}

// stream begins one. All of a class end up in one file.
func (e *evidence) stream(exempt bool, class string) *stream {
	s := &stream{of: e, class: strings.ReplaceAll(class, "/", "_"), exempt: exempt}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams[s.class]++
	return s
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf == nil { // new, or written to once more after Close
		s.of.mu.Lock()
		s.of.open[s] = true
		s.of.mu.Unlock()
	}
	s.buf = append(s.buf, p...)
	s.new += len(p)
	if len(s.buf) > piece {
		s.flush()
	}
	return len(p), nil
}

// Close writes what is left.
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	s.buf = nil
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	delete(s.of.open, s)
	return nil
}

func (s *stream) flush() {
	if s.new == 0 {
		return
	}
	if err := s.of.write(s.exempt, s.class, s.buf, s.new); err != nil {
		s.of.t.Errorf("keep evidence: %v", err)
	}
	s.buf, s.new = append([]byte(nil), s.buf[max(0, len(s.buf)-overlap):]...), 0
}

// write adds to the file of a class.
func (e *evidence) write(exempt bool, class string, data []byte, fresh int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return fmt.Errorf("%s goes on after the end", class)
	}
	path := filepath.Join(e.part(exempt), class)
	f := e.files[path]
	if f == nil {
		var err error
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		e.files[path] = f
	}
	e.bytes[exempt] += int64(fresh)
	_, err := f.Write(append(data, "\n\n"...))
	return err
}

// keep adds a whole text.
func (e *evidence) keep(exempt bool, class, text string) {
	s := e.stream(exempt, class)
	_, _ = io.WriteString(s, text) // a stream takes all, and says on its own what it cannot keep
	_ = s.Close()
}

// flush writes what all streams hold until now.
func (e *evidence) flush() {
	e.mu.Lock()
	var all []*stream
	for s := range e.open {
		all = append(all, s)
	}
	e.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		s.flush()
		s.mu.Unlock()
	}
}

// end closes the files.
func (e *evidence) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for _, f := range e.files {
		if err := f.Close(); err != nil {
			e.t.Error(err)
		}
	}
}

// demultiplexer takes an engine's frames apart, so that a value that is split over two of them is whole again. What is
// not in frames (as of a terminal) passes it by.
type demultiplexer struct {
	to     func(kind byte) io.Writer
	head   []byte
	kind   byte
	left   uint32
	broken bool
}

func (d *demultiplexer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !d.broken {
		if d.left > 0 {
			some := p[:min(uint32(len(p)), d.left)]
			if _, err := d.to(d.kind).Write(some); err != nil {
				return 0, err
			}
			d.left -= uint32(len(some))
			p = p[len(some):]
			continue
		}
		some := p[:min(len(p), 8-len(d.head))]
		d.head = append(d.head, some...)
		p = p[len(some):]
		if len(d.head) < 8 {
			continue
		}
		if h := d.head; h[0] > 3 || h[1]|h[2]|h[3] != 0 {
			d.broken = true
		} else {
			d.kind, d.left = h[0], uint32(h[4])<<24|uint32(h[5])<<16|uint32(h[6])<<8|uint32(h[7])
		}
		d.head = d.head[:0]
	}
	return n, nil
}
