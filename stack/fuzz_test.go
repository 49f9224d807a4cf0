package stack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/hint"
)

// FuzzLint holds that no compose file and no env_file makes Lint, Check or Load panic or go on without end, that findings are
// one line each, and that nothing is found where no secret is declared.
func FuzzLint(f *testing.F) {
	for _, test := range exposedFiles {
		f.Add(test.text, test.more["a.env"], test.more["more.yaml"])
	}
	for _, test := range badFiles {
		f.Add(test.text, "A=1\n", "")
	}
	f.Add("include: [more.yaml, compose.yaml]\n"+lintHead, "", "include: [{ path: [compose.yaml], env_file: [a.env] }]\n")
	f.Add("x: &a [*a]\n", "", "")
	dir, err := os.MkdirTemp("", "mb-fuzz-")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the temporary folder
	f.Fuzz(func(t *testing.T, text, env, more string) {
		if strings.Contains(text+more, "..") || strings.Contains(text+more, "/") {
			return // no other file of this machine
		}
		for name, content := range map[string]string{"compose.yaml": text, "a.env": env, "more.yaml": more} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := LoadOptions{File: filepath.Join(dir, "compose.yaml")}
		findings, err := Check(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		exposed := 0
		for _, finding := range findings {
			if line := finding.String(); printable(line) != line || finding.Message == "" || finding.Line < 0 {
				t.Errorf("%q", line)
			}
			if finding.Code == CodeExposed {
				exposed++
			}
		}
		if exposed > 0 && !strings.Contains(text+more, "environment") {
			t.Errorf("found where nothing is declared: %v", findings)
		}
		if p, err := Load(t.Context(), o); err != nil && hint.Of(err) == "" {
			t.Errorf("no hint: %v", err)
		} else if err == nil && exposed > 0 {
			t.Errorf("%s loads although %d places pass secrets on", p.Name, exposed)
		}
	})
}
