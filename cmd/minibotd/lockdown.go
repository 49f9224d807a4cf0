package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/lockdown"
	"minibot/secrets"
)

const (
	enforceInterval = time.Second            // between two looks for what runs although it must not
	noticeInterval  = 30 * time.Second       // between two looks for a record that nobody told of: the net below the watch of its file
	settleInterval  = 100 * time.Millisecond // between two kills while actions end that began before
	settleMost      = 10 * time.Second       // how long these may take; enforce finds what comes of them later
)

// lock is what the daemon knows of a lockdown.
type lock struct {
	file    lockdown.File
	running breaker       // changes and orders: a lockdown cancels them
	nudge   chan struct{} // has enforce look at once
	heeding turn          // one look at the record at a time
	killing turn          // one kill at a time

	record   *lockdown.Record // as last read; guarded by daemon.mu, as is all below
	trouble  error            // why something may run although it must not
	unstored *lockdown.Record // one that could not be written: it holds all the same
}

// show fills in what status shows of a lockdown.
func (l *lock) show(out *control.Status) {
	out.Since, out.Reason = l.record.Since, l.record.Why()
	if out.Hint = "minibotd unlock"; l.record.Unreplaced() != nil {
		out.Hint = hint.Of(l.record.Unreplaced())
	}
	if l.trouble != nil {
		out.Reason = strings.TrimPrefix(out.Reason+"; containers may run: "+l.trouble.Error(), "; ")
	}
}

// refused is why nothing may be started, or nil.
func (w *world) refused() error {
	if w.refuse == nil {
		return nil
	}
	return w.refuse()
}

// forbidden looks at the record itself: a command may have written it a moment ago, and not have reached the daemon.
func (d *daemon) forbidden() error {
	if err := d.lockedDown(); err != nil {
		return err
	}
	return d.lock.file.Read().Err()
}

// lockedDown is why orders are refused, or nil.
func (d *daemon) lockedDown() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lock.record.Err()
}

// unlessLockedDown calls f unless the stack is locked down; a lockdown that begins meanwhile ends f's context.
func (d *daemon) unlessLockedDown(ctx context.Context, f func(context.Context) error) error {
	ctx, leave := d.lock.running.enter(ctx)
	defer leave()
	if err := d.forbidden(); err != nil {
		return err
	}
	err := f(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, control.ErrLockedDown) {
		return hint.Wrap(fmt.Errorf("%w: %w", cause, err), "%s", hint.Of(cause))
	}
	return err
}

// enforce keeps down what must not run, from before the store is open until ctx ends.
func (d *daemon) enforce(ctx context.Context) {
	said := ""
	for {
		pause := untilBeat(noticeInterval)
		if d.heed(ctx) {
			pause = enforceInterval
			err := d.kill(ctx)
			if text := errorText(err); text != said && ctx.Err() == nil {
				if said = text; err != nil {
					d.log.Error("lockdown: containers may run", keyError, err)
					d.record(control.Event{Kind: "error", Message: "lockdown: containers may run: " + text})
				}
			}
		}
		select {
		case <-time.After(pause):
		case <-d.lock.nudge:
		case <-ctx.Done():
			return
		}
	}
}

// notice has enforce look as soon as a command writes the record, until ctx ends.
func (d *daemon) notice(ctx context.Context) {
	if err := d.watch(ctx, d.lock.file.Path(), d.lock.look); err != nil {
		d.log.Warn("a lockdown by a command that does not reach minibotd is noticed late", keyError, err, "within", noticeInterval)
	}
}

