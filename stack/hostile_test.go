package stack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"minibot/hint"
)

const hostileHead = "secrets: { s: { environment: S } }\nservices:\n  a:\n    image: b\n"

// attackWith loads a file that somebody brings, and holds what is promised of each: it is refused with these words and
// with advice, on printable lines, within 2 s (of a machine of its own) and 200 MB. It returns the error's text.
func attackWith(t *testing.T, text, want string) string {
	t.Helper()
	file := writeCompose(t, text)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	_, err := Load(t.Context(), LoadOptions{File: file})
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatalf("%.200q is loaded", text)
	}
	if took > 10*time.Second {
		t.Errorf("%.80q took %v", text, took)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 200<<20 {
		t.Errorf("%.80q took %d MiB", text, grown>>20)
	}
	located := (*LoadError)(nil)
	said := err.Error() + hint.Of(err)
	if !errors.As(err, &located) || hint.Of(err) == "" || !strings.Contains(said, want) || len(said) > 2000 {
		t.Errorf("%.80q: %.500v, want %s, hint %q", text, err, want, hint.Of(err))
	}
	if i := strings.IndexFunc(said, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 {
		t.Errorf("%.80q: the error sends %q", text, said)
	}
	return said
}

func TestAttackComposePathTraversalOfSecrets(t *testing.T) {
	for _, target := range []string{
		"../x", "..", ".", "/", "/etc/passwd", "//run/secrets/../x", "/run/secrets/../x", "/run/secrets/../../etc/passwd", "/run/secrets/", "/run/secrets", "a/../../x",
		"a/b", "./a", "a/", `a\0b`, `\u2025/x`, `\uFF0E\uFF0E/x`, `..\u2215x`, `a\u0000`, "/run/secrets/a/b", "/run//secrets/a", "/run/secrets/./a", "/proc/self/root/run/secrets/x", `a\nb`, `\e[31m`,
		".stage", "new.a", "record", ".stage/record",
	} {
		t.Run(target, func(t *testing.T) {
			text := hostileHead + fmt.Sprintf("    secrets: [{ source: s, target: \"%s\" }]\n", target)
			p, err := Load(t.Context(), LoadOptions{File: writeCompose(t, text)})
			if err != nil {
				attackWith(t, text, "")
				return
			}
			for _, f := range p.Services["a"].Files { // what is taken is one plain name of a file in /run/secrets
				if f.Name != filepath.Base(f.Name) || f.Name == "." || f.Name == ".." || f.Name == stageDir || strings.ContainsFunc(f.Name, func(r rune) bool { return !unicode.IsPrint(r) || r == '/' }) {
					t.Errorf("taken as %q", f.Name)
				}
				t.Logf("taken as %q", f.Name)
			}
		})
	}
}

func TestAttackComposePathTraversalOfConfigs(t *testing.T) {
	for _, target := range []string{"../x", "/../x", "/run/secrets/x", "//run/secrets/x", "/run/secrets/../secrets/x", "/run/./secrets/x", `a\0`, "/", "..", "/etc/../run/secrets/x"} {
		t.Run(target, func(t *testing.T) {
			text := "configs: { c: { content: x } }\n" + hostileHead + fmt.Sprintf("    secrets: [s]\n    configs: [{ source: c, target: \"%s\" }]\n", target)
			p, err := Load(t.Context(), LoadOptions{File: writeCompose(t, text)})
			if err != nil {
				attackWith(t, text, "")
				return
			}
			files, err := configFiles(p.rewritten, p.rewritten.Services["a"])
			for _, f := range files {
				if clean := filepath.Clean("/" + f.target); clean == "/" || clean == "/run/secrets" || strings.HasPrefix(clean, "/run/secrets/") || strings.Contains(f.target, "..") || strings.Contains(f.target, "\x00") {
					t.Errorf("taken as %q", f.target)
				}
			}
			if err != nil || len(files) != 1 {
				t.Errorf("%v, %v", files, err)
			}
		})
	}
}

func TestAttackComposeNames(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"service with an escape":       {"services: { \"\\e[31mred\": { image: b } }\n", ""},
		"service with a separator":     {"services: { \"../../x\": { image: b } }\n", ""},
		"service with a line end":      {"services: { \"a\\nb\": { image: b } }\n", ""},
		"service with a NUL":           {"services: { \"a\\0\": { image: b } }\n", ""},
		"service, right to left":       {"services: { \"a\\u202eb\": { image: b } }\n", ""},
		"service of 1 MB":              {"services: { " + strings.Repeat("a", 1<<20-100) + ": { image: b } }\n", "a name of more than 1000"},
		"service of 300":               {"services: { " + strings.Repeat("a", 300) + ": { image: b } }\n", "at most 200"},
		"no name":                      {"services: { \"\": { image: b } }\n", ""},
		"container with an escape":     {"services: { a: { image: b, container_name: \"\\e]0;x\\a\" } }\n", ""},
		"container with a separator":   {"services: { a: { image: b, container_name: ../x } }\n", ""},
		"secret with an escape":        {"secrets: { \"\\e[31m\": { environment: \"\\e[31m\" } }\nservices: { a: { image: b } }\n", ""},
		"variable with an escape":      {"services: { a: { image: \"${X:?\\e[31m}\" } }\n", ""},
		"unknown key with an escape":   {"services: { a: { image: b, \"\\e[31m\": 1 } }\n", ""},
		"extension with an escape":     {"services: { a: { image: b, x-minibot: { \"\\e[31m\": \"\\a\" } } }\n", ""},
		"dependency with an escape":    {"services: { a: { image: b, depends_on: [\"\\e[31m\"] } }\n", ""},
		"network with an escape":       {"services: { a: { image: b, networks: [\"\\e[31m\"] } }\n", ""},
		"profile and an unknown value": {"services: { a: { image: b, pull_policy: \"\\e[31m\" } }\n", ""},
		"a service twice":              {"services:\n  a: { image: b }\n  a: { image: c }\n", ""},
		"a key twice":                  {"services: { a: { image: b, image: c } }\n", ""},
		"a secret twice":               {"secrets:\n  s: { environment: S }\n  s: { environment: T }\nservices: { a: { image: b } }\n", ""},
		"two volumes of one":           {"secrets: { s: { environment: S } }\nvolumes: { secrets-a: {} }\nservices: { a: { image: b, secrets: [s] } }\n", "reserved"},
		"the keeper":                   {"services: { keeper: { image: b } }\n", "reserved"},
	} {
		t.Run(name, func(t *testing.T) { attackWith(t, test.text, test.want) })
	}
	for _, name := range []string{`\e[2J`, "../x", `a\0b`, `\u202e`} { // Compose makes a plain name of it, or refuses it
		if p, err := Load(t.Context(), LoadOptions{File: writeCompose(t, "name: \""+name+"\"\nservices: { a: { image: b } }\n")}); err == nil && strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			t.Errorf("the project %q", p.Name)
		}
	}
}

