package emulation

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"howett.net/plist"
)

// Defaults of launchd. The manual says 20 s for the exit timeout, recent systems give 5.
const (
	defaultThrottle = 10
	defaultExit     = 5
	defaultUmask    = 0o022
)

// agent is a property list as launchd reads it.
type agent struct {
	Label                  string            `plist:"Label"`
	Program                string            `plist:"Program"`
	ProgramArguments       []string          `plist:"ProgramArguments"`
	EnvironmentVariables   map[string]string `plist:"EnvironmentVariables"`
	WorkingDirectory       string            `plist:"WorkingDirectory"`
	StandardInPath         string            `plist:"StandardInPath"`
	StandardOutPath        string            `plist:"StandardOutPath"`
	StandardErrorPath      string            `plist:"StandardErrorPath"`
	RunAtLoad              bool              `plist:"RunAtLoad"`
	Disabled               bool              `plist:"Disabled"`
	AbandonProcessGroup    bool              `plist:"AbandonProcessGroup"`
	ThrottleInterval       *int              `plist:"ThrottleInterval"`
	ExitTimeOut            *int              `plist:"ExitTimeOut"`
	KeepAlive              any               `plist:"KeepAlive"`
	Umask                  any               `plist:"Umask"`
	LimitLoadToSessionType any               `plist:"LimitLoadToSessionType"`
	ProcessType            string            `plist:"ProcessType"`
}

// readAgent reads a file as a user's launchd does, and returns an exit status of launchctl for one that it does not take.
func readAgent(path string, uid int) (*agent, int) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitNoFile
	}
	if err != nil {
		return nil, exitIO
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != uid || info.Mode().Perm()&0o022 != 0 || !info.Mode().IsRegular() {
		return nil, exitBadOwner
	}
	data, err := os.ReadFile(path) //nolint:gosec // the file a test names
	if err != nil {
		return nil, exitIO
	}
	var a agent
	format, err := plist.Unmarshal(data, &a)
	cut := format == plist.XMLFormat && !bytes.HasSuffix(bytes.TrimSpace(data), []byte("</plist>")) // the library does not mind
	if err != nil || cut || format != plist.XMLFormat && format != plist.BinaryFormat {
		return nil, exitBadPlist
	}
	if a.Label == "" || strings.ContainsAny(a.Label, "/ \n") {
		return nil, exitBadLabel
	}
	if a.Program == "" && len(a.ProgramArguments) == 0 {
		return nil, exitBadProgram
	}
	return &a, 0
}

// aqua tells whether the agent is for a desktop session.
func (a *agent) aqua() bool {
	switch types := a.LimitLoadToSessionType.(type) {
	case nil:
		return true
	case string:
		return types == "Aqua"
	case []any:
		for _, t := range types {
			if t == "Aqua" {
				return true
			}
		}
	}
	return false
}

func (a *agent) program() string {
	if a.Program != "" {
		return a.Program
	}
	return a.ProgramArguments[0]
}

func (a *agent) arguments() []string {
	if len(a.ProgramArguments) > 0 {
		return a.ProgramArguments
	}
	return []string{a.Program}
}

func (a *agent) umask() int {
	switch mask := a.Umask.(type) {
	case uint64:
		return int(mask & 0o777)
	case int64:
		return int(mask & 0o777)
	case string: // octal
		if n, err := strconv.ParseInt(mask, 8, 32); err == nil {
			return int(n & 0o777)
		}
	}
	return defaultUmask
}

// scaled returns seconds divided by speed.
func scaled(seconds *int, otherwise int, speed float64) time.Duration {
	n := otherwise
	if seconds != nil {
		n = *seconds
	}
	if speed <= 0 {
		speed = 1
	}
	return time.Duration(float64(n) * float64(time.Second) / speed)
}

// startsAtLoad tells whether the agent is started without being asked for. A condition about its exit needs a first one.
func (a *agent) startsAtLoad() bool {
	if a.RunAtLoad || a.KeepAlive == true {
		return true
	}
	conditions, _ := a.KeepAlive.(map[string]any)
	_, successful := conditions["SuccessfulExit"]
	_, crashed := conditions["Crashed"]
	return successful || crashed || pathState(conditions)
}

// staysAlive tells whether a process that ended so is to be started again. Conditions are ORed.
func (a *agent) staysAlive(exit syscall.WaitStatus) bool {
	if flag, ok := a.KeepAlive.(bool); ok {
		return flag
	}
	conditions, _ := a.KeepAlive.(map[string]any)
	if want, ok := conditions["SuccessfulExit"].(bool); ok && want == (exit.Exited() && exit.ExitStatus() == 0) {
		return true
	}
	if want, ok := conditions["Crashed"].(bool); ok && want == crashed(exit) {
		return true
	}
	return pathState(conditions)
}

// crashed tells whether a signal that stands for a fault ended the process.
func crashed(exit syscall.WaitStatus) bool {
	if !exit.Signaled() {
		return false
	}
	switch exit.Signal() { //nolint:exhaustive // the others are no crashes
	case syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGFPE, syscall.SIGBUS, syscall.SIGSEGV, syscall.SIGSYS:
		return true
	}
	return false
}

func pathState(conditions map[string]any) bool {
	paths, _ := conditions["PathState"].(map[string]any)
	for path, want := range paths {
		if _, err := os.Stat(path); want == (err == nil) {
			return true
		}
	}
	return false
}
