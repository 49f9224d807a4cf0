package secrets

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Encoding names a way in which programs write a value.
type Encoding string

// The encodings of [Forms].
const (
	Plain   Encoding = "plain"
	Base64  Encoding = "base64" // either alphabet, also inside something longer that was encoded as a whole
	Hex     Encoding = "hex"
	URL     Encoding = "url"     // percent-encoded
	Escaped Encoding = "escaped" // as in a string of JSON, Go, a shell, SQL, YAML or XML
	UTF16   Encoding = "utf16"
	Line    Encoding = "line" // the longest line of a value of several lines
)

// minLine is the shortest line of a value of several lines that is told from a line of somebody else's file.
const minLine = 16

// Form is a value as a program may have written it. Its text is sealed like the value itself.
type Form struct {
	Encoding Encoding
	Text     Value
}

// Forms returns the texts by which a search finds value, in whatever way it was written; the first one is value itself. Each text is there
// once, and none holds another of the same encoding. It is meant for values of 6 bytes and more: those that are shorter have forms
// that occur by chance. There is no form for a zero Value.
func Forms(value Value) []Form {
	if value.IsZero() {
		return nil
	}
	plain := value.text()
	f := forms{seen: map[string]bool{}}
	f.add(Plain, plain)
	f.add(Line, longestLine(plain))
	f.add(Base64, base64Within(plain)...)
	f.add(Hex, hexForms(plain)...)
	f.add(URL, percentForms(plain)...)
	f.add(Escaped, escapes(plain)...)
	f.add(UTF16, wide(plain, binary.LittleEndian), wide(plain, binary.BigEndian))
	return f.all
}

type forms struct {
	all  []Form
	seen map[string]bool
}

func (f *forms) add(encoding Encoding, texts ...string) {
	for _, text := range texts {
		if text != "" && !f.seen[text] {
			f.seen[text] = true
			f.all = append(f.all, Form{encoding, newValue([]byte(text))})
		}
	}
}

func escapes(value string) []string {
	return append(quotedForms(value),
		strings.ReplaceAll(value, `'`, `'\''`), strings.ReplaceAll(value, `'`, `''`),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(value),
		shellEscape(value),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(value),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace(value),
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(value),
	)
}

// shellEscape puts a backslash before what a shell would not leave alone, as completion and printf %q do.
func shellEscape(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if strings.IndexByte(" \t!\"#$&'()*;<>?[\\]^`{|}~", value[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

// longestLine is "" for a value of one line. The lines that frame a PEM key are anybody's.
func longestLine(value string) string {
	lines := strings.FieldsFunc(value, func(c rune) bool { return c == '\n' || c == '\r' })
	longest := ""
	for _, line := range lines {
		if line = strings.TrimSpace(line); len(line) > len(longest) && !strings.HasPrefix(line, "-----") {
			longest = line
		}
	}
	if len(longest) < minLine || longest == value {
		return ""
	}
	return longest
}

func wide(value string, order binary.ByteOrder) string {
	if !utf8.ValidString(value) {
		return ""
	}
	var b []byte
	for _, unit := range utf16.Encode([]rune(value)) {
		b = append(b, 0, 0)
		order.PutUint16(b[len(b)-2:], unit)
	}
	return string(b)
}
