package standin

import (
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// misbehave does at the start of a process what State.Fault names; ends is true when the process does nothing else.
//
//	exit    ends with status 1
//	crash   dies of a signal
//	silent  ends with status 0 and says nothing
//	garbage prints what the program never prints, and ends with status 0
//	chatty  warns on both outputs, as libraries do, and goes on
//	flood   prints without end
//	forks   starts a process that holds its outputs open, and hangs
func (p *program) misbehave(fault string) (status int, ends bool) {
	switch fault {
	case "exit":
		return statusFailed, true
	case "crash":
		die(os.Getpid())
	case "silent":
		return 0, true
	case "garbage":
		p.printf(p.stderr, "password: 0xcanary-garbage\nfind-generic-password: returned canary-garbage\n")
		p.printf(p.stdout, "keychain: \x00\x01\nclass: \"genp\"\nattributes:\n    \"acct\"<blob>=0xGG\n    \"mdat\"<timedate>=\"canary-garbage\"\n")
		return 0, p.stdout.Flush() == nil
	case "chatty":
		p.printf(p.stderr, "objc[%d]: Class X is implemented in both A and B\n\n: returned\nfind: returned 1\npassword\n", os.Getpid())
		p.printf(p.stdout, "WARNING\nattributes:\n    \"svce\"<blob>=\"stray\"\n    =\n")
	case "flood":
		for chunk := strings.Repeat("canary-flood\n", 8<<10); ; {
			if _, err := p.stdout.WriteString(chunk); err != nil {
				return statusFailed, true
			}
		}
	case "forks":
		child := exec.Command("sleep", "60")                                                     //nolint:noctx // it is to outlive whoever should end it
		child.Stdout, child.Stderr, child.ExtraFiles = os.Stdout, os.Stderr, []*os.File{p.alive} // it counts as one of ours
		if err := child.Start(); err != nil {
			return report(p.stderr, err), true
		}
		if err := p.files.Update(func(s *State) { s.Forked++ }); err != nil {
			return report(p.stderr, err), true
		}
		return 0, child.Wait() == nil
	}
	return 0, false
}

// maybeDie counts State.DieAfter down before a command.
func (p *program) maybeDie() {
	if !p.mayDie {
		return
	}
	var self, parent bool
	err := p.files.Update(func(s *State) {
		switch {
		case s.DieAfter == nil:
		case *s.DieAfter > 0:
			*s.DieAfter--
		case s.KillParent:
			parent, s.DieAfter, s.KillParent = true, nil, false
		default:
			self = true
		}
	})
	if err != nil {
		report(p.stderr, err)
	}
	if parent {
		die(p.parent)
	}
	if self {
		die(os.Getpid())
	}
}

func die(pid int) {
	if err := unix.Kill(pid, unix.SIGKILL); err == nil && pid == os.Getpid() {
		select {} // the signal is on its way
	}
}
