package process

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	standardError = 2
	// drainTime is how long a crash may take to come in once the process that crashed is gone: all of it is in a pipe then.
	drainTime = time.Second
)

// Diversion is a process whose file descriptor 2 leads to another one, which keeps values out of what the Go runtime
// writes there when the process ends by a panic, a fatal error or SIGQUIT.
type Diversion struct {
	// Stderr is what file descriptor 2 was. No child inherits it.
	Stderr *os.File
	// Lost is closed when the other process has ended too early; from then on, what goes to file descriptor 2 is dropped.
	Lost <-chan struct{}
}

// Divert starts filter, a program that calls [ReportCrash], and has file descriptor 2 of this process lead to it: what
// the runtime writes, and what a library writes to os.Stderr. Filter gets standard input, output, error and one more
// file from here; it is in a process group of its own and outlives this process by a moment. When filter cannot be
// started, file descriptor 2 leads to nowhere, and the error comes with a Diversion all the same; that is nil only when
// nothing was diverted. Tracebacks show all goroutines from then on, whatever GOTRACEBACK says. Call it once.
func Divert(filter *exec.Cmd) (*Diversion, error) {
	debug.SetTraceback("all")
	fd, err := unix.FcntlInt(standardError, unix.F_DUPFD_CLOEXEC, standardError+1)
	if err != nil {
		return nil, fmt.Errorf("keep stderr: %w", err)
	}
	d := &Diversion{Stderr: os.NewFile(uintptr(fd), "/dev/stderr")}
	if err := d.lead(filter); err != nil {
		lost := make(chan struct{})
		close(lost)
		d.Lost = lost
		if nowhere := toNowhere(); nowhere != nil {
			return nil, errors.Join(err, nowhere, d.Stderr.Close())
		}
		return d, err
	}
	return d, nil
}

// lead starts filter and has file descriptor 2 lead to it.
func (d *Diversion) lead(filter *exec.Cmd) (err error) {
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for crashes: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close(), out.Close()) }()
	gone, alive, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for crashes: %w", err)
	}
	defer func() { err = errors.Join(err, gone.Close()) }()
	filter.Stdin, filter.Stdout, filter.Stderr, filter.ExtraFiles = in, nil, d.Stderr, []*os.File{gone}
	filter.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // launchd ends the group of what it started
	if err := filter.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the filter of crashes: %w", err), alive.Close())
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a filter that is gone is no reason to end
	fd := int(out.Fd())
	if err = unix.SetNonblock(fd, false); err == nil { // the runtime does not try again
		err = replaceDescriptor(fd, standardError)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("divert stderr: %w", err), alive.Close())
	}
	lost := make(chan struct{})
	d.Lost = lost
	go func() {
		defer close(lost)
		_ = filter.Wait() // it ended before this process: how, says nothing more
		_ = alive.Close() // held until then: its end tells the filter that this process is gone
		_ = toNowhere()   // which works wherever it did once; a broken pipe loses what is written, too
	}()
	return nil
}

// toNowhere has file descriptor 2 lead to /dev/null.
func toNowhere() error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("drop stderr: %w", err)
	}
	if err := errors.Join(replaceDescriptor(int(null.Fd()), standardError), null.Close()); err != nil {
		return fmt.Errorf("drop stderr: %w", err)
	}
	return nil
}

// ReportCrash is what the program of [Divert] does: it reads from in what the runtime of the other process writes, until
// that has ended, which the end of gone tells too, and when it was a crash writes to out one log record and the trace.
// It lets through only what can hold no value: numbers and states of goroutines, names of functions without their
// arguments, files and lines, and the runtime's own words. Signals do not end it.
func ReportCrash(in, gone io.Reader, out io.Writer) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	log := slog.New(slog.NewTextHandler(out, nil))
	t := &trace{noise: func() { log.Warn("a library writes to stderr: that may hold anything and is withheld") }}
	over, ended := make(chan error, 1), make(chan struct{})
	go func() { over <- t.read(in) }()
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, gone) // nothing comes; that it ends is all there is to know
	}()
	var err error
	select {
	case err = <-over:
	case <-ended:
		select {
		case err = <-over:
		case <-time.After(drainTime): // a child that was left behind holds the other end
		}
	}
	if !t.crashed() {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	log.Error("minibotd crashed", "reason", t.reason, "goroutines", t.headers, "withheld_lines", t.withheld, "cut", t.cut)
	_, writeErr := io.WriteString(out, strings.Join(t.lines, "\n")+"\n")
	return errors.Join(err, writeErr)
}
