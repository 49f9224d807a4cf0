package database

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"minibot/hint"
	"minibot/secrets"
)

// DriverExec is the compose file's name of [Command].
const DriverExec = "exec"

// ErrNoRehearsal means that the database cannot make a throwaway credential.
var ErrNoRehearsal = errors.New("the database has nothing to rehearse with")

// Command is a credential of any service, spoken for by a command that the compose file names. It runs in the service's
// container, once for each step, with one line of JSON on its standard input:
//
//	{"version":1,"step":"accept","name":"APP_PASSWORD","user":"app","current":"…","next":"…"}
//
// Its exit code is the answer: 0 done or accepted; 1 refused; 2 there is nothing to do for this step; 75 ask again later.
// Every other one is a failure. What it prints is never looked at. docs/compose.md is the contract for who writes one. It is
// safe for concurrent use.
type Command struct {
	Container Container
	Service   string
	Name      secrets.Name // of the secret
	User      string       // may be empty
	Command   []string     // never empty
	Overlap   bool         // accept leaves the current value valid until retire
}

// What the command's exit codes mean. The last is EX_TEMPFAIL of sysexits.h.
const (
	execDone    = 0
	execRefused = 1
	execNothing = 2
	execLater   = 75
)

// request is what a command reads.
type request struct {
	Version int    `json:"version"`
	Step    string `json:"step"`
	Name    string `json:"name"`
	User    string `json:"user"`
	Current string `json:"current,omitempty"`
	Next    string `json:"next"`
}

// Live reports that Accept takes force at once.
func (Command) Live() bool { return true }

// Overlaps reports whether the command was declared to keep the current value valid until Retire.
func (x Command) Overlaps() bool { return x.Overlap }

// Successor returns the same user for every credential.
func (Command) Successor(user string) string { return user }

// InUse returns 0: a command is not asked for sessions.
func (Command) InUse(context.Context, Change, time.Time) (int, error) { return 0, nil }

// Check reports whether a command can be told the value; the error wraps [ErrUnfit]. It must be valid UTF-8, as JSON is.
func (Command) Check(value secrets.Value) error { return checkExec(value) }

func checkExec(value secrets.Value) error {
	plain := value.Reveal()
	defer clear(plain)
	switch {
	case len(plain) == 0:
		return fmt.Errorf("%w: it is empty", ErrUnfit)
	case !utf8.Valid(plain):
		return fmt.Errorf("%w: it is not valid UTF-8, and the command reads JSON", ErrUnfit)
	}
	return nil
}

// Accept has the command make the next value valid.
func (x Command) Accept(ctx context.Context, c Change) error { return x.expectDone(ctx, "accept", c) }

// Prove asks the command to log in with c and then with a random value. It returns nil when the first is accepted and the
// second is not, and otherwise an error that wraps [ErrRefused], [ErrOpen] or [ErrNotReady] where it is one of those.
func (x Command) Prove(ctx context.Context, c Credential) error {
	code, err := x.call(ctx, "prove", Change{Next: c})
	switch {
	case err != nil:
		return err
	case code == execRefused:
		return fmt.Errorf("service %s: %w", x.Service, ErrRefused)
	case code != execDone:
		return x.failed("prove", code)
	}
	random, err := secrets.NewValue(randomPassword())
	if err != nil {
		return fmt.Errorf("service %s: %w", x.Service, err)
	}
	code, err = x.call(ctx, "prove", Change{Next: Credential{User: c.User, Password: random}})
	switch {
	case err != nil:
		return err
	case code == execDone:
		return hint.Wrap(fmt.Errorf("service %s: %w", x.Service, ErrOpen), "the command must log in where nobody is trusted; it accepted a random value")
	case code != execRefused:
		return x.failed("prove", code)
	}
	return nil
}

