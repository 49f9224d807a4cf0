package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func thisMachine() machine {
	return machine{processes: sysctlProcesses, crashDirs: crashDirs, swap: func() (swapState, error) { return swapEncrypted, nil }}
}

func crashDirs(userHome string) []string {
	return []string{"/cores", "/Library/Logs/DiagnosticReports", filepath.Join(userHome, "Library/Logs/DiagnosticReports")}
}

// sysctlProcesses asks the kernel. It shows the arguments of the user's own processes only, and the environment of those that are not
// the system's; root sees all.
func sysctlProcesses(ctx context.Context, visit func(process) error) error {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return fmt.Errorf("list the processes: %w", err)
	}
	uid := uint32(os.Geteuid())
	for _, info := range all {
		comm, _, _ := bytes.Cut(info.Proc.P_comm[:], []byte{0})
		p := process{pid: int(info.Proc.P_pid), own: uid == 0 || info.Eproc.Ucred.Uid == uid, name: string(comm)}
		if !p.own || p.pid == 0 {
			continue
		}
		answer, err := unix.SysctlRaw("kern.procargs2", p.pid)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // ended, or a zombie
			continue
		}
		if err == nil {
			p.arguments, p.environment, err = splitProcargs(answer)
		}
		p.unread = err
		if err := errors.Join(visit(p), ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}
