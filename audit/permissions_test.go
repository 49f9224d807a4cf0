package audit

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/control"
	"minibot/hint"
)

func TestEveryOpenPermissionIsFound(t *testing.T) {
	for _, c := range []struct {
		path string
		mode os.FileMode
		want string
		high bool
	}{
		{"", 0o755, "chmod 700", false}, {"", 0o777, "chmod 700", true}, {"run", 0o711, "chmod 700", true}, {"state", 0o750, "chmod 700", true},
		{"run/minibotd.sock", 0o666, "chmod 600", true}, {"run/minibotd.lock", 0o644, "chmod 600", true}, {"state/events.jsonl", 0o640, "chmod 600", true},
		{"store.age", 0o644, "chmod 600", true}, {"age.key", 0o604, "chmod 600", true}, {"config.toml", 0o664, "chmod go-w", true},
		{"compose.yaml", 0o666, "chmod go-w", true},
	} {
		a := clean(t)
		path := filepath.Join(a.Paths.Home, c.path)
		if !strings.HasSuffix(c.path, "un") && filepath.Ext(c.path) != "" {
			put(t, path, "x")
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		all, _ := audit(t, a)
		var found []control.Finding
		for _, f := range all {
			if f.Code == "permissions" && f.Place == path {
				found = append(found, f)
			}
		}
		if len(found) != 1 || found[0].Hint != "`"+c.want+" "+path+"`" || (found[0].Severity == control.SeverityHigh) != c.high {
			t.Errorf("%s with mode %o: %+v", c.path, c.mode, found)
		}
	}
}

func TestReadableConfigurationIsNoFinding(t *testing.T) {
	a := clean(t)
	for _, path := range []string{a.Paths.Config, a.Paths.Compose} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := audit(t, a); len(in(all, "permissions", "")) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestPathsAreQuotedForAShell(t *testing.T) {
	for path, want := range map[string]string{"/a/b.c-d_e": "/a/b.c-d_e", "/a b": "'/a b'", "/it's;rm": `'/it'\''s;rm'`} {
		if got := hint.Word(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestTheKernelsAnswerOfMacOSIsTakenApart(t *testing.T) {
	answer := binary.LittleEndian.AppendUint32(nil, 2)
	answer = append(answer, "/bin/sh\x00\x00\x00\x00sh\x00--password=x\x00A=1\x00B=2\x00\x00"...)
	arguments, environment, err := splitProcargs(answer)
	if err != nil || string(arguments) != "sh\x00--password=x\x00" || string(environment) != "A=1\x00B=2\x00\x00" {
		t.Errorf("%q, %q, %v", arguments, environment, err)
	}
	for _, bad := range []string{"", "\x01", "\xff\xff\xff\xff/bin/sh\x00", "\x02\x00\x00\x00/bin/sh"} {
		if _, _, err := splitProcargs([]byte(bad)); err == nil {
			t.Errorf("%q is understood", bad)
		}
	}
	if arguments, _, err := splitProcargs([]byte("\x05\x00\x00\x00/bin/sh\x00sh\x00canary")); err != nil || string(arguments) != "sh\x00canary" {
		t.Errorf("cut off: %q, %v", arguments, err)
	}
}
