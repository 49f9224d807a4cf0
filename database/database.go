// Package database makes a database accept a password, and proves that it does.
//
// It owns the words spoken with Postgres, Redis, OpenClaw and, for everything else, with a command. It guarantees that a password travels on the standard input of a
// command inside the database's own container and nowhere else: not on a command line, in an environment, in a file,
// in the database's log or in an error. It never opens a connection itself, never touches a store and never decides
// when a password changes: that is package rotation's.
package database

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"minibot/secrets"
)

// What a database answers; callers branch with errors.Is.
var (
	// ErrRefused: the database answers and does not take this password.
	ErrRefused = errors.New("the password is refused")
	// ErrNotReady: the database cannot be asked now. It is the only transient answer: asking again later may help.
	ErrNotReady = errors.New("the database is not ready")
	// ErrOpen: the database lets callers in whatever they say, so no password proves anything.
	ErrOpen = errors.New("the database accepts any password")
	// ErrUnfit: the value cannot be this database's password.
	ErrUnfit = errors.New("the value cannot be a password of this database")
	// ErrUnknownDriver: there is no such driver.
	ErrUnknownDriver = errors.New("unknown database driver")
)

// ErrNoEntrance means that the database has no entrance of its own through which a password could be set without one.
var ErrNoEntrance = errors.New("the database cannot be entered without its password")

// Credential is what a client logs in with. User is "" where the driver has one fixed user.
type Credential struct {
	User     string
	Password secrets.Value
}

// Change replaces Current by Next. A Current without a password is none: Next is the first one.
type Change struct{ Current, Next Credential }

// Switch is a change that is prepared. Exactly one of its methods is to be called; a process that ends instead aborts.
type Switch interface {
	// Commit puts the change into force, within milliseconds. After an error either may be in force.
	Commit(ctx context.Context) error
	// Abort leaves everything as it was before the preparation.
	Abort()
}

// Transient reports whether the same call may succeed later with nothing changed.
func Transient(err error) bool { return errors.Is(err, ErrNotReady) }

// The drivers, as the compose file names them.
const (
	DriverPostgres = "postgres"
	DriverRedis    = "redis"
)

// Container runs commands in a service's container.
type Container interface {
	// Exec runs cmd in service's container as the container's default user, without a terminal, feeds it stdin and
	// returns when it has ended. A command that ran and failed is a Result, not an error. An error says that it could
	// not be run or seen to its end, as when the container does not run; it holds nothing of stdin.
	Exec(ctx context.Context, service string, cmd []string, stdin []byte) (Result, error)
}

// Opener starts commands in a service's container that are fed in steps.
type Opener interface {
	// Open starts cmd in service's container as [Container.Exec] does, and returns while it runs. The end of ctx ends
	// the start only. The caller must close the session; where the process ends instead, the command sees the end of its input.
	Open(ctx context.Context, service string, cmd []string) (Session, error)
}

// Session is a command that runs. Close may be called at any time, from any goroutine and repeatedly; all else is for
// one goroutine at a time.
type Session interface {
	io.Writer // to its standard input
	io.Reader // of its standard output; io.EOF when that has ended
	// Wait returns how it ended, once Read has returned io.EOF.
	Wait(ctx context.Context) (Result, error)
	// Close ends its input and lets go of it, and a blocked call returns. It does not wait for the command's end.
	Close() error
}

// Result is how a command ended. Its output may repeat what was fed to the command: it never goes into an error or a log.
type Result struct {
	ExitCode       int
	Stdout, Stderr []byte
}

// Check reports whether a database of the named driver can take value as its password; the error wraps [ErrUnfit]
// and says why. It asks nobody. No driver ("") takes every value.
func Check(driver string, value secrets.Value) error {
	switch driver {
	case "":
		return nil
	case DriverPostgres:
		return checkPostgres(value)
	case DriverRedis:
		return checkRedis(value)
	case DriverOpenClaw:
		return checkOpenClaw(value)
	case DriverExec:
		return checkExec(value)
	}
	return fmt.Errorf("%w %q", ErrUnknownDriver, driver)
}

// addressScript is a shell prelude that puts the container's own non-loopback address into $a, because the official
// images let every caller in on loopback. It exits with exitNoAddress where there is none.
const addressScript = `a=
for i in $(hostname -i 2>/dev/null); do case $i in 127.*|::1|fe80:*) ;; *) a=$i; break;; esac; done
[ -n "$a" ] || exit 93
`

// The exit codes of the scripts' own; outside what psql, pg_isready and redis-cli use.
const (
	exitNoAddress   = 93
	exitUnreachable = 94
	exitRejecting   = 95
)

// execute runs the command; a container that cannot run it now is not ready.
func execute(ctx context.Context, c Container, service string, cmd []string, stdin []byte) (Result, error) {
	res, err := c.Exec(ctx, service, cmd, stdin)
	switch {
	case err == nil:
		return res, nil
	case ctx.Err() != nil:
		return Result{}, fmt.Errorf("service %s: %w", service, err)
	}
	return Result{}, fmt.Errorf("service %s: %w: %w", service, ErrNotReady, err)
}

// run executes a script of this package and sorts out the endings that all of them share.
func run(ctx context.Context, c Container, service string, cmd []string, stdin []byte) (Result, error) {
	res, err := execute(ctx, c, service, cmd, stdin)
	if err != nil {
		return Result{}, err
	}
	switch res.ExitCode {
	case exitNoAddress:
		return Result{}, fmt.Errorf("service %s: its container has no address but loopback, so a password cannot be proven there", service)
	case exitUnreachable:
		return Result{}, fmt.Errorf("service %s: %w: it does not answer on its own address", service, ErrNotReady)
	case exitRejecting:
		return Result{}, fmt.Errorf("service %s: %w: it is starting or stopping", service, ErrNotReady)
	}
	return res, nil
}

// randomPassword is one that no database has.
func randomPassword() []byte { return []byte(rand.Text() + rand.Text()) }

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
