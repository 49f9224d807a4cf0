package hint_test

import (
	"os/exec"
	"testing"

	"minibot/hint"
)

// TestWordIsOneOfAShell has a shell read what Word wrote.
func TestWordIsOneOfAShell(t *testing.T) {
	for _, text := range []string{"plain/word-1.2:x", "", "two words", "it's", "'", `"$HOME"`, "`id`", "a\\b", "a;b&c|d>e", "~", "*", "!x", "#", "größe", "two\nlines"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s.' "+hint.Word(text)).Output()
		if err != nil || string(out) != text+"." {
			t.Errorf("%q is read as %q, %v", text, out, err)
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "…"}, {"abcdef", 5, "ab…"}, {"aéé", 5, "aéé"}, {"aééé", 5, "a…"}} {
		if got := hint.Cut(test.text, test.most); got != test.want {
			t.Errorf("%q to %d: %q", test.text, test.most, got)
		}
	}
}
