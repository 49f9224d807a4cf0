package main

import (
	"context"
	"io"
	"time"

	"minibot/audit"
	"minibot/database"
	"minibot/lockdown"
	"minibot/secrets"
	"minibot/stack"
)

// engine is what the daemon asks of the container engine that it is connected to: [stack.Engine], by way of connection.
// What each call does, and its errors, are described there.
type engine interface {
	audit.Engine
	lockdown.Engine

	Info() stack.EngineInfo
	Close() error
	Watch(ctx context.Context, p *stack.Project, ready func(), on func(stack.Event)) error

	Look(ctx context.Context, p *stack.Project) (seen map[string]stack.Container, more bool, err error)
	Container(ctx context.Context, p *stack.Project, service string) (stack.Container, error)
	Create(ctx context.Context, p *stack.Project, report func(service, message string)) error
	Recreate(ctx context.Context, p *stack.Project, service string, report func(service, message string)) error
	DataVolumes(ctx context.Context, p *stack.Project) ([]stack.DataVolume, error)
	Connect(ctx context.Context, p *stack.Project, service, id string) error
	Start(ctx context.Context, id string) error
	Restart(ctx context.Context, id string, within time.Duration) error
	Stop(ctx context.Context, id string, within time.Duration) error
	Remove(ctx context.Context, id string) error
	Signal(ctx context.Context, id, signal string) error

	Feed(ctx context.Context, p *stack.Project, values map[secrets.Name]secrets.Value) (stack.Delivery, error)
	Prepare(ctx context.Context, p *stack.Project, values map[secrets.Name]secrets.Value) (delivering, error)
	Fed(seen map[string]stack.Container) bool
	Stale(ctx context.Context, p *stack.Project, seen map[string]stack.Container) (map[string]bool, error)
	Delivered(ctx context.Context, p *stack.Project, service string) (stack.Mark, error)
	MarkTaken(ctx context.Context, p *stack.Project, service string, taken stack.Mark) error
	Withdraw(ctx context.Context, p *stack.Project) error

	Exec(ctx context.Context, id string, x stack.Exec) (stack.ExecResult, error)
	Open(ctx context.Context, id string, cmd []string) (database.Session, error)
	Logs(ctx context.Context, id string, o stack.LogOptions, w io.Writer) error
}

// delivering is a delivery that is done up to its renames: a [stack.Prepared].
type delivering interface {
	Commit(ctx context.Context) (stack.Delivery, error)
	Abort()
}

// connection is a [stack.Engine] as the daemon sees it.
type connection struct{ *stack.Engine }

func dial(ctx context.Context, host string) (engine, error) {
	e, err := stack.Dial(ctx, host)
	if err != nil {
		return nil, err
	}
	return connection{e}, nil
}

// Prepare implements engine.
func (c connection) Prepare(ctx context.Context, p *stack.Project, values map[secrets.Name]secrets.Value) (delivering, error) {
	prepared, err := c.Engine.Prepare(ctx, p, values)
	if err != nil {
		return nil, err
	}
	return prepared, nil
}

// Open starts a command in a container that is fed in steps, and outlives the call.
func (c connection) Open(ctx context.Context, id string, cmd []string) (database.Session, error) {
	s, err := c.Stream(ctx, id, cmd, "")
	if err != nil {
		return nil, err
	}
	return session{s}, nil
}

// session is a command of the engine as package database knows it.
type session struct{ *stack.Session }

// Wait implements database.Session.
func (s session) Wait(ctx context.Context) (database.Result, error) {
	r, err := s.Session.Wait(ctx)
	return database.Result{ExitCode: r.ExitCode, Stdout: r.Stdout, Stderr: r.Stderr}, err
}
