package launchd

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Job is what `launchctl print gui/UID/LABEL` says of an agent. Apple calls that output unstable, so a field that is absent or
// not as expected is a zero value.
type Job struct {
	State    string // "running", "not running", "spawn scheduled", …
	PID      int    // of the running process, or 0
	Runs     int    // how often it was started since it was loaded
	LastExit string // "exit status 78", "signal 9", or "" when it never ended or launchd does not say
	Path     string // the property list it was loaded from
	Program  string
}

// statePattern is what a state may look like, so that nothing else of the output is shown to a person.
var statePattern = regexp.MustCompile(`^[a-z][a-z ]{0,39}$`)

// parseJob reads the fields of the first level; deeper ones have the same names and mean something else.
func parseJob(out, target string) (Job, error) {
	fields, ok := topLevel(out, target)
	if !ok {
		return Job{}, &Failure{Verb: "print", Exit: 0, Err: ErrUnknown}
	}
	job := Job{Path: pathField(fields["path"]), Program: pathField(fields["program"]), PID: number(fields["pid"]), Runs: number(fields["runs"])}
	if statePattern.MatchString(fields["state"]) {
		job.State = fields["state"]
	}
	if signal, ok := fields["last terminating signal"]; ok { // "Killed: 9"
		if n := number(signal[strings.LastIndexByte(signal, ' ')+1:]); n > 0 {
			job.LastExit = fmt.Sprintf("signal %d", n)
		}
	} else if code, _, _ := strings.Cut(fields["last exit code"], ":"); code != "" { // "78: EX_CONFIG", "0", "(never exited)"
		if n, err := strconv.Atoi(code); err == nil && n >= 0 {
			job.LastExit = fmt.Sprintf("exit status %d", n)
		}
	}
	return job, nil
}

// topLevel returns the fields "\tkey = value" of a block "header = {" … "}", the first of each name.
func topLevel(out, header string) (map[string]string, bool) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if lines[0] != header+" = {" || lines[len(lines)-1] != "}" {
		return nil, false
	}
	fields := map[string]string{}
	for _, line := range lines[1 : len(lines)-1] {
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "\t"), " = ") // deeper ones keep a tab, and match no name
		if _, seen := fields[key]; ok && !seen && value != "{" {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields, true
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// pathField returns an absolute printable path, or "": launchd writes "(submitted by …)" where there is no file.
func pathField(text string) string {
	if validPath(text) != nil {
		return ""
	}
	return text
}

// disabledPattern matches a line such as `"com.minibot" => disabled`; older systems write true and false.
var disabledPattern = regexp.MustCompile(`^"([^"]+)" => (disabled|enabled|true|false)$`)

// parseDisabled reads the block of labels, which is not the only one.
func parseDisabled(out string) (map[string]bool, error) {
	labels, within, closed := map[string]bool{}, false, false
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case line == "disabled services = {":
			within = true
		case within && line == "}":
			within, closed = false, true
		case within && line != "":
			m := disabledPattern.FindStringSubmatch(line)
			if m == nil {
				return nil, &Failure{Verb: "print-disabled", Exit: 0, Err: ErrUnknown}
			}
			labels[m[1]] = m[2] == "disabled" || m[2] == "true"
		}
	}
	if !closed {
		return nil, &Failure{Verb: "print-disabled", Exit: 0, Err: ErrUnknown}
	}
	return labels, nil
}

// parseSession tells whether a domain is that of a desktop session. Where it says which kind it is, that must be Aqua: the login
// window has one too. A long list of services follows, which need not be complete.
func parseSession(out, domain string) (bool, error) {
	fields, ok := topLevel(out, domain)
	if !ok {
		return false, &Failure{Verb: "print", Exit: 0, Err: ErrUnknown}
	}
	kind, said := fields["session"]
	return !said || kind == "Aqua", nil
}
