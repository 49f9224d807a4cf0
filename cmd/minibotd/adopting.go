package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/database"
	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
	"minibot/takeover"
)

const (
	upTick      = 250 * time.Millisecond // between two looks at a stack that comes up
	keptLog     = 64 << 10               // bytes of the daemon's log that are kept for a failure
	syncTimeout = 2 * time.Minute        // writing a copy to the disk
)

// keptWriter keeps the first bytes of a log.
type keptWriter struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (k *keptWriter) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.text.Write(p[:min(len(p), keptLog-k.text.Len())])
	return len(p), nil
}

func (k *keptWriter) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.String()
}

// bringUp is a minibotd of its own for as long as the new stack needs to be healthy and its passwords to be proven. The stack stays up after
// it. It returns the secrets that log in.
func (c *commands) bringUp(ctx context.Context, paths config.Paths, engine *stack.Engine, plan *takeover.Plan) (proved []secrets.Name, err error) {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	log, redact := &keptWriter{}, &secrets.Redaction{}
	own := *c.io
	own.Err = redact.Writer(log)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- runDaemon(running, paths, "", output{io: &own, stderr: os.Stderr, redact: redact}, nil)
	}()
	early := make(chan struct{})
	up, cancelUp := context.WithCancel(ctx)
	var daemonErr error
	go func() { daemonErr = <-ended; close(early); cancelUp() }()
	err = c.untilUp(up, paths)
	if err == nil {
		proved, err = c.prove(up, paths, engine, plan)
	}
	stop()
	<-early
	cancelUp()
	if daemonErr != nil && !errors.Is(daemonErr, context.Canceled) {
		err = errors.Join(daemonErr, err)
	}
	if err != nil && log.String() != "" {
		c.io.Say("%s", log.String())
	}
	return proved, err
}

// untilUp follows the stack until it is healthy.
func (c *commands) untilUp(ctx context.Context, paths config.Paths) error {
	client := &control.Client{Socket: paths.Socket}
	told := map[string]string{}
	tell := func(service, line string) {
		if line != "" && told[service] != line {
			told[service] = line
			c.io.Progress(service, line)
		}
	}
	last := control.Status{}
	tick := time.NewTicker(upTick)
	defer tick.Stop()
	for {
		if status, err := client.Status(ctx); err == nil {
			last = status
			for _, s := range status.Services {
				tell(s.Name, s.State)
			}
			tell("", status.Reason)
			if status.Phase == control.PhaseHealthy {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			err := fmt.Errorf("the new stack did not get healthy, it is %s: %s: %w", last.Phase, last.Reason, ctx.Err())
			return hint.Wrap(err, "`minibotd run` shows more; `minibotd adopt` again goes on")
		}
	}
}

// prove makes sure that the adopted databases take the stored passwords, and no others.
func (c *commands) prove(ctx context.Context, paths config.Paths, engine *stack.Engine, plan *takeover.Plan) ([]secrets.Name, error) {
	cfg, err := config.Load(paths.Home)
	if err != nil {
		return nil, err
	}
	project, err := stack.Load(ctx, stack.LoadOptions{File: paths.Compose, Env: cfg.Env, AllowExposed: cfg.Exposure == config.ExposureWarn})
	if err != nil {
		return nil, err
	}
	inside := &insider{engine: engine, project: project}
	client := &control.Client{Socket: paths.Socket}
	proved := []secrets.Name{}
	for _, r := range project.Requirements {
		adopted := slices.ContainsFunc(plan.Moves, func(m takeover.Move) bool { return m.Service == r.Rotate.Service })
		driver := inside.driver(r)
		if !adopted || driver == nil {
			continue
		}
		value, err := client.Reveal(ctx, r.Name)
		if err == nil {
			err = untilProven(ctx, driver, database.Credential{User: r.Rotate.User, Password: value})
		}
		if err == nil {
			err = inside.sync(ctx, r.Rotate.Service)
		}
		if err != nil {
			return proved, fmt.Errorf("%s: %w", r.Name, err)
		}
		proved = append(proved, r.Name)
		c.io.Progress(r.Rotate.Service, fmt.Sprintf("it takes the stored %s, and refuses another one", r.Name))
	}
	return proved, nil
}

// prover is what a database's driver can do here.
type prover interface {
	Prove(ctx context.Context, c database.Credential) error
}

// untilProven asks again while the database is not ready, or has not got the stored password yet: the daemon gives it to it.
func untilProven(ctx context.Context, driver prover, c database.Credential) error {
	tick := time.NewTicker(upTick)
	defer tick.Stop()
	for {
		err := driver.Prove(ctx, c)
		if err == nil || !errors.Is(err, database.ErrRefused) && !database.Transient(err) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return hint.Wrap(err, "see `minibotd events`; the user must be in the old data")
		}
	}
}

// insider runs commands in the project's containers, for the drivers of databases.
type insider struct {
	engine  *stack.Engine
	project *stack.Project
}

// driver is nil for a secret that is not proven here: one without a database, or one whose roles take turns, which the daemon proves.
func (i *insider) driver(r secrets.Requirement) prover {
	switch {
	case len(r.Rotate.Roles) > 0:
		return nil
	case r.Rotate.Driver == database.DriverPostgres:
		return database.Postgres{Container: i, Service: r.Rotate.Service, User: r.Rotate.User, Database: r.Rotate.Database}
	case r.Rotate.Driver == database.DriverRedis:
		return database.Redis{Container: i, Service: r.Rotate.Service, User: r.Rotate.User}
	}
	return nil
}

// Exec implements database.Container.
func (i *insider) Exec(ctx context.Context, service string, cmd []string, stdin []byte) (database.Result, error) {
	container, err := i.engine.Container(ctx, i.project, service)
	if err != nil {
		return database.Result{}, err
	}
	result, err := i.engine.Exec(ctx, container.ID, stack.Exec{Cmd: cmd, Stdin: stdin})
	return database.Result{ExitCode: result.ExitCode, Stdout: result.Stdout, Stderr: result.Stderr}, err
}

// sync has the engine's machine write what was copied to its disk: the databases themselves only care for what they write.
func (i *insider) sync(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	result, err := i.Exec(ctx, service, []string{"sync"}, nil)
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("write the copy to the disk: sync ended with %d", result.ExitCode)
	}
	return err
}
