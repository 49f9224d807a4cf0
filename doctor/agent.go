package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"minibot/control"
	"minibot/launchd"
)

// agentIsRight holds what starts minibotd at login against what minibotd install would write.
func (v *visit) agentIsRight(context.Context) []Finding {
	if v.Agent == nil {
		return []Finding{finding(Warning, v.minibotd("run"), "nothing here starts minibotd at login: have something run this")}
	}
	path, want, err := v.Agent.Definition()
	if err != nil {
		return []Finding{finding(Failure, v.advised(err), "%s", withHint(err))}
	}
	if away, is := other(path); is {
		return []Finding{finding(Failure, away+" && "+v.minibotd("install"), "%s is no file: nothing starts minibotd at login", path)}
	}
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{finding(Failure, v.minibotd("install"), "%s does not exist: nothing starts minibotd at login", path)}
	}
	if err != nil {
		return []Finding{unknown("%s cannot be read", path)}
	}
	found := v.file(path)
	found = append(found, v.differs(path, have, want)...)
	state, err := v.agent()
	if err != nil {
		return append(found, finding(Warning, v.advised(err), "cannot tell: %s", withHint(err)))
	}
	found = append(found, v.loaded(path, state)...)
	if !state.Session {
		return orOK(found, "%s is minibotd's own; it is loaded at the next login", path)
	}
	return orOK(found, "%s is minibotd's own, loaded, and runs (pid %d)", path, state.PID)
}

// differs compares the file with this program's own.
func (v *visit) differs(path string, have, want []byte) []Finding {
	if v.Agent.Name() != "launchd" {
		if bytes.Equal(have, want) {
			return nil
		}
		return []Finding{finding(Failure, v.minibotd("install"), "%s is not what this minibotd writes", path)}
	}
	differences, err := launchd.Differences(have, want)
	if err != nil {
		return []Finding{finding(Failure, v.minibotd("install"), "%s: %s", path, line(err))}
	}
	var found []Finding
	if len(differences) > 0 {
		found = append(found, finding(Failure, v.minibotd("install"), "%s is not what this minibotd writes: %s", path, strings.Join(differences, ", ")))
	}
	definition, err := launchd.Read(have)
	if err != nil {
		return append(found, finding(Failure, v.minibotd("install"), "%s: %s", path, line(err)))
	}
	program, err := os.Stat(definition.Program)
	self, selfErr := os.Stat(v.Self)
	switch {
	case err != nil || program.IsDir() || program.Mode()&0o111 == 0:
		found = append(found, finding(Failure, v.minibotd("install"), "%s starts a program that is not there: %s", path, definition.Program))
	case selfErr != nil:
		found = append(found, unknown("this program's own file is gone"))
	case !os.SameFile(program, self):
		found = append(found, finding(Warning, v.minibotd("install"), "%s starts another program than this one: %s", path, definition.Program))
	}
	return found
}

// loaded says what keeps an installed agent from running; path is its definition's.
func (v *visit) loaded(path string, state launchd.State) []Finding {
	var found []Finding
	switch {
	case state.Disabled && v.Agent.Name() == "systemd":
		found = append(found, finding(Failure, "systemctl --user enable --now "+filepath.Base(path), "it is disabled and is not started at login"))
	case state.Disabled:
		found = append(found, finding(Failure, "launchctl enable "+launchd.Launchctl{UID: v.UID}.Target(launchd.Label),
			"it is disabled and is not started at login; System Settings, Login Items may have it switched off too (`sudo sfltool dumpbtm` lists them)"))
	}
	switch {
	case !state.Session:
	case !state.Loaded:
		found = append(found, finding(Failure, v.minibotd("install"), "it is not loaded"))
	case state.PID == 0 && state.LastExit != "":
		found = append(found, finding(Failure, v.minibotd("kickstart"), "it is loaded and does not run; it ended with: %s", state.LastExit))
	case state.PID == 0:
		found = append(found, finding(Failure, v.minibotd("kickstart"), "it is loaded and does not run"))
	}
	return found
}

// session says which session this command and the daemon are in.
func (v *visit) session(ctx context.Context) []Finding {
	said, err := ask(ctx, v.Programs.Launchctl, "managername")
	if err != nil {
		return []Finding{unknown("%v", err)}
	}
	desktop := false
	if v.Agent != nil {
		state, err := v.agent()
		if err != nil {
			return []Finding{unknown("%s", line(err))}
		}
		desktop = state.Session
	}
	name := strings.TrimSpace(said.stdout)
	switch {
	case said.exit != 0 || !wordPattern.MatchString(name):
		return []Finding{unknown("launchctl gives an answer that minibot does not know")}
	case name == "Aqua":
		return []Finding{ok("this is the desktop's session (Aqua), in which the login keychain can be open")}
	case desktop:
		return []Finding{ok("this is a session of another kind (%s), over SSH say, where the login keychain is locked; minibotd's is the desktop's", name)}
	}
	return []Finding{finding(Warning, "", "nobody is logged in at the desktop: minibotd starts at the next login there, over Screen Sharing too")}
}

var wordPattern = regexp.MustCompile(`^[A-Za-z]+$`)

// daemon says whether minibotd runs, and what it waits for.
func (v *visit) daemon(context.Context) []Finding {
	status, err := v.status()
	switch {
	case errors.Is(err, control.ErrUnreachable):
		return []Finding{finding(Failure, v.starting(), "minibotd does not run: nothing watches the stack")}
	case errors.Is(err, context.DeadlineExceeded):
		return []Finding{finding(Failure, v.anew(), "minibotd runs and does not answer")}
	case err != nil:
		return []Finding{finding(Failure, v.advised(err), "%s", withHint(err))}
	}
	switch status.Phase {
	case control.PhaseHealthy, control.PhaseRotating:
		return []Finding{ok("%s since %s (pid %d)", status.Phase, status.Since.Local().Format("2006-01-02 15:04"), status.PID)}
	case control.PhaseStopped:
		return []Finding{finding(Warning, v.minibotd("start"), "the stack was stopped by hand")}
	case control.PhaseLockedDown:
		return []Finding{finding(Warning, v.minibotd("unlock"), "the stack is locked down")}
	}
	message := string(status.Phase)
	if status.Reason != "" {
		message += ": " + status.Reason
	}
	return []Finding{finding(Warning, v.minibotd("status"), "%s", message)}
}

// anew is the command that ends a daemon and has it started again; "" where it cannot be told which process it is.
func (v *visit) anew() string {
	if v.Agent != nil {
		if state, err := v.agent(); err == nil && state.Loaded {
			return v.minibotd("kickstart")
		}
	}
	if pid, err := control.DaemonPID(v.Paths.DaemonLock); err == nil && pid > 0 {
		return fmt.Sprintf("kill -9 %d; %s", pid, v.minibotd("run"))
	}
	return ""
}

// starting is the command that starts minibotd.
func (v *visit) starting() string {
	if v.Agent == nil {
		return v.minibotd("run")
	}
	if state, err := v.agent(); err == nil && state.Loaded {
		return v.minibotd("kickstart")
	}
	return v.minibotd("install")
}
