// Package doctor looks at an installation and at the machine it is on, and says what is wrong and which command mends it.
//
// It owns the checks and their order. It guarantees that it changes nothing, asks nobody anything, works whether minibotd
// runs or not and leaves the store to a daemon that has it, that each check ends by its deadline, that an answer it does not
// understand is a warning and never ok, and that no finding holds a value of a secret or what another program printed.
//
// It never mends by itself, and never opens a connection beyond this machine and its engine.
package doctor

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/launchd"
	"minibot/secrets"
	"minibot/stack"
)

// State is how bad a finding is.
type State string

// The states. A failure keeps the stack from being up now or after the next login; a warning may, or is not known.
const (
	OK      State = "ok"
	Warning State = "warning"
	Failure State = "failure"
)

// Finding is what one check says. A check has one or more of them.
type Finding struct {
	Check   string `json:"check"`
	State   State  `json:"state"`
	Message string `json:"message"`
	Command string `json:"command,omitempty"` // a shell's, which mends it; "" where none does
}

// Engine is what doctor asks of a container engine. [stack.Engine] is one.
type Engine interface {
	Info() stack.EngineInfo
	Checkup(ctx context.Context, p *stack.Project) (stack.Checkup, error)
	Free(ctx context.Context, p *stack.Project) (uint64, error)
	Close() error
}

// Agent is what starts minibotd at login. install.Manager is one.
type Agent interface {
	Name() string // "launchd" or "systemd"
	Definition() (path string, content []byte, err error)
	State(ctx context.Context) (launchd.State, error)
}

// Programs are absolute paths of the system's own programs. One that is not there makes its checks warnings.
type Programs struct {
	FDESetup, PMSet, Defaults, Codesign, Launchctl, Loginctl, Lsof string
}

// SystemPrograms are where an operating system keeps them.
func SystemPrograms(goos string) Programs {
	p := Programs{FDESetup: "/usr/bin/fdesetup", PMSet: "/usr/bin/pmset", Defaults: "/usr/bin/defaults", Codesign: "/usr/bin/codesign",
		Launchctl: launchd.DefaultProgram, Loginctl: "/usr/bin/loginctl", Lsof: "/usr/bin/lsof"}
	if goos == "darwin" {
		p.Lsof = "/usr/sbin/lsof"
	}
	return p
}

// DefaultTimeout is how long one check may take: the slowest dials each place where an engine may be, for 3 s each.
const DefaultTimeout = 20 * time.Second

// Doctor is what the checks look at. All fields are wanted, but for Agent and Timeout.
type Doctor struct {
	Paths    config.Paths // with the defaults of a configuration
	GOOS     string
	UID      int
	User     string // the user's name
	UserHome string
	Self     string // this program's file
	Version  string
	Getenv   func(string) string
	Programs Programs
	Apps     string // where applications are: /Applications
	Agent    Agent  // nil where nothing starts minibotd at login
	Timeout  time.Duration
	DiskFree func(path string) (uint64, error) // bytes that this user may fill
	Listen   func(ctx context.Context, network, address string) (net.Listener, error)
	Daemon   func(ctx context.Context) (control.Status, error)
	// ReadStore opens the store, where no daemon has it, for as long as read takes. An error of its own wraps
	// [control.ErrDaemonHolds] when one has.
	ReadStore func(ctx context.Context, kind string, read func(secrets.Store) error) error
	Dial      func(ctx context.Context, host string) (Engine, error)
}

// daemonTimeout is how long the daemon may take to say how it is; the checks that ask have time left for the rest.
const daemonTimeout = 5 * time.Second

// visit is one run of all checks, and what several of them want to know: each is found out once.
type visit struct {
	*Doctor
	config  func() (config.Config, error)
	paths   func() config.Paths // as configured, or the defaults
	project func() (*stack.Project, error)
	engine  func() (Engine, error)
	checkup func() (stack.Checkup, error)
	status  func() (control.Status, error)
	agent   func() (launchd.State, error)
}

// check is one check, by its name. It looks only where applies says so; nil is everywhere.
type check struct {
	name    string
	look    func(*visit, context.Context) []Finding
	applies func(*Doctor) bool
}

func onMac(d *Doctor) bool     { return d.GOOS == "darwin" }
func onSystemd(d *Doctor) bool { return d.Agent != nil && d.Agent.Name() == "systemd" }

