package process_test

import (
	"os/exec"
	"testing"

	"minibot/process"
)

// TestLimitedKeepsTheFirstBytes has a program of its own write, as that goes another way than a call of Write.
func TestLimitedKeepsTheFirstBytes(t *testing.T) {
	for script, want := range map[string]process.Limited{
		"printf 12345": {Max: 5}, "printf 123456": {Max: 5, Over: true}, "printf 12345; head -c 1000000 /dev/zero": {Max: 5, Over: true},
	} {
		l := process.Limited{Max: want.Max}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Stdout = &l
		if err := cmd.Run(); err != nil || l.String() != "12345" || l.Over != want.Over {
			t.Errorf("%s: %v, kept %q, over %v", script, err, l.String(), l.Over)
		}
	}
}
