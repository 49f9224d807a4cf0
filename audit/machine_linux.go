package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

func thisMachine() machine {
	return machine{processes: procProcesses("/proc", os.Geteuid()), crashDirs: crashDirs, swap: func() (swapState, error) { return procSwap("/proc/swaps") }}
}

func crashDirs(userHome string) []string {
	dirs := []string{"/cores", "/var/crash", "/var/lib/systemd/coredump", "/var/lib/apport/coredump", filepath.Join(userHome, "Library/Logs/DiagnosticReports")}
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err == nil {
		if dir := filepath.Dir(strings.TrimSpace(string(pattern))); filepath.IsAbs(dir) && dir != "/" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// procSwap reads the kernel's table of swap devices. One that is compressed memory is no disk.
func procSwap(table string) (swapState, error) {
	text, err := os.ReadFile(table)
	if err != nil {
		return swapOff, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines[1:] { // after the titles
		if !strings.HasPrefix(line, "/dev/zram") {
			return swapOn, nil
		}
	}
	return swapOff, nil
}

// procProcesses reads the processes from the file system proc, as user uid.
func procProcesses(root string, uid int) func(context.Context, func(process) error) error {
	return func(ctx context.Context, visit func(process) error) error {
		entries, err := os.ReadDir(root)
		if err != nil {
			return fmt.Errorf("list the processes: %w", err)
		}
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil {
				continue
			}
			p, err := procProcess(filepath.Join(root, entry.Name()), pid, uid)
			if gone(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("look at process %d: %w", pid, err)
			}
			if err := errors.Join(visit(p), ctx.Err()); err != nil {
				return err
			}
		}
		return nil
	}
}

// gone reports whether err says that a process has ended.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

func procProcess(dir string, pid, uid int) (process, error) {
	p := process{pid: pid}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err
	}
	p.own = uid == 0 || statusUID(status) == uid
	if p.arguments, err = os.ReadFile(filepath.Join(dir, "cmdline")); err != nil {
		if gone(err) {
			return p, err
		}
		p.unread = err // where proc is mounted with hidepid
		return p, nil
	}
	p.name = filepath.Base(firstOf(p.arguments))
	if len(p.arguments) == 0 {
		p.name = "a thread of the kernel, or one that has ended"
	}
	if p.environment, err = os.ReadFile(filepath.Join(dir, "environ")); err != nil {
		if gone(err) {
			return p, err
		}
		p.unread = err
	}
	if groups, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
		p.container = string(containerID.Find(groups))
	}
	return p, nil
}

// containerID is how engines name the control group of a container, in either hierarchy.
var containerID = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// statusUID is the effective user of a process, -1 when it cannot be told.
func statusUID(status []byte) int {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[0] == "Uid:" {
			if uid, err := strconv.Atoi(fields[2]); err == nil {
				return uid
			}
		}
	}
	return -1
}

func firstOf(arguments []byte) string {
	first, _, _ := bytes.Cut(arguments, []byte{0})
	return string(first)
}
