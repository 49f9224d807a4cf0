package emulation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// print answers `launchctl print`, in the shape of macOS 15 with a part of its fields.
func (s *Server) print(t target) Response {
	switch {
	case t.kind == "user" && t.label == "":
		return Response{Stdout: t.text + " = {\n\ttype = user\n\thandle = " + t.uid + "\n}\n"}
	case t.kind == "user":
		return s.notFound(t.label)
	case !s.session:
		return noDomain(t.uid)
	case t.label == "":
		return Response{Stdout: s.printDomain()}
	case s.jobs[t.label] == nil:
		return s.notFound(t.label)
	}
	return Response{Stdout: s.printJob(s.jobs[t.label])}
}

// block writes the lines of a nested block.
func block(b *strings.Builder, indent, name string, lines []string) {
	fmt.Fprintf(b, "%s%s = {\n", indent, name)
	for _, line := range lines {
		fmt.Fprintf(b, "%s\t%s\n", indent, line)
	}
	fmt.Fprintf(b, "%s}\n", indent)
}

func (s *Server) printJob(j *job) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, "\t"+format+"\n", a...) }
	fmt.Fprintf(&b, "gui/%d/%s = {\n", s.config.UID, j.Label)
	active := 0
	state := "not running"
	switch {
	case j.cmd != nil:
		active, state = 1, "running"
	case j.respawn != nil:
		state = "spawn scheduled"
	}
	line("active count = %d", active)
	line("path = %s", j.path)
	line("type = LaunchAgent")
	line("state = %s", state)
	b.WriteByte('\n')
	line("program = %s", j.program())
	block(&b, "\t", "arguments", j.arguments())
	b.WriteByte('\n')
	if j.WorkingDirectory != "" {
		line("working directory = %s", j.WorkingDirectory)
		b.WriteByte('\n')
	}
	if j.StandardOutPath != "" {
		line("stdout path = %s", j.StandardOutPath)
	}
	if j.StandardErrorPath != "" {
		line("stderr path = %s", j.StandardErrorPath)
	}
	block(&b, "\t", "default environment", []string{"PATH => /usr/bin:/bin:/usr/sbin:/sbin"})
	b.WriteByte('\n')
	var variables []string
	for _, name := range slices.Sorted(maps.Keys(j.EnvironmentVariables)) {
		variables = append(variables, name+" => "+j.EnvironmentVariables[name])
	}
	block(&b, "\t", "environment", append(variables, "OSLogRateLimit => 64", "XPC_SERVICE_NAME => "+j.Label))
	b.WriteByte('\n')
	line("domain = gui/%d [100024]", s.config.UID)
	line("asid = 100024")
	line("minimum runtime = %d", seconds(j.ThrottleInterval, defaultThrottle))
	line("exit timeout = %d", seconds(j.ExitTimeOut, defaultExit))
	line("runs = %d", j.runs)
	if j.cmd != nil {
		line("pid = %d", j.cmd.Process.Pid)
	}
	s.printExit(j, line)
	b.WriteByte('\n')
	block(&b, "\t", "resource coalition", []string{"ID = 1114", "type = resource", fmt.Sprintf("state = %s", "active"), "active count = 1", "name = " + j.Label})
	b.WriteByte('\n')
	line("spawn type = daemon (3)")
	line("properties = %s", strings.Join(j.properties(), " | "))
	b.WriteString("}\n")
	return b.String()
}

// printExit says how the last process ended: a line about a signal takes the place of the one about an exit status.
func (s *Server) printExit(j *job, line func(string, ...any)) {
	const exConfig = 78
	switch {
	case !j.ended:
		line("last exit code = (never exited)")
	case j.exit.Signaled():
		name := j.exit.Signal().String()
		line("last terminating signal = %s: %d", strings.ToUpper(name[:1])+name[1:], j.exit.Signal())
	case j.exit.ExitStatus() == exConfig:
		line("last exit code = 78: EX_CONFIG")
	default:
		line("last exit code = %d", j.exit.ExitStatus())
	}
}

func (j *job) properties() []string {
	var out []string
	if j.KeepAlive == true {
		out = append(out, "keepalive")
	}
	if j.RunAtLoad {
		out = append(out, "runatload")
	}
	return append(out, "inferred program")
}

func seconds(set *int, otherwise int) int {
	if set != nil {
		return *set
	}
	return otherwise
}

func (s *Server) printDomain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gui/%d = {\n\ttype = login\n\thandle = 100024\n\tactive count = %d\n\tservice count = %d\n", s.config.UID, len(s.jobs), len(s.jobs))
	b.WriteString("\tcreator = loginwindow[413]\n\tcreator euid = 0\n\tsession = Aqua\n")
	block(&b, "\t", "security context", []string{"uid = " + strconv.Itoa(s.config.UID), "asid = 100024"})
	b.WriteByte('\n')
	var services []string
	for _, label := range slices.Sorted(maps.Keys(s.jobs)) {
		j := s.jobs[label]
		services = append(services, fmt.Sprintf("%8s %6s \t%s", pidOr(j, "0"), lastStatus(j), label))
	}
	block(&b, "\t", "services", services)
	b.WriteByte('\n')
	block(&b, "\t", "disabled services", s.marks())
	b.WriteString("\n\tproperties = gui | gui login\n}\n")
	return b.String()
}

// marks lists labels with what was said of them, also of agents of Apple's.
func (s *Server) marks() []string {
	lines := []string{`"com.apple.Siri.agent" => disabled`}
	for _, label := range slices.Sorted(maps.Keys(s.disabled)) {
		word := "enabled"
		if s.disabled[label] {
			word = "disabled"
		}
		lines = append(lines, fmt.Sprintf("%q => %s", label, word))
	}
	return lines
}

func (s *Server) printDisabled(t target) Response {
	if t.kind == "gui" && !s.session {
		return failure("print-disabled", t.text, exitDomainCannot)
	}
	var b strings.Builder
	block(&b, "\t", "disabled services", s.marks())
	block(&b, "\t", "login item associations", nil)
	return Response{Stdout: b.String()}
}

func pidOr(j *job, otherwise string) string {
	if j.cmd != nil {
		return strconv.Itoa(j.cmd.Process.Pid)
	}
	return otherwise
}

func lastStatus(j *job) string {
	switch {
	case !j.ended:
		return "-"
	case j.exit.Signaled():
		return strconv.Itoa(-int(j.exit.Signal()))
	}
	return strconv.Itoa(j.exit.ExitStatus())
}

// list answers the old `launchctl list [LABEL]`.
func (s *Server) list(rest []string) Response {
	if len(rest) == 1 {
		j := s.jobs[rest[0]]
		if j == nil {
			return Response{Exit: exitNoService, Stderr: fmt.Sprintf("Could not find service %q in domain for port\n", rest[0])}
		}
		text := fmt.Sprintf("{\n\t\"Label\" = %q;\n\t\"LastExitStatus\" = %s;\n", j.Label, strings.TrimPrefix(lastStatus(j), "-"))
		if j.cmd != nil {
			text += fmt.Sprintf("\t\"PID\" = %d;\n", j.cmd.Process.Pid)
		}
		return Response{Stdout: text + fmt.Sprintf("\t\"Program\" = %q;\n};\n", j.program())}
	}
	var b strings.Builder
	b.WriteString("PID\tStatus\tLabel\n")
	for _, label := range slices.Sorted(maps.Keys(s.jobs)) {
		j := s.jobs[label]
		status := lastStatus(j)
		if status == "-" {
			status = "0"
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\n", pidOr(j, "-"), status, label)
	}
	return Response{Stdout: b.String()}
}
