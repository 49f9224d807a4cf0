package main

import (
	"context"
	"errors"

	"minibot/database"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// Rehearsal implements rotation.Rehearser.
func (c byCommand) Rehearsal(ctx context.Context, _ database.Credential) (rotation.Database, database.Credential, func(context.Context) error, error) {
	db, first, end, err := c.Command.Rehearsal(ctx)
	return db, first, end, err
}

// database is the driver for a secret that lives in one.
func (d *daemon) database(r secrets.Requirement) rotation.Database {
	switch r.Rotate.Driver {
	case database.DriverPostgres:
		p := database.Postgres{Container: d, Opener: d, Service: r.Rotate.Service, User: r.Rotate.User, Database: r.Rotate.Database}
		if len(r.Rotate.Roles) == 2 {
			return postgresRoles{database.PostgresRoles{Admin: p, Roles: [2]string(r.Rotate.Roles), Owner: r.Rotate.Owner}}
		}
		return postgres{p}
	case database.DriverRedis:
		return redis{database.Redis{Container: d, Service: r.Rotate.Service, User: r.Rotate.User}}
	case database.DriverOpenClaw:
		return &database.OpenClaw{Container: d, Service: r.Rotate.Service}
	case database.DriverExec:
		return byCommand{database.Command{Container: d, Service: r.Rotate.Service, Name: r.Name, User: r.Rotate.User,
			Command: r.Rotate.Command, Overlap: r.Rotate.Overlaps}}
	}
	return nil
}

// The drivers that can rehearse; package database does not know rotation's interface.
type (
	postgres      struct{ database.Postgres }
	postgresRoles struct{ database.PostgresRoles }
	redis         struct{ database.Redis }
	byCommand     struct{ database.Command }
)

var (
	_ rotation.Switcher  = postgres{}
	_ rotation.Rehearser = postgres{}
	_ rotation.Rehearser = postgresRoles{}
	_ rotation.Rehearser = redis{}
	_ rotation.Rehearser = byCommand{}
)

// Rehearsal implements rotation.Rehearser.
func (p postgres) Rehearsal(ctx context.Context, _ database.Credential) (rotation.Database, database.Credential, func(context.Context) error, error) {
	db, first, end, err := p.Postgres.Rehearsal(ctx)
	return db, first, end, err
}

// Rehearsal implements rotation.Rehearser.
func (p postgresRoles) Rehearsal(ctx context.Context, _ database.Credential) (rotation.Database, database.Credential, func(context.Context) error, error) {
	db, first, end, err := p.PostgresRoles.Rehearsal(ctx)
	return db, first, end, err
}

// Rehearsal implements rotation.Rehearser.
func (r redis) Rehearsal(ctx context.Context, now database.Credential) (rotation.Database, database.Credential, func(context.Context) error, error) {
	db, first, end, err := r.Redis.Rehearsal(ctx, now)
	return db, first, end, err
}

// Exec runs a command in a service's container; values travel on stdin only.
func (d *daemon) Exec(ctx context.Context, service string, cmd []string, stdin []byte) (database.Result, error) {
	engine, project, err := d.world.connect(ctx)
	if err != nil {
		return database.Result{}, err
	}
	c, err := engine.Container(ctx, project, service)
	if err != nil {
		return database.Result{}, d.world.lost(engine, err)
	}
	result, err := engine.Exec(ctx, c.ID, stack.Exec{Cmd: cmd, Stdin: stdin})
	return database.Result{ExitCode: result.ExitCode, Stdout: result.Stdout, Stderr: result.Stderr}, d.world.lost(engine, err)
}

// Open starts a command in a service's container that is fed in steps.
func (d *daemon) Open(ctx context.Context, service string, cmd []string) (database.Session, error) {
	engine, project, err := d.world.connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := engine.Container(ctx, project, service)
	if err != nil {
		return nil, d.world.lost(engine, err)
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the call
	stop := context.AfterFunc(ctx, end)
	s, err := engine.Open(life, c.ID, cmd)
	if stop() && err == nil {
		return &opened{s, end}, nil
	}
	end()
	if err == nil {
		err = errors.Join(ctx.Err(), s.Close())
	}
	return nil, d.world.lost(engine, err)
}

// opened is a command with what ends its life.
type opened struct {
	database.Session
	end context.CancelFunc
}

// Close implements database.Session.
func (o *opened) Close() error {
	o.end()
	return o.Session.Close()
}
