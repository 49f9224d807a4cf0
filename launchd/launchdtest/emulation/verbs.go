package emulation

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// target is a parsed domain or service: gui/501, gui/501/com.minibot, user/501/com.minibot.
type target struct {
	text, kind, uid, label string
}

func parseTarget(text string) (target, bool) {
	parts := strings.SplitN(text, "/", 3)
	if len(parts) < 2 || parts[0] != "gui" && parts[0] != "user" {
		return target{}, false
	}
	t := target{text: text, kind: parts[0], uid: parts[1]}
	if len(parts) == 3 {
		t.label = parts[2]
	}
	_, err := strconv.Atoi(t.uid)
	return t, err == nil
}

// launchctl answers a command line. The lock is held.
func (s *Server) launchctl(args []string, dir string) Response {
	if len(args) == 0 {
		return usage("subcommand")
	}
	verb, rest := args[0], args[1:]
	switch verb {
	case "managername":
		if s.session {
			return Response{Stdout: "Aqua\n"}
		}
		return Response{Stdout: "Background\n"}
	case "setenv", "unsetenv", "getenv":
		return s.variable(verb, rest)
	case "list":
		return s.list(rest)
	case "error":
		n, err := strconv.Atoi(strings.Join(rest, ""))
		if err != nil {
			return usage(verb)
		}
		return Response{Stdout: fmt.Sprintf("%d: %s\n", n, message(n))}
	}
	var flags []string
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		flags, rest = append(flags, rest[0]), rest[1:]
	}
	if verb == "kill" && len(rest) == 2 { // kill SIGTERM gui/501/com.minibot
		flags, rest = []string{rest[0]}, rest[1:]
	}
	// Some systems know `bootout --wait` and others, as late as macOS 15, take the flag for a target.
	if len(rest) == 0 || len(flags) > 0 && verb != "kill" && (verb != "kickstart" || strings.Trim(strings.Join(flags, ""), "-kp") != "") {
		return usage(verb)
	}
	t, ok := parseTarget(rest[0])
	if !ok {
		return Response{Exit: exitUsage, Stderr: "Unrecognized target specifier.\n" + usage(verb).Stderr}
	}
	if t.uid != strconv.Itoa(s.config.UID) {
		return noDomain(t.uid)
	}
	return s.onTarget(verb, flags, t, rest[1:], dir)
}

// onTarget answers verbs whose first argument is a domain or a service.
func (s *Server) onTarget(verb string, flags []string, t target, rest []string, dir string) Response {
	switch verb {
	case "enable", "disable":
		return s.setMark(verb, t)
	case "print-disabled":
		return s.printDisabled(t)
	case "print":
		return s.print(t)
	case "bootstrap", "bootout", "kickstart", "kill":
	default:
		return Response{Exit: exitUsage, Stderr: fmt.Sprintf("Unrecognized subcommand: %s\n", verb)}
	}
	switch {
	case t.kind != "gui" || !s.session:
		return failure(verb, t.text, exitDomainCannot)
	case s.leaving:
		return failure(verb, t.text, exitTearingDown)
	}
	switch verb {
	case "bootstrap":
		return s.bootstrap(t, rest, dir)
	case "bootout":
		return s.bootout(t)
	case "kickstart":
		return s.kickstart(t, strings.Join(flags, ""))
	default:
		return s.kill(t, flags)
	}
}

func (s *Server) setMark(verb string, t target) Response {
	if t.label == "" {
		return usage(verb)
	}
	if t.kind == "gui" && !s.session {
		return failure(verb, t.label, exitDomainCannot)
	}
	s.mark(t.label, verb == "disable")
	return Response{}
}

// bootstrap loads a file. To a user who is not root launchd says "Input/output error" for most of what is wrong with it.
func (s *Server) bootstrap(t target, files []string, dir string) Response {
	if t.label != "" || len(files) != 1 {
		return usage("bootstrap")
	}
	path := files[0]
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	switch exit := s.load(path); exit {
	case 0:
		return Response{}
	case exitBadPlist, exitBadLabel, exitBadProgram:
		s.record(Event{Kind: EventSkip, Exit: exit, Detail: path + ": " + message(exit)})
		return failure("bootstrap", path, exitIO)
	default:
		return failure("bootstrap", path, exit)
	}
}

func (s *Server) bootout(t target) Response {
	j := s.jobs[t.label]
	switch {
	case t.label == "":
		return usage("bootout")
	case j == nil:
		return failure("bootout", t.text, exitNoProcess)
	case j.leaving:
		return failure("bootout", t.text, exitInProgress)
	}
	s.leave(j)
	return Response{}
}

// kickstart starts a service now, past its throttle. It returns once the new process is there.
func (s *Server) kickstart(t target, flags string) Response {
	j := s.jobs[t.label]
	switch {
	case t.label == "":
		return usage("kickstart")
	case j == nil:
		return s.notFound(t.label)
	case j.leaving, j.cmd != nil && !strings.Contains(flags, "k"):
		return failure("kickstart", t.label, exitAlready)
	}
	runs := j.runs
	if j.cmd == nil {
		s.spawn(j)
	} else {
		j.again = true
		if s.config.Gentle {
			s.stop(j)
		} else {
			s.signal(j, syscall.SIGKILL)
		}
		for j.runs == runs && s.jobs[t.label] == j && !j.leaving {
			s.changed.Wait()
		}
	}
	if j.cmd == nil {
		return failure("kickstart", t.label, exitAlready)
	}
	if strings.Contains(flags, "p") {
		return Response{Stdout: fmt.Sprintf("service spawned with pid: %d\n", j.cmd.Process.Pid)}
	}
	return Response{}
}

// kill sends a signal to a service.
func (s *Server) kill(t target, names []string) Response {
	signals := map[string]syscall.Signal{
		"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL, "SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT,
		"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "15": syscall.SIGTERM, "9": syscall.SIGKILL,
	}
	signal, ok := signals[strings.Join(names, "")]
	j := s.jobs[t.label]
	switch {
	case !ok || t.label == "":
		return usage("kill")
	case j == nil:
		return s.notFound(t.label)
	case j.cmd == nil:
		return failure("kill", t.label, exitNoProcess)
	}
	s.signal(j, signal)
	return Response{}
}

// variable is `launchctl setenv NAME VALUE` and its like: variables for agents that are started from then on.
func (s *Server) variable(verb string, rest []string) Response {
	switch {
	case verb == "setenv" && len(rest) == 2:
		s.variables[rest[0]] = rest[1]
	case verb == "unsetenv" && len(rest) == 1:
		delete(s.variables, rest[0])
	case verb == "getenv" && len(rest) == 1:
		if value, ok := s.variables[rest[0]]; ok {
			return Response{Stdout: value + "\n"}
		}
	default:
		return usage(verb)
	}
	return Response{}
}
