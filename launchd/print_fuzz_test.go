package launchd

import (
	"regexp"
	"testing"
)

// FuzzPrinted has launchctl print anything: what is made of it is plain, and nothing is made of what is not known.
func FuzzPrinted(f *testing.F) {
	f.Add("gui/501/com.minibot = {\n\tstate = running\n\tpid = 12\n\tlast exit code = 78: EX_CONFIG\n\tpath = /a.plist\n}\n")
	f.Add("gui/501 = {\n\tsession = Aqua\n}\n")
	f.Add("\tdisabled services = {\n\t\t\"com.minibot\" => disabled\n\t}\n")
	plain := regexp.MustCompile(`^(|exit status [0-9]+|signal [1-9][0-9]*)$`)
	f.Fuzz(func(t *testing.T, out string) {
		job, err := parseJob(out, "gui/501/com.minibot")
		if job.PID < 0 || job.Runs < 0 || !plain.MatchString(job.LastExit) || job.State != "" && !statePattern.MatchString(job.State) {
			t.Errorf("%+v", job)
		}
		for _, path := range []string{job.Path, job.Program} {
			if path != "" && validPath(path) != nil {
				t.Errorf("path %q", path)
			}
		}
		session, sessionErr := parseSession(out, "gui/501")
		if err == nil && (sessionErr == nil || session) {
			t.Error("it is a job and a domain")
		}
		if labels, err := parseDisabled(out); err != nil && labels != nil {
			t.Errorf("%v and %v", labels, err)
		}
	})
}
