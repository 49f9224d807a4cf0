package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"minibot/hint"
)

// FuzzLoad holds that a compose file of whatever content is either loaded or a LoadError with advice, and soon.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		fullCompose, "services: { a: { image: b } }", "a: &a [*a]", "services: { a: { extends: { file: ../x, service: y } } }", "include: [{ path: [/etc/passwd, b] }]",
		"services: { a: { image: b, env_file: /dev/zero, secrets: [{ source: s, target: ../../x }] } }\nsecrets: { s: { environment: S } }",
		"x: &x { <<: *x }", "services: { a: { image: \"${A:-${B:-${C}}}\" } }", "name: \"\\e[31m\"", "---\n---\nservices: {}", "services: { \"a/b\": { image: !reset b } }", "? [a]: b", "!!binary x", "!reset",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 16<<10 || strings.Contains(text, "include") && strings.Contains(text, "..") {
			return // what is large is slow; and what lies about in the temporary folder is no input
		}
		dir := filepath.Join(t.TempDir(), "p")
		file := filepath.Join(dir, "compose.yaml")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		p, err := Load(ctx, LoadOptions{File: file})
		if ctx.Err() != nil {
			t.Fatal("it takes too long")
		}
		if err != nil {
			if located := (*LoadError)(nil); !errors.As(err, &located) || hint.Of(err) == "" {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
			return
		}
		for name, service := range p.Services {
			for _, file := range service.Files {
				if file.Name == "" || file.Name == "." || strings.HasPrefix(file.Name, "..") || strings.ContainsAny(file.Name, "/\x00") {
					t.Errorf("%s: the file %q", name, file.Name)
				}
			}
		}
	})
}

// FuzzLocate holds that no message of Compose about any file makes the search for its place panic or leave the file.
func FuzzLocate(f *testing.F) {
	f.Add("services:\n  a:\n    image: b\n", `services.a.image must be a "string"`)
	f.Add("a: &a { b: *a }", "services.a.b")
	f.Add("x: &x { <<: [*x, *x] }", `service "x" refers to undefined network "y"`)
	f.Add("- a\n- b", "yaml: line 99999999999999999999: x")
	f.Fuzz(func(t *testing.T, text, message string) {
		file := writeCompose(t, text)
		line, _ := guess(parseNodes(file), message)
		if line < 0 || !strings.Contains(message, "yaml") && line > strings.Count(text, "\n")+strings.Count(text, "\r")+2*strings.Count(text, "\u0085")+strings.Count(text, "\u2028")+strings.Count(text, "\u2029")+1 {
			t.Errorf("line %d", line)
		}
		err := locate(file, errors.New(message))
		if located := (*LoadError)(nil); !errors.As(err, &located) || hint.Of(err) == "" || utf8.ValidString(message) && !utf8.ValidString(err.Error()) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzDeliveryRecord holds that nothing that comes out of the keeper makes its reader panic, and that what is no record is an open one.
func FuzzDeliveryRecord(f *testing.F) {
	f.Add([]byte("/{\"open\":true,\"salt\":\"AAAA\",\"files\":[\"A\",\"../B\"]}\x00\x00"))
	f.Add([]byte("/{\"salt\":\"AAAA\"}\x00{\"files\":[\"A\"]}\x00\x00\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, output []byte) {
		for _, r := range parseRecords(output, 2) {
			if len(r.unwanted(nil)) != len(r.Files) || len(output) == 0 && (!r.Open || !r.tidied) {
				t.Errorf("%+v", r)
			}
		}
	})
}
