package console

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzEscape holds that no text, in whatever pieces it comes, sends a terminal more than printable characters, line ends
// and tabs, and that nothing of a line is lost.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{
		"plain ü 日本\n", "\x1b[31m\x1b]8;;http://x\x07link\x1b]8;;\x07\r\n", "\u009b2J\u202e\u2066x\u200b\ufeff", "\xff\xfe\xc3\x28\xe2\x82", "a\tb\x00\x7f\u0085", "\U000e0041\U0010ffff",
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		escaped := Escape(text)
		if i := strings.IndexFunc(escaped, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(escaped) {
			t.Fatalf("%q sends %q", text, escaped)
		}
		var out bytes.Buffer
		p := &printable{to: &out}
		cut = min(max(cut, 0), len(text))
		for _, part := range []string{text[:cut], text[cut:], "\n"} {
			if n, err := p.Write([]byte(part)); err != nil || n != len(part) {
				t.Fatalf("%d, %v", n, err)
			}
		}
		for line := range strings.Lines(out.String()) {
			if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }); i >= 0 {
				t.Fatalf("%q, cut at %d, sends %q", text, cut, line)
			}
		}
		if strings.Count(out.String(), "\n") != strings.Count(text, "\n")+1 {
			t.Errorf("%q, cut at %d, became %q", text, cut, out.String())
		}
		out.Reset()
		var back []string
		if err := New(nil, &out, nil).JSON([]string{text}); err != nil || strings.ContainsFunc(out.String(), notJSON) {
			t.Errorf("the JSON of %q is %q, %v", text, out.String(), err)
		}
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[0] != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
			t.Errorf("the JSON of %q comes back as %q, %v", text, back, err)
		}
		if flat := escapeLines(text, "  "); strings.ContainsFunc(flat, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("an error of %q sends %q", text, flat)
		}
	})
}
