package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Redaction is what everything passes that leaves a process which knows values: it takes them out, in the forms that a
// [Redactor] knows. It learns values as they are read, and never forgets one: what was once secret stays so while the
// process lives. The zero Redaction knows nothing, and a nil one never will; both change nothing. It is safe for
// concurrent use.
type Redaction struct {
	current atomic.Pointer[Redactor]

	mu    sync.Mutex
	known []Value
}

// Format hides what the Redaction knows, under every verb.
func (*Redaction) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("secrets.Redaction")) }

// Learn adds values to those that must never be shown; zero ones are left out. When it returns, they are redacted in
// all that is written from then on, by writers made before too.
func (r *Redaction) Learn(values ...Value) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var table *formTable
	for _, value := range values {
		if value.IsZero() || slices.ContainsFunc(r.known, value.Equal) {
			continue
		}
		if table == nil {
			table = r.newest().forms.open().clone()
		}
		table.learn(value)
		r.known = append(r.known, value)
	}
	if table != nil {
		r.current.Store(&Redactor{seal(table)})
	}
}

var knowsNothing = NewRedactor()

func (r *Redaction) newest() *Redactor {
	if r == nil {
		return knowsNothing
	}
	if redactor := r.current.Load(); redactor != nil {
		return redactor
	}
	return knowsNothing
}

// Text returns s with what is known replaced.
func (r *Redaction) Text(s string) string { return r.newest().String(s) }

// Error returns err, or where its text holds something known an error that wraps it and reads redacted. nil stays nil.
func (r *Redaction) Error(err error) error {
	if err == nil {
		return nil
	}
	before := err.Error()
	if text := r.Text(before); text != before {
		return &reworded{err, text}
	}
	return err
}

// reworded is an error that reads otherwise.
type reworded struct {
	err  error
	text string
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.err }

// Writer returns a writer that redacts what passes through it to w, also a value that is split over several writes.
// Everything is passed on at once, except an end that may be the beginning of a value: that waits for the next write, the
// end of its line or Close, and is at most as long as the longest form of a value. A line that is whole never waits: of a
// value of several lines that comes in several writes, lines of less than 8 bytes may therefore stay. Each write is
// looked through with what is known then. Close passes on what waits and leaves w open. Safe for concurrent use. After
// an error of w every call returns that error.
func (r *Redaction) Writer(w io.Writer) io.WriteCloser {
	return &redactingWriter{newest: r.newest, to: w}
}

type redactingWriter struct {
	newest func() *Redactor
	to     io.Writer

	mu      sync.Mutex
	held    []byte
	covered int
	err     error
}

func (w *redactingWriter) Write(p []byte) (int, error) {
	if err := w.pass(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *redactingWriter) Close() error {
	err := w.pass(nil, true)
	if errors.Is(err, errWriterClosed) {
		return nil
	}
	return err
}

var errWriterClosed = errors.New("write to a closed redacting writer")

func (w *redactingWriter) pass(p []byte, final bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	redactor, text := w.newest(), p
	if len(w.held) > 0 {
		text = append(w.held, p...)
	}
	out, rest, covered := redactor.scan(make([]byte, 0, len(text)), text, w.covered, final)
	if end := bytes.LastIndexByte(rest, '\n') + 1; end > 0 { // whole lines wait for nothing
		out, _, _ = redactor.scan(out, rest[:end], covered, true)
		out, rest, covered = redactor.scan(out, rest[end:], max(covered-end, 0), false)
	}
	w.held, w.covered = slices.Clone(rest), covered
	if len(out) > 0 {
		if _, w.err = w.to.Write(out); w.err != nil {
			return w.err
		}
	}
	if final {
		w.err = errWriterClosed
	}
	return nil
}
