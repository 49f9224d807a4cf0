package keeper

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
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

// runner is the program for this machine, in a folder of its own; ok is false where it cannot run.
func runner(t *testing.T) (dir, file string, ok bool) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("the program is for Linux; it runs in the engine's tests")
		return "", "", false
	}
	program, err := Program(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	file = filepath.Join(t.TempDir(), "keeper")
	if err := os.WriteFile(file, program, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, file, true
}

// run gives the program its input and returns what it printed and how it exited.
func run(t *testing.T, input, file string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(file, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

func put(t *testing.T, dir, name string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// content lists the files of a folder, each with what is in it.
func content(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, filepath.Base(name)+"="+string(text))
	}
	return strings.Join(all, " ")
}

func TestSize(t *testing.T) {
	for arch := range builds {
		if program, err := Program(arch); err != nil || len(program) >= 500 {
			t.Errorf("%s: %d bytes, %v", arch, len(program), err)
		}
	}
}

func TestProgramRenamesAndRemoves(t *testing.T) {
	dir, file, ok := runner(t)
	if !ok {
		return
	}
	a, b, c := put(t, dir, "a"), put(t, dir, "b"), put(t, dir, "c")
	d, e, gone := filepath.Join(dir, "d"), filepath.Join(dir, "e"), filepath.Join(dir, "gone")
	for _, test := range []struct {
		name string
		args []string
		exit syscall.Errno
		left string
	}{
		{"rename two and remove", []string{a, b, c, "", b, d}, 0, "d=a"},
		{"remove what is gone", []string{gone, "", d, e}, 0, "e=a"},
		{"rename what is gone, and stop there", []string{gone, a, e, ""}, syscall.ENOENT, "e=a"},
		{"remove a directory", []string{dir, ""}, syscall.EISDIR, "e=a"},
	} {
		out, code := run(t, "g", file, test.args...)
		if code != int(test.exit) || len(out) != 1 {
			t.Errorf("%s: exit %d, want %d; printed %q", test.name, code, test.exit, out)
		}
		if left := content(t, dir); left != test.left {
			t.Errorf("%s: left %s", test.name, left)
		}
	}
}

func TestProgramPrints(t *testing.T) {
	dir, file, ok := runner(t)
	if !ok {
		return
	}
	a, gone, empty, large := put(t, dir, "a"), filepath.Join(dir, "gone"), filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	long := strings.Repeat("0123456789abcdef", 1<<16)
	for name, text := range map[string]string{empty: "", large: long} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		files []string
		out   string
		exit  syscall.Errno
	}{
		{"nothing", nil, "", 0},
		{"one", []string{a}, "a\x00", 0},
		{"an even number, one of them gone", []string{gone, a}, "\x00a\x00", 0},
		{"empty and large ones", []string{empty, large, a, gone}, "\x00" + long + "\x00a\x00\x00", 0},
		{"through a file, and none of it", []string{filepath.Join(a, "b"), a}, a[:1] + "\x00a\x00", 0},
		{"a folder, and stop there", []string{a, dir, a}, "a\x00", syscall.EINVAL},
	} {
		before := content(t, dir)
		out, code := run(t, "g", file, append([]string{""}, test.files...)...)
		if code != int(test.exit) || out != file[:1]+test.out {
			t.Errorf("%s: exit %d, want %d; %d bytes, want %d", test.name, code, test.exit, len(out), 1+len(test.out))
		}
		if content(t, dir) != before {
			t.Errorf("%s: something changed", test.name)
		}
	}
}

func TestProgramGivesUpWhenItsInputEnds(t *testing.T) {
	dir, file, ok := runner(t)
	if !ok {
		return
	}
	a, b, c, gone := put(t, dir, "a"), put(t, dir, "b"), put(t, dir, "c"), filepath.Join(dir, "gone")
	out, code := run(t, "", file, gone, c, a, b, c, "", gone, b)
	if code != 1 || len(out) != 1 {
		t.Errorf("exit %d, printed %q", code, out)
	}
	if left := content(t, dir); left != "b=b c=c" {
		t.Errorf("left %s", left)
	}
}

func TestProgramWaits(t *testing.T) {
	dir, file, ok := runner(t)
	if !ok {
		return
	}
	cmd := exec.Command(file, put(t, dir, "a"), filepath.Join(dir, "b"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Errorf("it is not up: %v", err)
	}
	if left := content(t, dir); left != "a=a" {
		t.Errorf("before the go: %s", left)
	}
	if _, err := in.Write([]byte("g")); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left := content(t, dir); left != "b=a" {
		t.Errorf("after it: %s", left)
	}
}
