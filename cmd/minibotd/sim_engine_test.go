package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"minibot/database"
	"minibot/stack"
)

// simEngine is one connection of a daemon to a simMachine: an engine. Its calls can fail before or after their effect, and
// hang until their context ends.
type simEngine struct {
	m      *simMachine
	owner  *mortal
	life   int
	broken chan struct{}
	turn   chan struct{} // one delivery at a time

	fed string // the keeper's instance that the last complete delivery was to; guarded by m.mu
}

var _ engine = (*simEngine)(nil)

const simCallTimeout = 30 * time.Second

func (m *simMachine) dial(ctx context.Context, owner *mortal) (engine, error) {
	e := &simEngine{m: m, owner: owner, turn: make(chan struct{}, 1)}
	m.mu.Lock()
	e.life, e.broken = m.life, m.broken
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := e.call(ctx, "dial", func() error { return nil }); err != nil {
		return nil, fmt.Errorf("dial: %w: %w", stack.ErrEngineUnreachable, err)
	}
	return e, nil
}

// call does something at the engine; the effect runs with the machine locked.
func (e *simEngine) call(ctx context.Context, op string, effect func() error) error {
	fault := noFault
	if e.m.isHarmful() {
		fault = faultOf(e.m.roll(op), op)
	}
	delay := fault.delay(op)
	if delay > 0 || fault == hangsAfter { // any other call ends at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, simCallTimeout)
		defer cancel()
	}
	if err := e.pause(ctx, delay); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	e.m.mu.Lock()
	err := e.alive()
	if err == nil && fault == fails {
		err = errSimulated
	}
	if err == nil {
		err = effect()
	}
	e.m.mu.Unlock()
	switch {
	case err != nil:
	case fault == lies:
		err = errSimulated
	case fault == hangsAfter:
		err = e.pause(ctx, time.Hour)
	}
	if fault != noFault && fault != slow {
		e.m.say("call: %s %v: %v", op, fault, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// alive is to be called with the machine locked.
func (e *simEngine) alive() error {
	if e.owner.isDead() {
		return errDead
	}
	if !e.m.up || e.life != e.m.life {
		return fmt.Errorf("%w: unexpected EOF", stack.ErrEngineUnreachable)
	}
	return nil
}

// pause waits, unless something ends the call before.
func (e *simEngine) pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	return e.await(ctx, time.After(d))
}

func (e *simEngine) await(ctx context.Context, done <-chan time.Time) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.broken:
		return fmt.Errorf("%w: unexpected EOF", stack.ErrEngineUnreachable)
	case <-e.owner.dead:
		return errDead
	}
}

// on is call for a container, which must be there.
func (e *simEngine) on(ctx context.Context, op, id string, effect func(c *simContainer) error) error {
	return e.call(ctx, op, func() error {
		c := e.m.all[id]
		if c == nil {
			return stack.ErrNoContainer
		}
		return effect(c)
	})
}

func (e *simEngine) Info() stack.EngineInfo {
	return stack.EngineInfo{Version: "simulated", API: "1.41"}
}
func (e *simEngine) Close() error { return nil }

// DataVolumes implements engine: there are none.
func (e *simEngine) DataVolumes(context.Context, *stack.Project) ([]stack.DataVolume, error) {
	return nil, nil
}

// Watch implements engine.
func (e *simEngine) Watch(ctx context.Context, _ *stack.Project, ready func(), on func(stack.Event)) error {
	stream := make(chan stack.Event, 256)
	if err := e.call(ctx, "watch", func() error { e.m.streams[e] = stream; return nil }); err != nil {
		return err
	}
	defer func() {
		e.m.mu.Lock()
		defer e.m.mu.Unlock()
		delete(e.m.streams, e)
	}()
	ready()
	for {
		select {
		case event := <-stream:
			on(event)
		case <-ctx.Done():
			return ctx.Err()
		case <-e.owner.dead:
			return errDead
		case <-e.broken:
			return fmt.Errorf("watch: %w: unexpected EOF", stack.ErrEngineUnreachable)
		}
	}
}

// Look implements engine.
func (e *simEngine) Look(ctx context.Context, p *stack.Project) (seen map[string]stack.Container, more bool, err error) {
	seen = map[string]stack.Container{}
	return seen, false, e.call(ctx, "list", func() error {
		for _, id := range slices.Sorted(maps.Keys(e.m.all)) { // as [stack.Engine] picks them
			c := e.m.all[id].inspect()
			other, twice := seen[c.Service]
			if twice && other.Name == simName(p, c.Service) {
				c, other = other, c
			}
			c.Foreign = c.Foreign || twice
			seen[c.Service] = c
		}
		return nil
	})
}

// simName is the name of a service's container.
func simName(p *stack.Project, service string) string {
	if service == stack.KeeperService {
		return p.Name + "-keeper-1"
	}
	return p.Services[service].Container
}

// Container implements engine.
func (e *simEngine) Container(ctx context.Context, p *stack.Project, service string) (out stack.Container, err error) {
	return out, e.call(ctx, "inspect", func() error {
		c := e.m.find(p, service)
		if c == nil {
			return stack.ErrNoContainer
		}
		out = c.inspect()
		return nil
	})
}

