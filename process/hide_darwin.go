package process

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hide denies debuggers: PT_DENY_ATTACH, which the library calls without cgo.
func hide() error {
	if err := unix.PtraceDenyAttach(); err != nil {
		return fmt.Errorf("deny debuggers: %w", err)
	}
	return nil
}

// replaceDescriptor has descriptor to lead to where from leads. Children inherit it.
func replaceDescriptor(from, to int) error { return unix.Dup2(from, to) }
