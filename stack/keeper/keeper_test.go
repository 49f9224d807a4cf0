package keeper

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

var dump = regexp.MustCompile(`(?m)^\s0x[0-9a-f]{4} ((?:[0-9a-f]{2} )+)`)

func TestEmbeddedCodeIsWhatTheSourcesAssembleTo(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for arch, b := range builds {
		t.Run(arch, func(t *testing.T) {
			cmd := exec.Command("go", "tool", "asm", "-p", "keeper", "-S", "-I", filepath.Join(strings.TrimSpace(string(root)), "pkg", "include"),
				"-o", filepath.Join(t.TempDir(), "keeper.o"), filepath.Join("asm", "keeper_"+arch+".s"))
			cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch)
			listing, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, listing)
			}
			var assembled []byte
			for _, line := range dump.FindAllSubmatch(listing, -1) {
				chunk, err := hex.DecodeString(string(bytes.ReplaceAll(line[1], []byte(" "), nil)))
				if err != nil {
					t.Fatal(err)
				}
				assembled = append(assembled, chunk...)
			}
			embedded, err := hex.DecodeString(b.code)
			if err != nil {
				t.Fatal(err)
			}
			padding, same := bytes.CutPrefix(assembled, embedded) // the assembler pads arm64 to 16 bytes
			if !same || len(bytes.Trim(padding, "\x00")) != 0 || len(padding) > 15 {
				t.Errorf("embedded\n%x\nassembled\n%x", embedded, assembled)
			}
		})
	}
}

func TestUnknownArchitecture(t *testing.T) {
	if _, err := Program("mips"); err == nil {
		t.Error("there is a program for mips")
	}
}

func TestProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("the program is for Linux; it runs in the engine's tests")
		return
	}
	program, err := Program(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if len(program) > 300 {
		t.Errorf("%d bytes", len(program))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "keeper")
	if err := os.WriteFile(file, program, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	a, b, c := put("a", "1"), put("b", "2"), put("c", "3")
	gone := filepath.Join(dir, "gone")
	for _, test := range []struct {
		name string
		args []string
		exit syscall.Errno
	}{
		{"rename two and remove", []string{a, b, c, "", b, filepath.Join(dir, "d")}, 0},
		{"remove what is gone", []string{gone, "", filepath.Join(dir, "d"), filepath.Join(dir, "e")}, 0},
		{"rename what is gone, and stop there", []string{gone, a, filepath.Join(dir, "e"), ""}, syscall.ENOENT},
		{"remove a directory", []string{dir, ""}, syscall.EISDIR},
	} {
		err := exec.Command(file, test.args...).Run()
		var exit *exec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != int(test.exit) {
			t.Errorf("%s: exit %d, want %d", test.name, code, test.exit)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "?"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "e" {
		t.Errorf("left: %v, %v", left, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "e")); err != nil || string(text) != "1" {
		t.Errorf("e holds %q, %v", text, err)
	}
}