// look has enforce look at the record now.
func (l *lock) look() {
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// heed reads the record, and begins or ends what follows from it. It reports whether the stack is locked down.
func (d *daemon) heed(ctx context.Context) (locked bool) {
	d.lock.heeding.Lock()
	defer d.lock.heeding.Unlock()
	d.mu.Lock()
	before, unstored := d.lock.record, d.lock.unstored
	d.mu.Unlock()
	now := d.lock.file.Read()
	if unstored != nil && now == nil {
		if _, err := d.lock.file.Begin(ctx, unstored.Reason); err != nil {
			now = unstored
		} else {
			now = d.lock.file.Read()
		}
	}
	d.mu.Lock()
	d.lock.record = now
	if now != unstored {
		d.lock.unstored = nil
	}
	began, ended := now.Locked() && !before.Locked(), !now.Locked() && before.Locked()
	changed := began || ended || (now == nil) != (before == nil)
	if changed && d.project != nil {
		d.supervisor.Apply(d.wanted())
	}
	if ended {
		d.lock.trouble = nil
	}
	d.mu.Unlock()
	switch {
	case began:
		d.lock.running.trip(now.Err())
		d.lock.look()
		d.log.Warn("locked down", "reason", now.Why())
		d.record(control.Event{Kind: "phase", Message: string(control.PhaseLockedDown) + ": " + now.Why()})
	case ended:
		d.log.Info("the lockdown has ended")
		d.record(control.Event{Kind: "phase", Message: "the lockdown has ended"})
		d.wakeFinish()
	}
	return now.Locked()
}

// kill kills every container of the project.
func (d *daemon) kill(ctx context.Context) error {
	d.lock.killing.Lock()
	defer d.lock.killing.Unlock()
	if d.lockedDown() == nil {
		return nil
	}
	engine, _, err := d.world.connect(ctx)
	if err == nil {
		_, err = lockdown.Kill(ctx, engine, d.lock.file, d.paths.Compose)
		err = d.world.lost(engine, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock.trouble = nil; d.lock.record.Locked() {
		d.lock.trouble = err
	}
	return err
}

// lockDown is the order of a person: everything is down when it returns without an error.
func (d *daemon) lockDown(ctx context.Context, reason string, say saying) error {
	r, recorded := d.lock.file.Begin(ctx, reason)
	if recorded != nil && r != nil {
		d.mu.Lock()
		d.lock.unstored = r
		d.mu.Unlock()
	}
	d.heed(ctx)
	err := d.kill(ctx)
	tick := time.NewTicker(settleInterval)
	defer tick.Stop()
	for end := time.Now().Add(settleMost); d.world.actions.add(0) > 0 && time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(recorded, ctx.Err())
		}
		err = d.kill(ctx)
	}
	if err != nil {
		return errors.Join(recorded, hint.Wrap(fmt.Errorf("the lockdown is recorded, but containers may run: %w", err), "%s", hint.Of(err)))
	}
	say("", "every container is killed, the keeper is gone with all it held")
	return recorded
}

// unlock lets the databases up, makes sure that each has the password that is stored, and then lets up the others.
func (d *daemon) unlock(ctx context.Context, op control.Operation, say saying) error {
	d.mu.Lock()
	unstored := d.lock.unstored != nil
	d.lock.unstored = nil
	d.mu.Unlock()
	switch err := d.lock.file.Unlock(ctx, op.Names, op.All); {
	case errors.Is(err, lockdown.ErrNone) && !unstored:
		say("", "not locked down")
		return nil
	case err != nil && !errors.Is(err, lockdown.ErrNone):
		return err
	}
	d.lock.killing.Lock() // the last kill must not meet what starts now
	d.heed(ctx)
	d.lock.killing.Unlock()
	return d.unlessLockedDown(ctx, func(ctx context.Context) error {
		if err := d.ready(ctx); err != nil {
			return err
		}
		ticket, err := d.update(ctx)
		if err != nil {
			return err
		}
		all, databases, stopped := d.parts()
		if stopped != "" {
			say(stopped, "is stopped on request: what needs its password is held back until `minibotd start "+stopped+"`")
			return d.settle(ctx, ticket, all, say)
		}
		if len(databases) > 0 {
			if err := d.settle(ctx, ticket, databases, say); err != nil {
				return err
			}
		}
		if err := d.finishAndRelease(ctx, say); err != nil {
			d.leftUnfinished(ctx, err)
			return err
		}
		return d.settle(ctx, d.supervisor.Wake(), all, say)
	})
}

// parts returns all services, those that start first at an unlock, and one of the latter that a person has stopped.
func (d *daemon) parts() (all, databases map[string]bool, stopped string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all = map[string]bool{}
	for name := range d.project.Services {
		all[name] = true
	}
	databases = needed(d.project.Requirements, wantedState(d.project, d.values, d.intent, d.creates, d.revisions))
	for _, name := range slices.Sorted(maps.Keys(databases)) {
		if stopped == "" && d.intent.stopped(name) {
			stopped = name
		}
	}
	return all, databases, stopped
}

// finishAndRelease is finish, after which nothing is held back any more.
func (d *daemon) finishAndRelease(ctx context.Context, say saying) error {
	err := d.unlessLockedDown(ctx, func(ctx context.Context) error { return d.finish(ctx, say) })
	if err != nil || d.lock.file.Read() == nil {
		return err
	}
	storing, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.lock.file.Finish(storing, d.store); err != nil {
		return err
	}
	if err := d.lock.file.End(ctx); err != nil {
		return err
	}
	d.heed(ctx)
	say("", "the databases have their stored passwords; everything may start")
	return nil
}

// compromise puts names on the list of a lockdown, and replaces those that can be generated.
func (d *daemon) compromise(ctx context.Context, op control.Operation, say saying) error {
	if d.lockedDown() == nil {
		return hint.Wrap(fmt.Errorf("%w: secrets are replaced while nothing runs", control.ErrUsage), "minibotd lockdown")
	}
	if err := d.ready(ctx); err != nil {
		return err
	}
	required, names := d.requirements(), op.Names
	if op.All {
		names = lockdown.Replaceable(required)
	}
	return d.alone(ctx, func(ctx context.Context) error {
		return d.lock.file.Compromise(ctx, d.store, required, names, func(message string) {
			d.record(control.Event{Kind: "secret", Message: message})
			say("", message)
		})
	})
}

// storeWhileLocked stores values without bringing them into force anywhere.
func (d *daemon) storeWhileLocked(ctx context.Context, values map[secrets.Name]secrets.Value, say saying) error {
	required := map[secrets.Name]secrets.Requirement{}
	for _, r := range d.requirements() {
		required[r.Name] = r
	}
	return d.alone(ctx, func(ctx context.Context) error {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			r := required[name]
			r.Name = name
			message, err := d.lock.file.Set(ctx, d.store, r, values[name])
			if err != nil {
				return err
			}
			say("", message)
		}
		return nil
	})
}

// alone changes the store during a lockdown, once a change that the lockdown has cut short has ended.
func (d *daemon) alone(ctx context.Context, f func(context.Context) error) error {
	d.promoting.Lock()
	defer d.promoting.Unlock()
	err := d.rotator.Alone(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		return f(ctx)
	})
	d.heed(ctx)
	_, updated := d.update(ctx)
	return errors.Join(err, updated)
}
