package control

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// programOf returns the path of a process's program as it was started, or "". By the time it is asked, the number may be
// another process's: it is for a person who looks back, never for a decision.
func programOf(pid int) string {
	const argc = 4 // bytes before the path
	b, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(b) <= argc {
		return ""
	}
	defer clear(b) // arguments and environment follow the path
	path, _, _ := bytes.Cut(b[argc:], []byte{0})
	return string(path)
}
