package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
)

// Starting a container keeps a core of the machine busy for some tenths of a second: more of them at once are not faster, but would run into
// their deadlines. A restart may spend most of its time waiting for the container's end, and must not keep others from starting.
const (
	startsAtOnce   = 8
	restartsAtOnce = 32
)

// Start starts a container; one that runs already is no error. Of many calls some wait for others.
func (e *Engine) Start(ctx context.Context, id string) error {
	defer e.touch(id)
	if err := e.starting.lock(ctx); err != nil {
		return fmt.Errorf("start container %s: %w", shortID(id), err)
	}
	defer e.starting.unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := e.docker.ContainerStart(ctx, id, container.StartOptions{})
	return e.wrapNamed(ctx, err, "start", id)
}

// Restart stops a container, as Stop does, and starts it; one that does not run is only started. Of many calls some wait for others.
func (e *Engine) Restart(ctx context.Context, id string, within time.Duration) error {
	defer e.touch(id)
	if err := e.restarting.lock(ctx); err != nil {
		return fmt.Errorf("restart container %s: %w", shortID(id), err)
	}
	defer e.restarting.unlock()
	ctx, cancel, err := e.withGrace(ctx, id)
	if err != nil {
		return err
	}
	defer cancel()
	err = e.docker.ContainerRestart(ctx, id, stopOptions(within))
	return e.wrapNamed(ctx, err, "restart", id)
}

// Stop stops a container within the given time, in whole seconds, and then kills it; 0 is its own stop_grace_period. One
// that does not run is no error.
func (e *Engine) Stop(ctx context.Context, id string, within time.Duration) error {
	defer e.touch(id)
	ctx, cancel, err := e.withGrace(ctx, id)
	if err != nil {
		return err
	}
	defer cancel()
	err = e.docker.ContainerStop(ctx, id, stopOptions(within))
	return e.wrapNamed(ctx, err, "stop", id)
}

func stopOptions(within time.Duration) container.StopOptions {
	if within == 0 {
		return container.StopOptions{}
	}
	seconds := int(within / time.Second)
	return container.StopOptions{Timeout: &seconds}
}

// Remove removes a container that does not run. Its volumes stay.
func (e *Engine) Remove(ctx context.Context, id string) error {
	defer e.touch(id)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := e.docker.ContainerRemove(ctx, id, container.RemoveOptions{})
	return e.wrapNamed(ctx, err, "remove", id)
}

// Signal sends a signal, such as SIGHUP, to a container's first process.
func (e *Engine) Signal(ctx context.Context, id, signal string) error {
	defer e.touch(id)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return e.wrapNamed(ctx, e.docker.ContainerKill(ctx, id, signal), "send "+signal+" to", id)
}

// withGrace gives a call that stops a container the time that the container has for it.
func (e *Engine) withGrace(ctx context.Context, id string) (context.Context, context.CancelFunc, error) {
	grace := defaultStopGrace
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := e.docker.ContainerInspect(short, id)
	if err != nil {
		return nil, nil, wrapContainer(err, "inspect container %s", shortID(id))
	}
	if seconds := info.Config.StopTimeout; seconds != nil && *seconds >= 0 {
		grace = time.Duration(*seconds) * time.Second
	}
	long, cancel := context.WithTimeout(ctx, grace+callTimeout)
	return long, cancel, nil
}

// wrapNamed gives an error the container's name, which costs a call, but only when something failed.
func (e *Engine) wrapNamed(ctx context.Context, err error, verb, id string) error {
	if err == nil {
		return nil
	}
	name := shortID(id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if c, inspectErr := e.inspect(ctx, id); inspectErr == nil {
		name = c.Name
	}
	return wrapContainer(err, "%s container %s", verb, name)
}

func shortID(id string) string { return id[:min(12, len(id))] }
