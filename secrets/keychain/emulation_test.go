//go:build linux && !secemu

package keychain_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const upstreamModule = "github.com/keybase/go-keychain"

// upstreamFiles is what go-keychain builds on macOS.
var upstreamFiles = []string{"keychain.go", "macos.go", "corefoundation.go", "datetime.go", "util.go"}

var (
	constraints = regexp.MustCompile(`(?m)^//( \+build|go:build) .*\n`)
	frameworks  = regexp.MustCompile(`(?m)^#cgo LDFLAGS: -framework .*$`)
)

// emulated is the store's package with the tests that are tagged secemu, built for this machine: go-keychain's darwin source comes from a
// temporary copy without its build constraints, the frameworks from internal/secemu.
type emulated struct {
	dir      string // the package's
	upstream string // the copy of go-keychain
	modFile  string
}

func prepare(t *testing.T) emulated {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Fatal("gcc is missing, which compiles the emulated keychain; scripts/prepare installs it")
	}
	root := goOutput(t, "list", "-m", "-f", "{{.Dir}}")
	source := goOutput(t, "list", "-m", "-f", "{{.Dir}}", upstreamModule)
	temp := t.TempDir()
	e := emulated{
		dir:      filepath.Join(root, "secrets", "keychain"),
		upstream: filepath.Join(temp, "go-keychain"),
		modFile:  filepath.Join(temp, "go.mod"),
	}
	include := "#cgo CFLAGS: -I" + filepath.Join(e.dir, "internal", "secemu", "include")
	write(t, filepath.Join(e.upstream, "go.mod"), "module "+upstreamModule+"\n\ngo 1.21\n")
	for _, name := range upstreamFiles {
		text := constraints.ReplaceAllString(read(t, filepath.Join(source, name)), "")
		write(t, filepath.Join(e.upstream, name), frameworks.ReplaceAllString(text, include))
	}
	write(t, e.modFile, read(t, filepath.Join(root, "go.mod"))+"\nreplace "+upstreamModule+" => "+e.upstream+"\n")
	write(t, filepath.Join(temp, "go.sum"), read(t, filepath.Join(root, "go.sum")))
	return e
}

// test runs the tests against the emulation and returns what they print.
func (e emulated) test(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	arguments = append([]string{"test", "-tags=secemu", "-modfile=" + e.modFile, "-count=1", "-timeout=100s"}, arguments...)
	cmd := exec.CommandContext(t.Context(), "go", append(arguments, ".")...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=", "GOTRACEBACK=none")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestEmulation runs the tests that are tagged secemu, the conformance suite among them, on the emulated keychain: plain, under the race
// detector, and with each of the mutants, which have to fail.
func TestEmulation(t *testing.T) {
	e := prepare(t)
	t.Run("plain", func(t *testing.T) { e.mustPass(t) })
	t.Run("race", func(t *testing.T) { e.mustPass(t, "-race") })
	t.Run("mutants", e.testMutants)
}

func (e emulated) mustPass(t *testing.T, arguments ...string) {
	t.Helper()
	if out, err := e.test(t, arguments...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func goOutput(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", arguments...).Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(out))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
