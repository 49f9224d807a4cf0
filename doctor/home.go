package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"minibot/hint"
	"minibot/stack"
)

// home holds the folders against the rules of config.EnsureHome, and makes none.
func (v *visit) home(context.Context) []Finding {
	if _, err := os.Stat(v.Paths.Home); errors.Is(err, fs.ErrNotExist) {
		return []Finding{finding(Failure, v.mbSecrets("init"), "%s does not exist", v.Paths.Home)}
	}
	var found []Finding
	for _, dir := range [...]struct {
		path   string
		others fs.FileMode
	}{{v.Paths.Home, 0o022}, {v.Paths.RunDir, 0o077}, {v.Paths.StateDir, 0o077}} {
		found = append(found, v.folder(dir.path, dir.others)...)
	}
	return orOK(found, "%s is this user's own", v.Paths.Home)
}

// folder checks one that the daemon would make if it were not there.
func (v *visit) folder(path string, others fs.FileMode) []Finding {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return []Finding{unknown("%s cannot be looked at", path)}
	case !info.IsDir():
		return []Finding{finding(Failure, "mv "+hint.Word(path)+" "+hint.Word(path+".away"), "%s is not a folder", path)}
	}
	if uid := owner(info); uid != v.UID {
		return []Finding{finding(Failure, v.asRoot(fmt.Sprintf("chown -R %d %s", v.UID, hint.Word(path))), "%s belongs to uid %d, not to %d", path, uid, v.UID)}
	}
	mode := info.Mode().Perm()
	switch {
	case mode&others != 0 && others == 0o077:
		return []Finding{finding(Failure, "chmod 700 "+hint.Word(path), "%s has mode %04o: other users can get at it", path, mode)}
	case mode&others != 0:
		return []Finding{finding(Failure, "chmod go-w "+hint.Word(path), "%s has mode %04o: other users can write to it", path, mode)}
	case mode&0o700 != 0o700:
		return []Finding{finding(Failure, "chmod u+rwx "+hint.Word(path), "%s has mode %04o: its owner cannot use it", path, mode)}
	}
	return nil
}

// asRoot is a command that only root may carry out.
func (v *visit) asRoot(command string) string {
	if v.UID == 0 {
		return command
	}
	return "sudo " + command
}

func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

func (v *visit) configuration(context.Context) []Finding {
	if away, is := other(v.Paths.Config); is {
		return []Finding{finding(Failure, away, "%s is no file", v.Paths.Config)}
	}
	found := v.file(v.Paths.Config)
	cfg, err := v.config()
	switch {
	case err != nil:
		found = append(found, finding(Failure, edit(v.Paths.Config), "%s", line(err)))
	case len(found) == 0:
		if _, err := os.Stat(v.Paths.Config); errors.Is(err, fs.ErrNotExist) {
			return []Finding{ok("there is no %s: the defaults are in force", v.Paths.Config)}
		}
	}
	return orOK(found, "%s is valid: store %s, log level %s", v.Paths.Config, cfg.Store, cfg.LogLevel)
}

// other reports that something else than a file lies at path, and the command that moves it away.
func other(path string) (away string, is bool) {
	info, err := os.Stat(path)
	return "mv " + hint.Word(path) + " " + hint.Word(path+".away"), err == nil && !info.Mode().IsRegular()
}

// file checks who may change a file, if it is there.
func (v *visit) file(path string) []Finding {
	info, err := os.Stat(path)
	if err != nil {
		return nil // who reads it says so
	}
	if uid := owner(info); uid != v.UID && uid != 0 {
		return []Finding{finding(Failure, v.asRoot(fmt.Sprintf("chown %d %s", v.UID, hint.Word(path))), "%s belongs to uid %d, not to %d", path, uid, v.UID)}
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return []Finding{finding(Failure, "chmod go-w "+hint.Word(path), "%s has mode %04o: other users can write to it", path, mode)}
	}
	return nil
}

// maxSocket is how long a socket's path may be in bytes: macOS has 104 for it, the NUL at its end included.
const maxSocket = 103

func (v *visit) socket(context.Context) []Finding {
	path := v.Paths.Socket
	if len(path) > maxSocket {
		command, home := "", filepath.Join(v.UserHome, "minibot")
		if _, err := os.Stat(home); errors.Is(err, fs.ErrNotExist) && len(home) < len(v.Paths.Home) {
			command = "mv " + hint.Word(v.Paths.Home) + " " + hint.Word(home) + " && unset MINIBOT_HOME"
		}
		return []Finding{finding(Failure, command, "the socket's path has %d bytes, and %d are possible: choose a shorter MINIBOT_HOME", len(path), maxSocket)}
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		away, _ := other(path)
		return []Finding{finding(Failure, away, "%s is something else than a socket", path)}
	}
	return []Finding{ok("%s", path)}
}

func (v *visit) logs(context.Context) []Finding {
	dir := v.Paths.LogDir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if v.GOOS == "darwin" {
			return []Finding{finding(Warning, "mkdir -p -m 700 "+hint.Word(dir), "%s does not exist: launchd makes no folder for its files", dir)}
		}
		return []Finding{ok("there is no %s: the log goes to stderr or the journal", dir)}
	}
	return orOK(v.folder(dir, 0o077), "the daemon's own log is minibotd.log in %s; under systemd, `journalctl --user -u minibot`", dir)
}

// compose names every fault of the compose file.
func (v *visit) compose(ctx context.Context) []Finding {
	cfg, err := v.config()
	if err != nil {
		return []Finding{unknown("it depends on %s", v.Paths.Config)}
	}
	path := v.paths().Compose
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return []Finding{finding(Failure, v.mbSecrets("init"), "%s does not exist: init makes the shipped one; or put yours back", path)}
	}
	if away, is := other(path); is {
		return []Finding{finding(Failure, away+" && "+v.mbSecrets("init"), "%s is no file: init makes the shipped one; or put yours back", path)}
	}
	found := v.file(path)
	faults, err := stack.Check(ctx, stack.LoadOptions{File: path, Env: cfg.Env})
	if err != nil {
		return append(found, finding(Failure, edit(path), "%s", line(err)))
	}
	for _, f := range faults {
		state := Failure
		if f.Code == stack.CodeExposed && cfg.Exposure == "warn" {
			state = Warning
		}
		found = append(found, finding(state, edit(f.File), "%s", f.String()))
	}
	project, err := v.project()
	if err != nil && len(found) == 0 {
		return []Finding{finding(Failure, edit(path), "%s", line(err))}
	}
	if project == nil {
		return found
	}
	return orOK(found, "%s: project %s, %d services", path, project.Name, len(project.Services))
}
