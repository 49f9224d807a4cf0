package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"minibot/awake"
	"minibot/config"
	"minibot/control"
	"minibot/enginestart"
	"minibot/hint"
	"minibot/stack"
	"minibot/supervisor"
)

// stayAwake keeps the system from sleeping until ctx ends, where the configuration wants that.
func stayAwake(ctx context.Context, cfg config.Config, log *slog.Logger) {
	if cfg.KeepAwake {
		(&awake.Keeper{PID: os.Getpid(), Log: log}).Serve(ctx)
	}
}

// startEngine starts the engine while it is absent until ctx ends, where the configuration wants that.
func (d *daemon) startEngine(ctx context.Context) {
	if d.config.Engine.Start != config.EngineStartAuto {
		return
	}
	machine, err := enginestart.ThisMachine()
	if err != nil {
		d.sayEngine("", err)
		return
	}
	d.engineStarter(machine).Serve(ctx)
}

// engineStarter is what startEngine serves.
func (d *daemon) engineStarter(machine enginestart.Machine) *enginestart.Starter {
	return &enginestart.Starter{
		Machine: machine,
		Places:  func() ([]stack.Candidate, error) { return stack.Places(d.config.DockerHost) },
		Await: func(ctx context.Context, absent bool) error {
			_, err := d.supervisor.Wait(ctx, func(s supervisor.Status) bool { return (s.Phase == supervisor.Unreachable) == absent })
			return err
		},
		Refuse: d.needsNoEngine, Run: enginestart.Execute, Say: d.sayEngine,
	}
}

// needsNoEngine says why an engine that is absent is left so: nothing is to run.
func (d *daemon) needsNoEngine() error {
	if d.lockedDown() != nil {
		return errors.New("the engine is not started: the stack is locked down")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.project == nil {
		return nil
	}
	for name := range d.project.Services {
		if !d.intent.stopped(name) {
			return nil
		}
	}
	return errors.New("the engine is not started: everything is stopped on request")
}

// sayEngine logs and records what is done about an absent engine.
func (d *daemon) sayEngine(message string, err error) {
	if err == nil {
		d.log.Info("starting the engine", "what", message)
		d.record(control.Event{Kind: "engine", Message: message})
		return
	}
	d.log.Warn("the engine is not started", keyError, err, "hint", hint.Of(err))
	message = err.Error()
	if advice := hint.Of(err); advice != "" {
		message += " (" + advice + ")"
	}
	d.record(control.Event{Kind: "engine", Message: message})
}
