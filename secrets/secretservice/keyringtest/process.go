//go:build linux

package keyringtest

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a child that is waited for. A nil process was never started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was waited for
}

func (s *Session) start(cmd *exec.Cmd) *process {
	s.t.Helper()
	// Should the test be killed, its session goes too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getenv("KEYRINGTEST_STDERR") != "" { // what the daemons say, for whoever looks for a fault
		cmd.Stderr = os.Stderr
	}
	s.must(cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // it is killed
	}()
	return p
}

func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// kill ends the process, even one that is stopped, and waits for its end.
func (p *process) kill() {
	if p.alive() {
		_ = p.cmd.Process.Kill() // may have ended meanwhile
		<-p.done
	}
}

// activated returns what ends a keyring that the bus has started, and waits for its end.
func (s *Session) activated() (end func()) {
	end = func() {}
	var pid uint32
	if s.conn == nil || s.conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, name).Store(&pid) != nil {
		return end // nobody keeps secrets
	}
	if s.keyring.alive() && s.keyring.cmd.Process.Pid == int(pid) {
		return end
	}
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return end // it has ended
	}
	return func() {
		defer func() { _ = unix.Close(fd) }()
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // may have ended
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		if err != nil {
			s.t.Errorf("the keyring that the bus has started does not end: %v", err)
		}
	}
}
