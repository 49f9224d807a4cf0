// Package enginestart starts the container engine while none answers: Docker Desktop, OrbStack or Colima on macOS, the
// units of a user's systemd on Linux.
//
// It owns the choice of what to start and the times at which that is tried. It guarantees that what a person named is
// respected: an engine elsewhere is never replaced by one here. It runs programs by their absolute paths, without a shell,
// under a deadline, and shows none of their output. It never stops an engine and never starts one as root.
package enginestart

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"minibot/hint"
	"minibot/stack"
)

// Timeout bounds one command; Colima's first start makes a virtual machine.
const Timeout = 5 * time.Minute

// Starter starts the engine while it is absent. Its fields are fixed once it serves; all are required.
type Starter struct {
	Machine Machine
	Places  func() ([]stack.Candidate, error) // where the engine is looked for, asked anew for each attempt
	// Await returns nil once the engine is absent, or is there again, and an error when ctx has ended or nobody looks any more.
	Await  func(ctx context.Context, absent bool) error
	Refuse func() error // why the engine is not wanted now; nil: it is
	Run    func(ctx context.Context, c Command) error
	// Say is told what is done and what is in the way, each once.
	Say func(message string, err error)
}

// Serve starts the engine whenever it is absent, at once and again after 1, 5 and 15 minutes and then every 15 minutes, until
// it is there. It returns when ctx ends. A command that is under way then goes on: half an engine helps nobody.
func (s *Starter) Serve(ctx context.Context) {
	for ctx.Err() == nil && s.Await(ctx, true) == nil && ctx.Err() == nil {
		s.absence(ctx)
	}
}

// absence is one time without an engine.
func (s *Starter) absence(ctx context.Context) {
	over, cancel := context.WithCancel(ctx)
	there := make(chan struct{})
	go func() {
		defer close(there)
		defer cancel()
		_ = s.Await(over, false) // either way it is over
	}()
	defer func() {
		cancel()
		<-there
	}()
	began, said := time.Now(), ""
	for attempt := 1; over.Err() == nil; {
		tried, err := s.attempt(ctx, attempt)
		if tried {
			attempt++
		}
		if err != nil && err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			s.Say("", err)
		}
		pause := next(time.Since(began))
		if !tried { // what was in the way may go at any time
			pause = min(pause, time.Minute)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-over.Done():
			timer.Stop()
		}
	}
}

// attempt tells whether a command was run, and what was in the way.
func (s *Starter) attempt(ctx context.Context, n int) (tried bool, err error) {
	if err := s.Refuse(); err != nil {
		return false, err
	}
	places, err := s.Places()
	if err != nil {
		return false, err
	}
	command, err := s.Machine.Choose(places)
	if err != nil {
		return false, err
	}
	s.Say(fmt.Sprintf("no engine answers: starting %s with `%s`, attempt %d", command.Product, command, n), nil)
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if err := s.Run(ctx, command); err != nil {
		return true, hint.Wrap(fmt.Errorf("start %s: %w", command.Product, err), "run `%s` and see what it says", command)
	}
	return true, nil
}

// next is the pause before the next attempt, by the time since the engine has been absent.
func next(absent time.Duration) time.Duration {
	for _, at := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
		if absent < at {
			return at - absent
		}
	}
	const every = 15 * time.Minute
	return every - absent%every
}

var errTooLong = errors.New("it took too long and was ended")

// Execute runs a command in a session of its own, so that what it starts outlives this process and its process group, and
// shows its output to nobody. At ctx's deadline it is killed; when ctx is cancelled it goes on by itself.
func Execute(ctx context.Context, c Command) error {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...) //nolint:gosec // by its absolute path, chosen by Choose
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return errors.Join(errTooLong, killed(cmd, ended))
}

func killed(cmd *exec.Cmd, ended <-chan error) error {
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	<-ended // its status says only that it was killed
	return nil
}
