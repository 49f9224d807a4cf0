// Package process keeps others out of a process that holds values: no core file, no debugger, no reading of its memory
// or its first environment by another process of the same user, no file that others can read; and no word of a crash
// that could hold a value.
//
// It owns what is set once for the whole process: limits, umask, file descriptor 2. It guarantees nothing against root.
// It never reads, holds or prints a value itself.
package process

import (
	"errors"
	"fmt"
	"syscall"
)

// privateMask takes every right of group and others from new files.
const privateMask = 0o077

// Harden protects this process for good, and what it starts: no core files, umask 077. This process alone it makes unfit
// for debuggers: on Linux it is no longer dumpable, so that no other process without CAP_SYS_PTRACE, of the same user or
// not, can attach to it or read /proc/PID/mem, environ, maps or fd, which belong to root then; on macOS no debugger can
// attach, and one that is attached already ends it. Call it first of all, before the process holds a value.
func Harden() error {
	syscall.Umask(privateMask)
	return errors.Join(limitCores(true), hide())
}

// HardenUntilExec is Harden for a process that becomes another program in the end: release gives that one the umask and
// the limit of core files that this process came with. That it may be debugged is the new program's own again on Linux.
func HardenUntilExec() (release func() error, err error) {
	mask := syscall.Umask(privateMask)
	var cores syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &cores); err != nil {
		return nil, fmt.Errorf("read the limit of core files: %w", err)
	}
	release = func() error {
		syscall.Umask(mask)
		if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &cores); err != nil {
			return fmt.Errorf("give back the limit of core files: %w", err)
		}
		return nil
	}
	return release, errors.Join(limitCores(false), hide())
}

// limitCores turns core files off; for good takes the right away to turn them on again, too.
func limitCores(forGood bool) error {
	var cores syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_CORE, &cores)
	if err == nil {
		if cores.Cur = 0; forGood {
			cores.Max = 0
		}
		err = syscall.Setrlimit(syscall.RLIMIT_CORE, &cores)
	}
	if err != nil {
		return fmt.Errorf("turn core files off: %w", err)
	}
	return nil
}
