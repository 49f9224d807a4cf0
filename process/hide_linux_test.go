package process_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"minibot/process"
)

func init() { helpers["hold"], helpers["peek"] = hold, peek }

// nobody is who runs the children where the test is root, whom nothing stops.
const nobody = 65534

func asNobody(cmd *exec.Cmd) *exec.Cmd {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

var held = []byte(strings.ToUpper(canary))

// hold holds the canary in its memory and its first environment until stdin ends; with an argument it is hardened.
func hold(args []string) error {
	if len(args) > 0 {
		if err := process.Harden(); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // where Yama is stricter than what is tested
		return err
	}
	fmt.Println(uintptr(unsafe.Pointer(&held[0])))
	_, err := io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
	return err
}

// peek tries to get at another process's memory and says which ways show the canary.
func peek(args []string) error {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	at, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	seen["environ"] = err == nil && bytes.Contains(environ, []byte(canary))
	buf := make([]byte, len(held))
	if mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid)); err == nil {
		_, err = mem.ReadAt(buf, int64(at))
		seen["mem"] = err == nil && bytes.Equal(buf, held)
	}
	clear(buf)
	_, err = unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(buf)}}, 0)
	seen["process_vm_readv"] = err == nil && bytes.Equal(buf, held)
	_, err = os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	seen["fd"] = err == nil
	runtime.LockOSThread()
	seen["ptrace"] = unix.PtraceSeize(pid) == nil // without stopping it
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// TestAnotherProcessOfTheSameUserCannotReadAHardenedOne looks at one that is not hardened, too: there it must succeed.
func TestAnotherProcessOfTheSameUserCannotReadAHardenedOne(t *testing.T) {
	program := public(t)
	for _, hardened := range []bool{false, true} {
		args := []string{}
		if hardened {
			args = append(args, "hardened")
		}
		holder := asNobody(self(t, program, "hold", args...))
		stdin, err := holder.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		holder.Stderr = os.Stderr
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		address := line(t, stdout)
		out, err := asNobody(self(t, program, "peek", strconv.Itoa(holder.Process.Pid), address)).Output()
		if err != nil {
			t.Fatal(err)
		}
		var seen map[string]bool
		if err := json.Unmarshal(out, &seen); err != nil {
			t.Fatal(err)
		}
		if !hardened && (!seen["environ"] || !seen["fd"]) {
			t.Errorf("an open process: %v; what this test sees of a hardened one says nothing", seen)
		}
		for way, shown := range seen {
			if hardened && shown {
				t.Errorf("%s shows it", way)
			}
		}
		t.Logf("hardened %v: %v", hardened, seen)
		if err := stdin.Close(); err != nil {
			t.Fatal(err)
		}
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	}
}
