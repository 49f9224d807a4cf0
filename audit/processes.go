package audit

import (
	"bytes"
	"context"
	"fmt"

	"minibot/control"
)

// processes searches the arguments of all processes and the environment of those that allow it, minibot's own included. Of those
// of other users only what everybody can see is looked at, and that the rest cannot be is not said.
func (r *run) processes(ctx context.Context) error {
	err := r.machine.processes(ctx, func(p process) error {
		where := container{}
		if p.container != "" {
			where = r.stacks[p.container]
		}
		name := fmt.Sprintf("process %d", p.pid)
		if about := r.processName(p.name); about != "" {
			name += " (" + about + ")"
		}
		if where.name != "" {
			name += " in container " + where.name
		}
		if p.unread != nil && p.own {
			r.incomplete(name+", environment", p.unread)
		}
		if len(p.arguments) > 0 {
			if err := r.search(ctx, place{"secret-in-arguments", name + ", arguments", where.service}, bytes.NewReader(p.arguments)); err != nil {
				return err
			}
		}
		if len(p.environment) == 0 {
			return nil
		}
		return r.search(ctx, place{"secret-in-environment", name + ", environment", where.service}, bytes.NewReader(p.environment))
	})
	if err != nil && ctx.Err() == nil && r.stopped == nil {
		r.incomplete("processes", err)
		return nil
	}
	return err
}

// processName is a program's name, unless it may be the beginning of a value: systems cut names short.
func (r *run) processName(name string) string {
	for _, s := range r.searched {
		plain := s.Value.Reveal()
		part := len(name) >= 4 && bytes.Contains(plain, []byte(name))
		clear(plain)
		if part {
			return ""
		}
	}
	return name
}

// swap says whether memory can end up on a disk.
func (r *run) swap(context.Context) error {
	state, err := r.machine.swap()
	if err != nil {
		r.incomplete("swap", err)
		return nil
	}
	switch state {
	case swapOn:
		return r.found(control.Finding{Code: "swap-unprotected", Severity: control.SeverityMedium, Place: "swap",
			Message: "this machine swaps memory to a disk: the memory of minibotd and of the services, with the secrets in it, may be written there in the clear",
			Hint:    "turn it off (`sudo swapoff -a`, and its line in /etc/fstab), or put it on an encrypted device"})
	case swapEncrypted:
		return r.found(control.Finding{Code: "swap-encrypted", Severity: control.SeverityNote, Place: "swap",
			Message: "memory may be written to the swap, which macOS encrypts; what the engine's virtual machine swaps is told with its containers"})
	case swapOff:
	}
	return nil
}
