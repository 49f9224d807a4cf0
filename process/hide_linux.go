package process

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hide makes the process not dumpable. It is so until the next execve. The kernel then writes no core either, whatever
// the limit and the core pattern are, so that marking pages with MADV_DONTDUMP would add nothing.
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process not dumpable: %w", err)
	}
	return nil
}

// replaceDescriptor has descriptor to lead to where from leads. Children inherit it.
func replaceDescriptor(from, to int) error { return unix.Dup3(from, to, 0) }
