// Package console is how minibot's programs speak to a person: tables, JSON, errors with their hints, progress,
// hidden prompts.
//
// It guarantees that text from outside cannot drive the terminal (control characters are shown, not sent), that colour
// appears only where a terminal shows it, and that a prompt leaves the terminal as it found it, whatever ends it. It
// never writes what was typed at a hidden prompt anywhere.
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"minibot/hint"
)

// IO is a program's terminal. Results go to Out; prompts, progress, warnings and errors go to Err, so that a pipe gets
// results only. It is not safe for concurrent use.
type IO struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	began time.Time // what Progress counts from
	now   func() time.Time
}

// New returns an IO whose progress clock starts now.
func New(in io.Reader, out, errs io.Writer) *IO {
	return &IO{In: in, Out: out, Err: errs, began: time.Now(), now: time.Now}
}

// IsTerminal reports whether stream, one of In, Out and Err, is a terminal.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Interactive reports whether a person can be asked: In and Err are both terminals.
func (c *IO) Interactive() bool { return IsTerminal(c.In) && IsTerminal(c.Err) }

// Style is how Paint shows a text; its value is the ANSI attribute.
type Style string

// The styles.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Paint returns text in style when w shows colour: a terminal, with NO_COLOR unset or empty and TERM other than
// "dumb". Otherwise it returns text as it is. It does not escape.
func Paint(w io.Writer, style Style, text string) string {
	if style == Plain || text == "" || !IsTerminal(w) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Escape makes text safe to print on one line: control characters, line ends, invisible and direction-changing
// characters and invalid UTF-8 are shown as \n, \x1b, \u202e.
func Escape(text string) string {
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// Printable returns a writer for other programs' lines: to a terminal it sends them escaped, line ends and tabs
// excepted, to anything else as they are. It is not safe for concurrent use.
func Printable(w io.Writer) io.Writer {
	if !IsTerminal(w) {
		return w
	}
	return Escaped(w)
}

// Escaped is Printable for what may reach a terminal on a way round, through a pipe say: it always escapes.
func Escaped(w io.Writer) io.Writer { return &printable{to: w} }

type printable struct {
	to   io.Writer
	held []byte // the beginning of a character
}

func (p *printable) Write(b []byte) (int, error) {
	text := append(p.held, b...)
	whole := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= n
			}
			break
		}
	}
	p.held = slices.Clone(text[whole:])
	var out strings.Builder
	for rest := string(text[:whole]); rest != ""; {
		end := strings.IndexAny(rest, "\n\t")
		if end < 0 {
			out.WriteString(Escape(rest))
			break
		}
		out.WriteString(Escape(rest[:end]) + rest[end:end+1])
		rest = rest[end+1:]
	}
	if _, err := io.WriteString(p.to, out.String()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// escapeLines escapes each line of text and indents all but the first.
func escapeLines(text, indent string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = Escape(lines[i])
	}
	return strings.Join(lines, "\n"+indent)
}

// Print writes one formatted line to Out. Arguments from outside must be escaped by the caller.
func (c *IO) Print(format string, args ...any) error {
	_, err := fmt.Fprintf(c.Out, format+"\n", args...)
	return err
}

// Say writes one formatted line to Err, for a person; a failure to do so changes nothing and is dropped.
func (c *IO) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Err, format+"\n", args...)
}

// Warn writes "warning: …" to Err.
func (c *IO) Warn(format string, args ...any) {
	c.Say("%s %s", Paint(c.Err, Yellow, "warning:"), escapeLines(fmt.Sprintf(format, args...), "  "))
}

// Error writes "error: …" to Err and, where err carries advice, "  hint: …" on a line of its own. A nil err writes nothing.
func (c *IO) Error(err error) {
	if err == nil {
		return
	}
	c.Say("%s %s", Paint(c.Err, Red, "error:"), escapeLines(err.Error(), "  "))
	if advice := hint.Of(err); advice != "" {
		c.Say("  %s %s", Paint(c.Err, Faint, "hint:"), escapeLines(advice, "        "))
	}
}

// JSON writes v to Out, indented, with a line end.
func (c *IO) JSON(v any) error { return c.json(v, "  ") }

// JSONLine writes v to Out, on one line.
func (c *IO) JSONLine(v any) error { return c.json(v, "") }

// json escapes also those characters that JSON need not, but that a terminal obeys.
func (c *IO) json(v any, indent string) error {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(v)
	if err == nil {
		_, err = io.WriteString(c.Out, escapeJSON(text.String()))
	}
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// escapeJSON replaces what is not printable by its escape. Outside of strings there is no such thing but line ends.
func escapeJSON(text string) string {
	if strings.IndexFunc(text, notJSON) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !notJSON(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

func notJSON(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }

// Table writes rows below their header to Out, in columns, every cell escaped. The last column is not padded.
func (c *IO) Table(header []string, rows [][]string) error {
	cells := make([][]string, 0, len(rows)+1)
	width := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		escaped := make([]string, len(row))
		for i, cell := range row {
			escaped[i] = Escape(cell)
			width[i] = max(width[i], utf8.RuneCountInString(escaped[i]))
		}
		cells = append(cells, escaped)
	}
	var b strings.Builder
	for n, row := range cells {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if n == 0 {
			text = Paint(c.Out, Bold, text)
		}
		b.WriteString(text + "\n")
	}
	if _, err := io.WriteString(c.Out, b.String()); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// StartClock sets the time that Progress counts from to now.
func (c *IO) StartClock() { c.began = c.now() }

// Progress writes one plain line to Err: the seconds since StartClock, the service (may be empty) and the message.
func (c *IO) Progress(service, message string) {
	elapsed := fmt.Sprintf("%6.1f s", c.now().Sub(c.began).Seconds())
	if service != "" {
		service = fmt.Sprintf("%-10s ", Escape(service))
	}
	c.Say("%s  %s%s", Paint(c.Err, Faint, elapsed), service, Escape(message))
}

// Step is Progress for a step of a sequence, whose names stand in a column of their own. Subject, the service say, may be empty.
func (c *IO) Step(step, subject, message string) {
	elapsed := fmt.Sprintf("%6.1f s", c.now().Sub(c.began).Seconds())
	columns := fmt.Sprintf("%s %-10s", Paint(c.Err, Bold, fmt.Sprintf("%-11s", Escape(step))), Escape(subject))
	c.Say("%s  %s", Paint(c.Err, Faint, elapsed), strings.TrimRight(columns+" "+Escape(message), " "))
}

// Age says a duration for a person, in its largest whole unit: "just now" below a minute (and for a negative one),
// then "3 minutes", "1 hour", "3 days"; from 60 days on "2 months" of 30 days, from 730 days on "2 years".
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return plural(d/time.Minute, "minute")
	case d < day:
		return plural(d/time.Hour, "hour")
	case d < 60*day:
		return plural(d/day, "day")
	case d < 730*day:
		return plural(d/(30*day), "month")
	}
	return plural(d/(365*day), "year")
}

func plural(n time.Duration, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
