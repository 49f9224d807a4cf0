package secrets

import (
	"fmt"
	"io"
	"slices"
)

// minRedacted is the shortest value and form, in bytes, that a [Redactor] looks for: shorter ones occur by chance in
// any text, so that redacting them would shred it and tell the value by where the holes are.
const minRedacted = 4

// minRedactedLine is the shortest line of a value of several lines that is also looked for by itself.
const minRedactedLine = 8

// Redactor replaces values by "[redacted]" in text that others wrote: container logs, engine errors. It knows each
// value as it is and in the forms that programs write it in: base64 (standard and URL alphabet, padded or not, also
// inside something longer that was encoded as a whole; then up to two characters at either end may stay), hex,
// URL-escaped, escaped as in a JSON or Go string, and, of a value of several lines, each line of 8 bytes or more.
// Values under 4 bytes are not looked for. Other encodings, and a value cut short by the end of the text, are not
// recognised. A Redactor is immutable and safe for concurrent use; a nil or zero one changes nothing.
type Redactor struct {
	forms sealed[*formTable]
}

// Format hides what the Redactor looks for, under every verb.
func (*Redactor) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("secrets.Redactor")) }

// NewRedactor makes a Redactor for values; zero ones are left out.
func NewRedactor(values ...Value) *Redactor {
	table := newFormTable()
	for _, value := range values {
		table.learn(value)
	}
	return &Redactor{seal(table)}
}

// Redact returns text with every form of every value replaced. It does not change text.
func (r *Redactor) Redact(text []byte) []byte {
	if r.isEmpty() {
		return slices.Clone(text)
	}
	out, _, _ := r.scan(make([]byte, 0, len(text)), text, 0, true)
	return out
}

// String is Redact for strings.
func (r *Redactor) String(text string) string {
	if r.isEmpty() {
		return text
	}
	return string(r.Redact([]byte(text)))
}

// isEmpty reports whether r is nil or the zero Redactor.
func (r *Redactor) isEmpty() bool { return r == nil || r.forms.open() == nil }

// scan appends text to out, redacted. Forms that overlap become one hole. The first covered bytes of text belong to
// a hole that is in out already. Unless final is set, scan stops where what is left of text could be the beginning of a
// form; it returns that rest and how much of it is covered.
func (r *Redactor) scan(out, text []byte, covered int, final bool) ([]byte, []byte, int) {
	table := r.forms.open()
	kept := covered // text[kept:i] is to be copied
	for i := table.next(text, 0); i < len(text); i = table.next(text, i+1) {
		end, open := table.match(text[i:])
		if open && !final {
			if i > kept {
				out = append(out, text[kept:i]...)
			}
			return out, text[i:], max(covered-i, 0)
		}
		if end == 0 {
			continue
		}
		if i >= covered {
			out = append(out, text[kept:i]...)
			out = append(out, redacted...)
		}
		covered = max(covered, i+end)
		kept = covered
	}
	if kept < len(text) {
		out = append(out, text[kept:]...)
	}
	return out, nil, 0
}

// Writer returns a writer that redacts what passes through it to w; see [Redaction.Writer].
func (r *Redactor) Writer(w io.Writer) io.WriteCloser {
	if r.isEmpty() {
		r = NewRedactor()
	}
	return &redactingWriter{newest: func() *Redactor { return r }, to: w}
}
