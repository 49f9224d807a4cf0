package console

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"minibot/hint"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 日本":       "plain ü 日本",
		"a\nb\r\tc":        `a\nb\r\tc`,
		"\x1b[31mred\x07":  `\x1b[31mred\x07`,
		"\u009bcsi\u202eX": `\u009bcsi\u202eX`,
		"bad\xffutf8":      `bad\xffutf8`,
		"kept \uFFFD":      "kept \uFFFD",
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[time.Duration]string{
		-time.Hour: "just now", 59 * time.Second: "just now", time.Minute: "1 minute", 59 * time.Minute: "59 minutes",
		time.Hour: "1 hour", 3*day + time.Hour: "3 days", 59 * day: "59 days", 60 * day: "2 months", 730 * day: "2 years",
	} {
		if got := Age(in); got != want {
			t.Errorf("Age(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestError(t *testing.T) {
	var out, errs bytes.Buffer
	c := New(nil, &out, &errs)
	c.Error(nil)
	c.Error(hint.Wrap(errors.Join(errors.New("one \x1b[2J"), errors.New("two")), "do %s", "this\nor that"))
	want := "error: one \\x1b[2J\n  two\n  hint: do this\n        or that\n"
	if errs.String() != want || out.Len() != 0 {
		t.Errorf("stderr %q, stdout %q; want stderr %q", errs.String(), out.String(), want)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := New(nil, &out, nil).Table([]string{"NAME", "AGE", "X"}, [][]string{{"länger", "1 day", ""}, {"b", "\x1b", "end"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME    AGE    X\nlänger  1 day\nb       \\x1b   end\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if err := New(nil, failing{}, nil).Table([]string{"A"}, nil); err == nil {
		t.Error("a failed write is no error")
	}
}

func TestProgressCountsFromStartClock(t *testing.T) {
	var errs bytes.Buffer
	c := New(nil, nil, &errs)
	now := time.Unix(100, 0)
	c.now = func() time.Time { return now }
	c.StartClock()
	now = now.Add(1500 * time.Millisecond)
	c.Progress("redis", "healthy\n")
	c.Progress("", "done")
	c.Step("switch-back", "redis", "files\x1b")
	c.Step("stage", "", "REDIS_PASSWORD")
	c.Step("adopt", "", "")
	if want := "   1.5 s  redis      healthy\\n\n   1.5 s  done\n" +
		"   1.5 s  switch-back redis      files\\x1b\n   1.5 s  stage                  REDIS_PASSWORD\n   1.5 s  adopt\n"; errs.String() != want {
		t.Errorf("got %q, want %q", errs.String(), want)
	}
}

func TestPaintWithoutTerminal(t *testing.T) {
	if got := Paint(&bytes.Buffer{}, Red, "text"); got != "text" {
		t.Errorf("got %q", got)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := New(nil, &out, nil).JSON(map[string]string{"a": "<&>"}); err != nil || out.String() != "{\n  \"a\": \"<&>\"\n}\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestPrintable(t *testing.T) {
	var out strings.Builder
	if w := Printable(&out); w != &out {
		t.Error("what is no terminal gets another writer")
	}
	w := &printable{to: &out}
	for _, part := range []string{"a\x1b[31m\tb\n", "\xe6", "\x97", "\xa5\r\n", "\xffx"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%q: %d, %v", part, n, err)
		}
	}
	if want := "a\\x1b[31m\tb\n日\\r\n\\xffx"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