func TestAttackComposeHundredThousandServices(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range 100_000 {
		fmt.Fprintf(&b, "  s%d: {image: b}\n", i)
	}
	attackWith(t, b.String(), "")
	var aliased strings.Builder
	aliased.WriteString("x: &x {image: b}\nservices:\n")
	for i := 0; aliased.Len() < maxFile-100; i++ {
		fmt.Fprintf(&aliased, " s%d: *x\n", i)
	}
	attackWith(t, aliased.String(), "")
}

func TestAttackComposeSecretsFromElsewhere(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary.txt")
	if err := os.WriteFile(canary, []byte("canary-of-a-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]string{
		"file": "{ file: " + canary + " }", "content": "{ content: canary }", "external": "{ external: true }", "driver": "{ driver: x }", "nothing": "{}",
		"file and environment": "{ environment: S, file: " + canary + " }",
	} {
		t.Run(name, func(t *testing.T) {
			said := attackWith(t, "secrets: { s: "+source+" }\nservices: { a: { image: b, secrets: [s] } }\n", "")
			if strings.Contains(said, "canary-of-a-file") {
				t.Errorf("it quotes the file: %s", said)
			}
		})
	}
}

// Files that a compose file has no business with are not quoted, and what never answers is not waited for.
func TestAttackComposeIncludesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	shadow, pipe := filepath.Join(dir, "shadow"), filepath.Join(dir, "pipe")
	text := "root:$canary$hash:19000:0:99999:7:::\ndaemon:*:19000::::::\n"
	if err := errors.Join(os.WriteFile(shadow, []byte(text), 0o600), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	contacted := listenForAnybody(t)
	for name, path := range map[string]string{
		"another's file": shadow, "FIFO": pipe, "device": "/dev/zero", "terminal": "/dev/tty", "process": "/proc/self/mem", "folder": dir, "nothing": filepath.Join(dir, "none"),
		"URL": "http://" + contacted + "/compose.yaml", "git": "git://" + contacted + "/x.git", "git over HTTP": "http://" + contacted + "/x.git#main:compose.yaml", "ssh": "git@" + contacted + ":x.git",
		"OCI": "oci://" + contacted + "/x:latest", "NUL": `a\0b`, "stdin": "-",
	} {
		t.Run(name, func(t *testing.T) {
			for what, file := range map[string]string{
				"include": "include: [\"" + path + "\"]\nservices: { a: { image: b } }\n",
				"path":    "include: [{ path: [\"" + path + "\"] }]\nservices: { a: { image: b } }\n",
				"extends": "services: { a: { image: b, extends: { file: \"" + path + "\", service: a } } }\n",
			} {
				if said := attackWith(t, file, ""); strings.Contains(said, "canary") || strings.Contains(said, "hash") {
					t.Errorf("%s quotes the file: %s", what, said)
				}
			}
		})
	}
}

// listenForAnybody returns an address of this machine, and fails the test if somebody comes there.
func listenForAnybody(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Error("a compose file was looked for on the network")
			_ = conn.Close() // what it wants is no matter
		}
	}()
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return ln.Addr().String()
}

// An env_file's lines are values: no error quotes one.
func TestAttackComposeEnvFileOfAnother(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shadow")
	if err := os.WriteFile(file, []byte("A='canary-of-a-quote\nB C=canary-of-a-space\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"env_file", "label_file"} {
		if said := attackWith(t, hostileHead+"    "+key+": "+file+"\n", ""); strings.Contains(said, "canary") {
			t.Errorf("%s is quoted: %s", key, said)
		}
	}
	attackWith(t, hostileHead+"    env_file: /dev/zero\n", "regular file")
}

// Nothing is ever built: a file with a build section loads, and what the engine is to make has none.
func TestAttackComposeBuildIsNeverBuilt(t *testing.T) {
	contacted := listenForAnybody(t)
	for name, build := range map[string]string{
		"here": "{ context: . }", "URL": "{ context: \"http://" + contacted + "/x.git\" }", "inline": "{ context: ., dockerfile_inline: \"FROM x\\nRUN y\" }", "root": "{ context: / }",
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(t.Context(), LoadOptions{File: writeCompose(t, "services: { a: { image: b, build: "+build+" } }\n")})
			if err != nil {
				t.Log(err)
				return
			}
			if p.forEngine(nil, false).Services["a"].Build != nil {
				t.Error("the build section reaches the engine")
			}
		})
	}
}
