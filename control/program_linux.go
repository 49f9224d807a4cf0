package control

import (
	"fmt"
	"os"
	"strings"
)

// programOf returns the path of a process's program, or its short name where the path may not be read, or "". By the
// time it is asked, the number may be another process's: it is for a person who looks back, never for a decision.
func programOf(pid int) string {
	if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
		return path
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // all may read it
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
