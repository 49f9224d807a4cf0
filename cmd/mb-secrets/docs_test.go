package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	docsFile   = "../../docs/secrets.md"
	storesFile = "../../docs/stores.md"
)

// command is one "$ …" line of the docs and the output that stands below it.
type command struct {
	line   string
	output string
}

// fences returns the commands in a file's code blocks with the given info string.
func fences(t *testing.T, file, info string) []command {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []command
	inside, open := false, false
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "```"):
			open = !open
			inside = open && strings.TrimSpace(line) == "```"+info
		case inside && strings.HasPrefix(line, "$ "):
			list = append(list, command{line: strings.TrimSpace(line[2:])})
		case inside && len(list) == 0:
			t.Fatalf("output before any command: %s", line)
		case inside:
			list[len(list)-1].output += line
		}
	}
	if open || len(list) == 0 {
		t.Fatalf("%s: no command in a block %q, or a block that does not end", file, info)
	}
	return list
}

// TestDocs runs every command of each of the docs in order, in one new installation. Where output is shown, it is compared.
func TestDocs(t *testing.T) {
	for _, file := range []string{docsFile, storesFile} {
		t.Run(filepath.Base(file), func(t *testing.T) { runDocs(t, fences(t, file, "console")) })
	}
}

func runDocs(t *testing.T, commands []command) {
	dir := t.TempDir()
	for _, c := range commands {
		cmd := exec.Command("sh", "-ec", c.line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "MINIBOT_HOME=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("$ %s\n%s%v", c.line, out, err)
		}
		if c.output != "" && string(out) != c.output {
			t.Errorf("$ %s\ngot:\n%swant:\n%s", c.line, out, c.output)
		}
		if strings.Contains(string(out), "example-") {
			t.Errorf("$ %s\nshows a value: %s", c.line, out)
		}
	}
}

// TestDocsStack checks that the commands that need a running stack are ones that a test can run unattended.
func TestDocsStack(t *testing.T) {
	for _, c := range fences(t, docsFile, "console stack") {
		if !strings.Contains(c.line, "mb-secrets ") && !strings.HasPrefix(c.line, "minibotd ") {
			t.Errorf("$ %s: neither mb-secrets nor minibotd", c.line)
		}
	}
}

// TestDocsTable checks that the table of the docs is that of the shipped compose file.
func TestDocsTable(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{homeFlag: t.TempDir()}
	home := a.homeFlag
	piped(t, home, "", 1, "init", "--generate")
	if _, err := a.open(home); err != nil {
		t.Fatal(err)
	}
	project, err := a.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range project.Requirements {
		row := "| `" + string(r.Name) + "` | " + strings.Join(r.UsedBy, ", ") + " | "
		_, rest, found := strings.Cut(string(text), row)
		rest, _, _ = strings.Cut(rest, "\n")
		generated := map[bool]string{true: "| yes |", false: "| no |"}[r.Generate != nil]
		if !found || !strings.HasSuffix(rest, generated) {
			t.Errorf("no row %q … %q in %s", row, generated, docsFile)
		}
	}
}