// checks in the order in which they are shown: first what the others stand on.
var checks = []check{
	{"home", (*visit).home, nil},
	{"config", (*visit).configuration, nil},
	{"socket", (*visit).socket, nil},
	{"logs", (*visit).logs, nil},
	{"compose", (*visit).compose, nil},
	{"store", (*visit).store, nil},
	{"key", (*visit).key, nil},
	{"signature", (*visit).signature, onMac},
	{"engine", (*visit).engineAnswers, nil},
	{"images", (*visit).images, nil},
	{"ports", (*visit).ports, nil},
	{"disk", (*visit).disk, nil},
	{"clock", (*visit).clock, nil},
	{"agent", (*visit).agentIsRight, nil},
	{"session", (*visit).session, onMac},
	{"linger", (*visit).linger, onSystemd},
	{"daemon", (*visit).daemon, nil},
	{"notify", (*visit).notify, nil},
	{"versions", (*visit).versions, nil},
	{"filevault", (*visit).fileVault, onMac},
	{"auto-login", (*visit).autoLogin, onMac},
	{"power", (*visit).power, onMac},
}

// Run makes all checks at once and returns what they say, in a fixed order. It blocks until the last has ended or its time
// is over, and returns an error only when ctx ends.
func (d *Doctor) Run(ctx context.Context) ([]Finding, error) {
	timeout := d.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	v, done := d.visit(bounded)
	results := make([]chan []Finding, len(checks))
	for i, c := range checks {
		if c.applies != nil && !c.applies(d) {
			continue
		}
		results[i] = make(chan []Finding, 1)
		go func() { results[i] <- c.look(v, bounded) }()
	}
	var all []Finding
	left := false
	for i, c := range checks {
		if results[i] == nil {
			continue
		}
		var found []Finding
		select {
		case found = <-results[i]:
		case <-bounded.Done():
			select {
			case found = <-results[i]: // it was done in time
			case <-time.After(grace):
				left = true
				found = []Finding{unknown("no answer within %v", timeout)}
			}
		}
		for _, f := range found {
			f.Check = c.name
			all = append(all, f)
		}
	}
	if !left { // what hangs may still use them
		done()
	}
	return all, ctx.Err()
}

// grace is how long a check may take to notice that its time is over: programs are killed, and their pipes closed.
const grace = 2 * time.Second

// visit returns what the checks share. done closes what was opened.
func (d *Doctor) visit(ctx context.Context) (v *visit, done func()) {
	v = &visit{Doctor: d}
	v.config = sync.OnceValues(func() (config.Config, error) { return config.Load(d.Paths.Home) })
	v.paths = sync.OnceValue(func() config.Paths {
		cfg, err := v.config()
		if err != nil {
			return d.Paths
		}
		return d.Paths.With(cfg)
	})
	v.project = sync.OnceValues(func() (*stack.Project, error) {
		cfg, err := v.config()
		if err != nil {
			return nil, err
		}
		return stack.Load(ctx, stack.LoadOptions{File: v.paths().Compose, Env: cfg.Env, AllowExposed: true})
	})
	var engine Engine
	v.engine = sync.OnceValues(func() (Engine, error) {
		cfg, err := v.config()
		if err != nil {
			return nil, err
		}
		engine, err = d.Dial(ctx, cfg.DockerHost)
		return engine, err
	})
	v.checkup = sync.OnceValues(func() (stack.Checkup, error) {
		project, err := v.project()
		if err != nil {
			return stack.Checkup{}, err
		}
		e, err := v.engine()
		if err != nil {
			return stack.Checkup{}, err
		}
		return e.Checkup(ctx, project)
	})
	v.status = sync.OnceValues(func() (control.Status, error) {
		ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
		defer cancel()
		return d.Daemon(ctx)
	})
	v.agent = sync.OnceValues(func() (launchd.State, error) { return d.Agent.State(ctx) })
	return v, func() {
		if engine != nil {
			_ = engine.Close() // nothing is asked any more
		}
	}
}

func finding(state State, command, format string, args ...any) Finding {
	return Finding{State: state, Message: fmt.Sprintf(format, args...), Command: command}
}

func ok(format string, args ...any) Finding { return finding(OK, "", format, args...) }

// unknown is a warning that something could not be found out.
func unknown(format string, args ...any) Finding {
	return finding(Warning, "", "cannot tell: "+format, args...)
}

// orOK is found, or where that is empty the one finding that all is well.
func orOK(found []Finding, format string, args ...any) []Finding {
	if len(found) > 0 {
		return found
	}
	return []Finding{ok(format, args...)}
}

// minibotd and secrets are the two programs as a shell finds them, with the installation they are to look at.
func (d *Doctor) minibotd(arguments string) string  { return d.program("minibotd", arguments) }
func (d *Doctor) mbSecrets(arguments string) string { return d.program("mb-secrets", arguments) }

func (d *Doctor) program(name, arguments string) string {
	beside := filepath.Join(filepath.Dir(d.Self), name)
	command := name
	if !inPath(d.Getenv("PATH"), name, beside) {
		command = hint.Word(beside)
	}
	home := d.Getenv("MINIBOT_HOME")
	if home == "" {
		home = filepath.Join(d.UserHome, "minibot")
	}
	if filepath.Clean(home) != d.Paths.Home {
		command += " --home " + hint.Word(d.Paths.Home)
	}
	return command + " " + arguments
}
