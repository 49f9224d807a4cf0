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
