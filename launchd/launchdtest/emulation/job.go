package emulation

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// job is an agent that is loaded. The server's lock guards it.
type job struct {
	*agent
	path    string
	cmd     *exec.Cmd // the running process, or nil
	runs    int
	started time.Time          // of the last process
	ended   bool               // one has ended
	exit    syscall.WaitStatus // how, when ended
	leaving bool               // booted out; forgotten when the process has ended
	again   bool               // start it at its end whatever KeepAlive says
	respawn *time.Timer        // throttled
	killer  *time.Timer        // SIGKILL after the exit timeout
}

// load takes a file into the domain and returns an exit status of launchctl.
func (s *Server) load(path string) int {
	a, exit := readAgent(path, s.config.UID)
	switch {
	case exit != 0:
		return exit
	case !a.aqua():
		return exitWrongSession
	case s.isDisabled(a):
		return exitDisabled
	case s.jobs[a.Label] != nil: // also while it is leaving
		return exitIO
	}
	j := &job{agent: a, path: path}
	s.jobs[a.Label] = j
	s.record(Event{Kind: EventLoad, Label: a.Label, Detail: path})
	if a.startsAtLoad() {
		s.spawn(j)
	}
	return 0
}

// isDisabled tells whether an agent is not to be loaded: a mark goes before the key of the file.
func (s *Server) isDisabled(a *agent) bool {
	if disabled, ok := s.disabled[a.Label]; ok {
		return disabled
	}
	return a.Disabled
}

// spawn starts the process of j unless one runs.
func (s *Server) spawn(j *job) {
	if j.respawn != nil {
		j.respawn.Stop()
		j.respawn = nil
	}
	if j.cmd != nil || j.leaving {
		return
	}
	j.started, j.runs = time.Now(), j.runs+1
	cmd, err := startProxy(s.proxy, order{
		Program: j.program(), Arguments: j.arguments(), Environment: s.environment(j.agent), Dir: j.WorkingDirectory, Umask: j.umask(),
		Stdin: j.StandardInPath, Stdout: j.StandardOutPath, Stderr: j.StandardErrorPath,
	})
	if err != nil {
		s.note(err)
		return
	}
	j.cmd = cmd
	s.record(Event{Kind: EventSpawn, Label: j.Label, PID: cmd.Process.Pid})
	s.changed.Broadcast()
	s.running.Go(func() {
		state := syscall.WaitStatus(0)
		if err := cmd.Wait(); cmd.ProcessState != nil {
			state, _ = cmd.ProcessState.Sys().(syscall.WaitStatus)
		} else {
			s.mu.Lock()
			s.note(err)
			s.mu.Unlock()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended(j, cmd.Process.Pid, state)
	})
}

// ended decides what follows the end of a process.
func (s *Server) ended(j *job, pid int, exit syscall.WaitStatus) {
	if !j.AbandonProcessGroup {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // mostly there is none left
	}
	if j.killer != nil {
		j.killer.Stop()
		j.killer = nil
	}
	j.cmd, j.ended, j.exit = nil, true, exit
	s.record(Event{Kind: EventExit, Label: j.Label, PID: pid, Detail: how(exit)})
	again := j.again
	j.again = false
	switch {
	case j.leaving:
		s.forgetSoon(j)
	case again:
		s.spawn(j)
	case j.staysAlive(exit):
		s.spawnLater(j, time.Until(j.started.Add(scaled(j.ThrottleInterval, defaultThrottle, s.config.Speed))))
	}
	s.changed.Broadcast()
}

// spawnLater starts j when its throttle interval is over.
func (s *Server) spawnLater(j *job, wait time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(max(wait, 0), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if j.respawn == timer && s.jobs[j.Label] == j {
			s.spawn(j)
		}
	})
	j.respawn = timer
}

// signal sends a signal to the process of j, and to nothing else of its group.
func (s *Server) signal(j *job, signal syscall.Signal) {
	if j.cmd == nil {
		return
	}
	s.record(Event{Kind: EventSignal, Label: j.Label, PID: j.cmd.Process.Pid, Detail: signal.String()})
	_ = j.cmd.Process.Signal(signal) // it may be gone, which its end will tell
}

// stop ends the process of j as launchd does: SIGTERM, and SIGKILL after the exit timeout, which 0 makes infinite.
func (s *Server) stop(j *job) {
	s.signal(j, syscall.SIGTERM)
	timeout := scaled(j.ExitTimeOut, defaultExit, s.config.ExitSpeed)
	if timeout <= 0 || j.killer != nil || j.cmd == nil {
		return
	}
	cmd := j.cmd
	j.killer = time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if j.cmd == cmd {
			s.signal(j, syscall.SIGKILL)
		}
	})
}

// leave begins to forget j. It stays in print until its process has ended and some time has passed.
func (s *Server) leave(j *job) {
	j.leaving = true
	if j.respawn != nil {
		j.respawn.Stop()
		j.respawn = nil
	}
	if j.cmd == nil {
		s.forgetSoon(j)
		return
	}
	s.stop(j)
}

func (s *Server) forgetSoon(j *job) {
	time.AfterFunc(s.config.Settle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.jobs[j.Label] == j {
			delete(s.jobs, j.Label)
			s.record(Event{Kind: EventUnload, Label: j.Label})
			s.changed.Broadcast()
		}
	})
}

// login begins a desktop session and loads what lies in the user's LaunchAgents folder, by name.
func (s *Server) login() {
	if s.session {
		return
	}
	s.session = true
	s.record(Event{Kind: EventLogin})
	files, err := filepath.Glob(filepath.Join(s.config.UserHome, "Library", "LaunchAgents", "*.plist"))
	s.note(err)
	slices.Sort(files)
	for _, path := range files {
		if exit := s.load(path); exit != 0 {
			s.record(Event{Kind: EventSkip, Exit: exit, Detail: fmt.Sprintf("%s: %s", path, message(exit))})
		}
	}
}

// logout ends all agents and the session, and returns when that is done.
func (s *Server) logout(kill bool) {
	if !s.session {
		return
	}
	s.leaving = true
	for _, j := range s.jobs {
		s.leave(j)
		if kill {
			s.signal(j, syscall.SIGKILL)
		}
	}
	for slices.ContainsFunc(s.all(), func(j *job) bool { return j.cmd != nil }) {
		s.changed.Wait()
	}
	clear(s.jobs)
	clear(s.variables)
	s.session, s.leaving = false, false
	s.record(Event{Kind: EventLogout})
}

func (s *Server) all() []*job {
	all := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		all = append(all, j)
	}
	return all
}

// how says how a process ended.
func how(exit syscall.WaitStatus) string {
	if exit.Signaled() {
		return fmt.Sprintf("signal %d", exit.Signal())
	}
	return fmt.Sprintf("exit status %d", exit.ExitStatus())
}