// Connect implements engine.
func (e *simEngine) Connect(ctx context.Context, _ *stack.Project, _, id string) error {
	defer e.m.law.enter(e, "connect", id)()
	return e.on(ctx, "connect", id, func(c *simContainer) error {
		if c.network != e.m.network {
			return fmt.Errorf("connect container %s: %w", c.name, stack.ErrNetworkMissing)
		}
		c.astray = false
		return nil
	})
}

// Start implements engine.
func (e *simEngine) Start(ctx context.Context, id string) error {
	defer e.m.law.enter(e, "start", id)()
	return e.on(ctx, "start", id, e.m.start)
}

// Restart implements engine. What it began goes on when the caller leaves.
func (e *simEngine) Restart(ctx context.Context, id string, _ time.Duration) error {
	defer e.m.law.enter(e, "restart", id)()
	return e.stopping(ctx, "restart", id, e.m.start)
}

// Stop implements engine; likewise.
func (e *simEngine) Stop(ctx context.Context, id string, _ time.Duration) error {
	defer e.m.law.enter(e, "stop", id)()
	return e.stopping(ctx, "stop", id, func(*simContainer) error { return nil })
}

// stopping stops a container and then does something else with it.
func (e *simEngine) stopping(ctx context.Context, op, id string, then func(*simContainer) error) error {
	done := make(chan time.Time)
	var outcome error
	err := e.on(ctx, op, id, func(c *simContainer) error {
		c.afterwards = append(c.afterwards, func() {
			if e.m.up && e.m.all[id] == c {
				outcome = then(c)
			}
			close(done)
		})
		if !c.running {
			c.goOn()
			return nil
		}
		e.m.later(c, e.m.apps[c.service].stops, func() { e.m.end(c, 143, false) })
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, simCallTimeout)
	defer cancel()
	if err := e.await(ctx, done); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return outcome
}

// Remove implements engine.
func (e *simEngine) Remove(ctx context.Context, id string) error {
	defer e.m.law.enter(e, "remove", id)()
	return e.on(ctx, "remove", id, func(c *simContainer) error {
		if c.running {
			return errors.New("container is running: stop the container before removing")
		}
		e.m.remove(c)
		return nil
	})
}

// Signal implements engine.
func (e *simEngine) Signal(ctx context.Context, id, signal string) error {
	defer e.m.law.enter(e, signal, id)()
	return e.on(ctx, "signal", id, func(c *simContainer) error {
		switch {
		case !c.running:
			return errors.New("container is not running")
		case signal == "SIGKILL":
			e.m.end(c, 137, false)
		default:
			e.m.take(c)
		}
		return nil
	})
}

// take has a service read its files again.
func (m *simMachine) take(c *simContainer) {
	if v := m.volumes[c.service]; v != nil {
		c.taken = maps.Clone(v.values)
	}
}

// Exec implements engine: every command is one that has the service read its files again, but for "exit N".
func (e *simEngine) Exec(ctx context.Context, id string, x stack.Exec) (result stack.ExecResult, err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		e.m.law.broken("an exec of %v has no deadline", x.Cmd)
	}
	defer e.m.law.enter(e, "exec", id)()
	return result, e.on(ctx, "exec", id, func(c *simContainer) error {
		if !c.running || c.paused {
			return errors.New("container is not running")
		}
		if _, err := fmt.Sscanf(x.Cmd[len(x.Cmd)-1], "exit %d", &result.ExitCode); err != nil {
			e.m.take(c)
		}
		return nil
	})
}

// Open implements engine. The databases of a simulation are asked without it.
func (e *simEngine) Open(context.Context, string, []string) (database.Session, error) {
	return nil, errors.New("no command is fed in steps here")
}

// Logs implements engine: a service writes what it must not.
func (e *simEngine) Logs(ctx context.Context, id string, _ stack.LogOptions, w io.Writer) error {
	text := ""
	err := e.on(ctx, "logs", id, func(c *simContainer) error {
		for _, name := range slices.Sorted(maps.Keys(c.taken)) {
			text += fmt.Sprintf("%s is %s\n", name, c.taken[name].Reveal())
		}
		return nil
	})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	return err
}

// Survey implements engine.
func (e *simEngine) Survey(context.Context, func(stack.Exhibit) error) error { return nil }

// Postures implements engine.
func (e *simEngine) Postures(context.Context) ([]stack.Posture, error) { return nil, nil }

// ProjectsOf implements engine.
func (e *simEngine) ProjectsOf(context.Context, string) ([]string, error) { return nil, nil }

// KillProject implements engine.
func (e *simEngine) KillProject(ctx context.Context, _ string) error {
	return e.call(ctx, "kill project", func() error {
		e.fed = ""
		for _, id := range slices.Sorted(maps.Keys(e.m.all)) {
			if c := e.m.all[id]; c.service == stack.KeeperService {
				e.m.remove(c)
			} else {
				e.m.end(c, 137, false)
			}
		}
		return nil
	})
}
