package stack

import (
	"strings"
	"testing"

	"minibot/hint"
)

func TestProgramError(t *testing.T) {
	keeper := Container{Name: "x-keeper-1"}
	for want, result := range map[string]ExecResult{
		"deliver: the keeper's program ended with 2":                                                  {ExitCode: 2, Stdout: []byte("/")},
		"deliver: the keeper's program ended with 126":                                                {ExitCode: 126},
		"deliver: the engine cannot run the keeper's program: OCI runtime exec failed: no containerd": {ExitCode: 126, Stdout: []byte("OCI runtime exec failed: no containerd\r\n")},
	} {
		if err := programError("deliver", result, keeper); err.Error() != want || !strings.Contains(hint.Of(err), keeper.Name) {
			t.Errorf("%v, hint %q, want %s", err, hint.Of(err), want)
		}
	}
	if err := programError("x", ExecResult{ExitCode: 127, Stdout: []byte(strings.Repeat("y", 1<<20))}, keeper); len(err.Error()) > 600 {
		t.Errorf("%d bytes", len(err.Error()))
	}
}
