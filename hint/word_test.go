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
