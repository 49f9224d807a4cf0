package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"minibot/hint"
)

// TestProgramsAreReplacedTheWayTheyCame has an mb-secrets that does not fit, in each kind of installation.
func TestProgramsAreReplacedTheWayTheyCame(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	const older, alone = "mb-secrets is version 1.2.2, minibotd is 1.2.3", "; run scripts/install.sh of the release or checkout that both are to come from"
	for name, test := range map[string]struct {
		self, script string // below the user's home
		says         string // mb-secrets' version; "" for no mb-secrets
		state        State
		message      string
		brew         string // the command, where it is not the script
	}{
		"Homebrew":            {"brew/Cellar/minibot/1.2.3/bin/minibotd", "", "1.2.2", Failure, older, "brew reinstall minibot"},
		"Homebrew, one alone": {"brew/Cellar/minibot/1.2.3/bin/minibotd", "", "", Warning, "cannot tell: mb-secrets cannot be run", "brew reinstall minibot"},
		"a checkout":          {"it's src/bin/minibotd", "it's src/scripts/install.sh", "1.2.2", Failure, older, ""},
		"an unpacked release": {"minibot-v1.2.3/minibotd", "minibot-v1.2.3/scripts/install.sh", "1.2.2", Failure, older, ""},
		"a folder of its own": {".local/bin/minibotd", "", "1.2.2", Failure, older + alone, ""},
		"one alone":           {".local/bin/minibotd", "", "", Warning, "cannot tell: mb-secrets cannot be run" + alone, ""},
	} {
		d := well(t)
		self, script := filepath.Join(d.UserHome, test.self), filepath.Join(d.UserHome, test.script)
		if err := os.MkdirAll(filepath.Dir(self), 0o700); err != nil {
			t.Fatal(err)
		}
		if test.says != "" {
			writeFile(t, filepath.Join(filepath.Dir(self), "mb-secrets"), "#!/bin/sh\necho mb-secrets "+test.says+"\n", 0o700)
		}
		command := test.brew
		if test.script != "" {
			command = hint.Word(script)
			if err := os.MkdirAll(filepath.Dir(script), 0o700); err != nil {
				t.Fatal(err)
			}
			writeFile(t, script, "", 0o700)
		}
		d.Self = self
		found := said(t, d, "versions")
		want := Finding{Check: "versions", State: test.state, Message: test.message, Command: command}
		if len(found) != 1 || found[0] != want {
			t.Errorf("%s: %+v, want %+v", name, found, want)
		}
	}
}