// Retire has the command end the current value. Where it answers that there is nothing to do, the value ended with
// Accept; that is an error where both are declared to be valid at once.
func (x Command) Retire(ctx context.Context, c Change) error {
	code, err := x.call(ctx, "retire", c)
	if err == nil && code == execNothing && !x.Overlap {
		return nil
	}
	return x.done("retire", code, err)
}

// Revert has the command end the next value and make the current one valid. Where it has no such step, it is told to
// accept the current value in place of the next.
func (x Command) Revert(ctx context.Context, c Change) error {
	code, err := x.call(ctx, "revert", c)
	if err == nil && code == execNothing {
		return x.Accept(ctx, Change{Current: c.Next, Next: c.Current})
	}
	return x.done("revert", code, err)
}

// Assert has the command make c the only valid credential through an entrance that needs none. The error wraps
// [ErrNoEntrance] where it has no such step.
func (x Command) Assert(ctx context.Context, c Credential) error {
	code, err := x.call(ctx, "assert", Change{Next: c})
	if err == nil && code == execNothing {
		return fmt.Errorf("service %s: %w", x.Service, ErrNoEntrance)
	}
	return x.done("assert", code, err)
}

// Rehearsal has the command make a user of its own, which may do nothing but log in, and returns it as a database of
// the same kind; end has it removed. The error wraps [ErrNoRehearsal] where the command has no such step.
func (x Command) Rehearsal(ctx context.Context) (db Command, first Credential, end func(context.Context) error, err error) {
	db = x
	db.User = "minibot_rehearsal_" + strings.ToLower(rand.Text()[:10])
	password, err := secrets.NewValue(randomPassword())
	if err != nil {
		return db, first, nil, fmt.Errorf("service %s: %w", x.Service, err)
	}
	first = Credential{User: db.User, Password: password}
	end = func(ctx context.Context) error {
		return db.expectDone(ctx, "discard", Change{Next: first})
	}
	code, err := db.call(ctx, "rehearse", Change{Next: first})
	if err == nil && code == execNothing {
		return db, first, nil, fmt.Errorf("service %s: %w", x.Service, ErrNoRehearsal)
	}
	if err = db.done("rehearse", code, err); err != nil {
		return db, first, nil, errors.Join(err, end(ctx)) // it may be there all the same
	}
	return db, first, end, nil
}

// expectDone runs a step that has to be done.
func (x Command) expectDone(ctx context.Context, step string, c Change) error {
	code, err := x.call(ctx, step, c)
	return x.done(step, code, err)
}

func (x Command) done(step string, code int, err error) error {
	if err != nil || code == execDone {
		return err
	}
	return x.failed(step, code)
}

func (x Command) failed(step string, code int) error {
	return fmt.Errorf("service %s: %s: the command of its rotation ended with exit code %d", x.Service, step, code)
}

// call runs the command for one step and returns its exit code. An answer that it is too early is an error.
func (x Command) call(ctx context.Context, step string, c Change) (int, error) {
	for _, value := range []secrets.Value{c.Current.Password, c.Next.Password} {
		if err := checkExec(value); err != nil && !value.IsZero() {
			return 0, fmt.Errorf("service %s: %w", x.Service, err)
		}
	}
	user := c.Next.User
	if user == "" {
		user = x.User
	}
	var input bytes.Buffer
	encoder := json.NewEncoder(&input) // one line, with its end
	encoder.SetEscapeHTML(false)       // fewer escapes for a script to undo
	err := encoder.Encode(request{Version: 1, Step: step, Name: string(x.Name), User: user,
		Current: string(c.Current.Password.Reveal()), Next: string(c.Next.Password.Reveal())})
	if err != nil {
		return 0, fmt.Errorf("service %s: %w", x.Service, err)
	}
	res, err := execute(ctx, x.Container, x.Service, x.Command, input.Bytes())
	if err == nil && res.ExitCode == execLater {
		err = fmt.Errorf("service %s: %w: its command says so", x.Service, ErrNotReady)
	}
	return res.ExitCode, err
}
