package stack

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostile are files that would keep Compose, or whoever looks for secrets in them, busy without end.
func hostile() map[string]struct{ text, want string } {
	bomb := "x-a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("x-a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	merges := "x-m0: &m0 { a0: 1 }\n"
	for i := range 40 {
		merges += fmt.Sprintf("x-m%d: &m%d { <<: [*m%d, *m%d], a%d: 1 }\n", i+1, i+1, i, i, i+1)
	}
	return map[string]struct{ text, want string }{
		"huge":             {"x-a: " + strings.Repeat("a", maxFile) + "\n" + lintHead, "larger than 1024 KiB"},
		"aliases":          {bomb + lintHead, "more than 20000 entries"},
		"merges":           {merges + lintHead, "more than 20000 entries"},
		"alias of itself":  {"x-a: &a [*a]\n" + lintHead, "contains itself"},
		"merge of itself":  {"x-a: &a { <<: *a }\nservices: { web: { <<: *a, image: a } }\n", "contains itself"},
		"deep lists":       {"x-a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n" + lintHead, "deeper than 100"},
		"deep by aliases":  {deepAliases() + lintHead, "deeper than 100"},
		"resets":           {lintHead + "x-a: [" + strings.Repeat("!reset 1, ", 5000) + "1]\n", "more than 100 !reset"},
		"documents":        {lintHead + strings.Repeat("---\nx-a: 1\n", 1000), "more than 100 documents"},
		"variables":        {lintHead + "x-a: \"" + strings.Repeat("${A:-b}", 50_000) + "\"\n", "too many variables"},
		"nested variables": {lintHead + "x-a: \"" + strings.Repeat("${A:-", 50_000) + strings.Repeat("}", 50_000) + "\"\n", "too many variables"},
	}
}

func deepAliases() string {
	text := "x-d0: &d0 [a]\n"
	for i := range 200 {
		text += fmt.Sprintf("x-d%d: &d%d [*d%d]\n", i+1, i+1, i)
	}
	return text
}

func TestHostileFilesAreRefusedAtOnce(t *testing.T) {
	for name, test := range hostile() {
		t.Run(name, func(t *testing.T) {
			file := writeCompose(t, test.text)
			for what, call := range map[string]func() error{
				"Lint": func() error { _, err := Lint(t.Context(), LoadOptions{File: file}); return err },
				"Load": func() error { _, err := Load(t.Context(), LoadOptions{File: file}); return err },
				"Check": func() error {
					findings, err := Check(t.Context(), LoadOptions{File: file})
					if err == nil && len(findings) == 1 && findings[0].Code == CodeInvalid {
						return errors.New(findings[0].Message)
					}
					return err
				},
			} {
				began := time.Now()
				err := call()
				if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 1000 {
					t.Errorf("%s: %.300v", what, err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("%s took %v", what, took)
				}
			}
		})
	}
}

// A file at the bounds is still dealt with, and within seconds.
func TestTheLargestFilesAreLoaded(t *testing.T) {
	for name, text := range map[string]string{
		"entries":   lintHead + "x-a: [" + strings.Repeat("[$DB], ", 9_000) + "1]\n",
		"variables": lintHead + "x-a: \"" + strings.Repeat("${DB:-b}", 950) + "\"\n",
		"nested":    lintHead + "x-a: \"" + strings.Repeat("${DB:-", 950) + strings.Repeat("}", 950) + "\"\n",
		"documents": lintHead + strings.Repeat("---\nx-a: $DB\n", 99),
		"resets":    lintHead + "x-a: [" + strings.Repeat("!override [$DB], ", 99) + strings.Repeat("a, ", 9_000) + "1]\n",
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			findings, err := Lint(t.Context(), LoadOptions{File: writeCompose(t, text)})
			if err != nil || len(findings) == 0 {
				t.Errorf("%d findings, %v", len(findings), err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("took %v", took)
			}
		})
	}
}

// What is no plain file is not read: neither what never ends nor what never begins.
func TestFilesWithoutEndAreNotRead(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, endless := range []string{"/dev/zero", pipe} {
		for name, text := range map[string]string{
			"include":        top("include: [" + endless + "]"),
			"its variables":  top("include: [{ path: more.yaml, env_file: " + endless + " }]"),
			"its overrides":  top("include: [{ path: [more.yaml, " + endless + "] }]"),
			"extends":        web("extends: { file: " + endless + ", service: a }"),
			"by a variable":  web("extends: { file: \"${NAME:-" + endless + "}\", service: a }"),
			"env_file":       web("env_file: " + endless),
			"label_file":     web("label_file: " + endless),
			"env_file twice": web("env_file: [{ path: \"${NAME:-" + endless + "}\", required: false }]"),
		} {
			file := writeCompose(t, text)
			writeBeside(t, file, "more.yaml", "services: { more: { image: a } }\n")
			findings, err := Check(t.Context(), LoadOptions{File: file})
			if err != nil || len(findings) != 1 || !strings.Contains(findings[0].String(), "not a regular file") {
				t.Errorf("%s of %s: %v %v", name, endless, findings, err)
			}
		}
		if findings, err := Check(t.Context(), LoadOptions{File: endless}); err != nil || len(findings) != 1 || !strings.Contains(findings[0].Message, "not a regular file") {
			t.Errorf("%s itself: %v %v", endless, findings, err)
		}
	}
}

func TestFilesThatIncludeOneAnotherEnd(t *testing.T) {
	file := writeCompose(t, "include: [a.yaml]\n"+lintHead)
	writeBeside(t, file, "a.yaml", "include: [compose.yaml]\nservices: { a: { extends: { file: compose.yaml, service: web }, command: $DB } }\n")
	findings, err := Check(t.Context(), LoadOptions{File: file})
	if err != nil || len(findings) != 2 || findings[0].Code != CodeExposed || !strings.Contains(findings[1].Message, "cycle") {
		t.Errorf("%v %v", findings, err)
	}
	for i := range maxFiles + 1 {
		writeBeside(t, file, fmt.Sprintf("f%d.yaml", i), fmt.Sprintf("include: [f%d.yaml]\nservices: { s%d: { image: a } }\n", i+1, i))
	}
	writeBeside(t, file, "compose.yaml", "include: [f0.yaml]\n"+lintHead)
	if _, err := Lint(t.Context(), LoadOptions{File: file}); err == nil || !strings.Contains(err.Error(), "more than 100 files") {
		t.Errorf("%v", err)
	}
}
