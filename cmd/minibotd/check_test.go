package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const checkedCompose = `name: checked
services:
  web:
    image: "${IMAGE}"
    environment:
      - API_KEY
    labels: { "a\e[2J": "$API_KEY" }
    secrets: [ { source: key, target: /etc/key } ]
secrets:
  key: { environment: API_KEY }
`

// checking makes an installation without a daemon whose compose file is text.
func checking(t *testing.T, text string) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("MINIBOT_HOME", home)
	for name, content := range map[string]string{"compose.yaml": text, "config.toml": "[env]\nIMAGE = \"web:1\"\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func TestCheckNamesEveryFaultAndExitsWithOne(t *testing.T) {
	home := checking(t, checkedCompose)
	code, out, errs := command(t.Context(), "check")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != 1 || errs != "" || len(lines) != 3 {
		t.Fatalf("exit %d, %q\n%s", code, errs, out)
	}
	file := filepath.Join(home, "compose.yaml")
	for i, want := range []string{":6: services.web.environment.API_KEY: ", `:7: services.web.labels.a\x1b[2J: `, ":8: services.web.secrets.0: target \"/etc/key\": "} {
		if !strings.HasPrefix(lines[i], file+want) {
			t.Errorf("%q does not begin with %q", lines[i], file+want)
		}
	}
	code, out, _ = command(t.Context(), "check", file, "--json")
	var report struct {
		Findings []struct {
			Code, Secret, Service, Path, File, Message string
			Line                                       int
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || len(report.Findings) != 3 {
		t.Fatalf("exit %d, %v\n%s", code, err, out)
	}
	first, last := report.Findings[0], report.Findings[2]
	if first.Code != "exposed-secret" || first.Secret != "API_KEY" || first.Service != "web" || first.Path != "services.web.environment.API_KEY" ||
		first.Line != 6 || first.File != file || !strings.Contains(first.Message, "/run/secrets/key") {
		t.Errorf("%+v", first)
	}
	if last.Code != "target-outside" || last.Service != "web" || last.Line != 8 {
		t.Errorf("%+v", last)
	}
}

func TestCheckOfAFileWithoutFaults(t *testing.T) {
	checking(t, strings.NewReplacer("      - API_KEY", "      - OTHER=1", "$API_KEY", "$$API_KEY", "/etc/key", "key").Replace(checkedCompose))
	if code, out, errs := command(t.Context(), "check"); code != 0 || out != "" || errs != "" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if code, out, _ := command(t.Context(), "check", "--json"); code != 0 || out != "{\n  \"findings\": []\n}\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	t.Setenv("MINIBOT_HOME", t.TempDir()) // no installation: the shipped stack needs none
	if code, out, errs := command(t.Context(), "check", "../../deploy/compose.yaml"); code != 0 || out != "" || errs != "" {
		t.Errorf("the shipped stack: exit %d, %q, %q", code, out, errs)
	}
}

func TestCheckOfAFileThatDoesNotLoad(t *testing.T) {
	checking(t, "services:\n  web:\n    image: a\n    comand: b\n")
	if code, out, errs := command(t.Context(), "check"); code != 1 || !strings.Contains(out, "compose.yaml:4: services.web.comand: ") || errs != "" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	code, out, _ := command(t.Context(), "check", "--json")
	if code != 1 || !strings.Contains(out, `"code": "invalid"`) || !strings.Contains(out, `"line": 4`) {
		t.Errorf("exit %d, %s", code, out)
	}
	for args, want := range map[string]struct {
		code int
		errs string
	}{
		"check nowhere.yaml": {1, "nowhere.yaml: no such file"},
		"check a b":          {2, "minibotd check --help"},
		"check --fast":       {2, "unknown flag"},
	} {
		if code, out, errs := command(t.Context(), strings.Fields(args)...); code != want.code || !strings.Contains(errs, want.errs) || out != "" {
			t.Errorf("%s: exit %d, %q, %q", args, code, out, errs)
		}
	}
	if code, out, _ := command(t.Context(), "__complete", "check", ""); code != 0 || !strings.HasPrefix(out, "yaml\nyml\n:8\n") {
		t.Errorf("completion: exit %d, %q", code, out)
	}
}
