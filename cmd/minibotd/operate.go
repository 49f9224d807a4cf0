package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/supervisor"
)

// Operate carries out a person's order and returns when the services it concerns have settled.
func (d *daemon) Operate(ctx context.Context, op control.Operation, report func(control.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	message := string(op.Verb)
	if op.Verb == control.VerbPause {
		message += " for " + (time.Duration(op.Seconds) * time.Second).String()
	}
	d.record(control.Event{Kind: "request", Service: op.Service, Message: message})
	say := d.say(report)
	switch op.Verb {
	case control.VerbLockdown:
		return ending(d.lockDown(ctx, op.Reason, say))
	case control.VerbUnlock:
		return ending(d.unlock(ctx, op, say))
	case control.VerbCompromise:
		return ending(d.compromise(ctx, op, say))
	case control.VerbStop:
		return ending(d.operate(ctx, op, say))
	case control.VerbNotify:
		return ending(d.testNotify(ctx, say))
	}
	return ending(d.unlessLockedDown(ctx, func(ctx context.Context) error { return d.operate(ctx, op, say) }))
}

func (d *daemon) operate(ctx context.Context, op control.Operation, say saying) error {
	services, err := d.concerned(ctx, op.Service)
	if err != nil {
		return err
	}
	ticket := uint64(0)
	switch op.Verb {
	case control.VerbReload:
		return d.reload(ctx, services, say)
	case control.VerbRestart:
		if op.Service == "" {
			return fmt.Errorf("%w: restart wants a service", control.ErrUsage)
		}
		if err := d.supervisor.Restart(ctx, op.Service); err != nil {
			return err
		}
		ticket = d.supervisor.Wake()
	case control.VerbStart, control.VerbStop:
		if ticket, err = d.intend(op); err != nil {
			return err
		}
		if op.Verb == control.VerbStart {
			if err := d.volumes.heed(op.Service); err != nil {
				d.log.Warn("the record of the volumes is not kept", keyError, err)
			}
		}
	case control.VerbPause, control.VerbResume:
		return d.rest(op, say)
	default:
		return fmt.Errorf("%w: unknown operation %q", control.ErrUsage, op.Verb)
	}
	return d.settle(ctx, ticket, services, say)
}

// reload reads the compose file and the store again.
func (d *daemon) reload(ctx context.Context, services map[string]bool, say saying) error {
	d.mu.Lock()
	clear(d.refused) // somebody is here to answer a dialog
	d.mu.Unlock()
	byHand, err := d.takeByHand(ctx, say)
	if err != nil {
		return err
	}
	changed, ticket, err := d.promoteAndRefresh(ctx)
	if err != nil {
		return err
	}
	changed = changed || byHand
	waiting, err := d.waiting(ctx)
	if err != nil {
		return err
	}
	waiting = waiting || d.inDoubt()
	if !changed && !waiting && d.supervisor.Status().Phase == supervisor.AllHealthy {
		say("", "nothing changed")
		return nil
	}
	if err := d.settle(ctx, ticket, services, say); err != nil || !waiting {
		return err
	}
	err = d.rotator.AfterStart(ctx, say.noting)
	d.doubts(ctx, err)
	if err != nil { // what comes after a change that was rolled back has not been looked at
		d.wakeFinish()
	}
	return err
}

func (d *daemon) promoteAndRefresh(ctx context.Context) (changed bool, ticket uint64, err error) {
	d.promoting.Lock()
	defer d.promoting.Unlock()
	if err := d.rotator.BeforeDelivery(ctx); err != nil {
		return false, 0, err
	}
	return d.refresh(ctx)
}

// onHangup reloads on each SIGHUP.
func (d *daemon) onHangup(ctx context.Context, hangup <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := d.Operate(ctx, control.Operation{Verb: control.VerbReload}, func(control.Progress) {}); err != nil && ctx.Err() == nil {
				d.log.Error("reload failed", keyError, err)
			}
		}
	}
}

// concerned is the set of services that an order names.
func (d *daemon) concerned(ctx context.Context, service string) (map[string]bool, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[string]bool{}
	for name := range d.project.Services {
		all[name] = true
	}
	if service == "" {
		return all, nil
	}
	if !all[service] {
		return nil, hint.Wrap(fmt.Errorf("service %s: %w", service, secrets.ErrNotFound),
			"the services are %s", strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	return map[string]bool{service: true}, nil
}

// ready returns once the stack is loaded, or what is in the way of that.
func (d *daemon) ready(ctx context.Context) error {
	if err := d.tryAgain(ctx); err != nil {
		return fmt.Errorf("the stack is not loaded yet: %w", err)
	}
	return nil
}

// intend keeps a person's wish on disk, then tells the supervisor. It needs neither the compose file nor the store:
// what was read last stays in force.
func (d *daemon) intend(op control.Operation) (ticket uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.intent.stop(op.Service)
	if op.Verb == control.VerbStart {
		next = d.intent.start(op.Service, slices.Sorted(maps.Keys(d.project.Services)))
	}
	if err := d.keepIntent(next); err != nil {
		return 0, err
	}
	if op.Verb == control.VerbStart { // what was given up is tried again, too
		for name := range d.project.Services {
			if op.Service == "" || op.Service == name {
				d.revisions[name]++
			}
		}
	}
	return d.supervisor.Apply(d.wanted()), nil
}

// keepIntent brings next into force once it is on disk. The caller holds mu.
func (d *daemon) keepIntent(next intent) error {
	if err := next.write(d.paths.Intent); err != nil {
		return hint.Wrap(err, "look at the disk space and the owner of %s", d.paths.StateDir)
	}
	d.intent = next
	return nil
}

// rest begins or ends a service's maintenance.
func (d *daemon) rest(op control.Operation, say saying) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, until := time.Now(), time.Time{}
	if op.Verb == control.VerbPause {
		until = now.Add(time.Duration(op.Seconds) * time.Second).Round(0) // the wall's clock counts
	}
	if op.Verb == control.VerbResume && !now.Before(d.intent.Maintenance[op.Service]) {
		say(op.Service, "its healing is not paused")
		return nil
	}
	if err := d.keepIntent(d.intent.pause(op.Service, until, now)); err != nil {
		return err
	}
	d.supervisor.Apply(d.wanted())
	if op.Verb == control.VerbResume {
		say(op.Service, "healing goes on")
		return nil
	}
	say(op.Service, "healing is paused until "+until.Format(time.DateTime))
	return nil
}

// settle follows the named services until each is up, down on purpose, or held back, and reports what happens to
// them. ticket is what the supervisor must have taken in. It fails when a service, or what concerns the whole project, is
// degraded.
func (d *daemon) settle(ctx context.Context, ticket uint64, services map[string]bool, say saying) error {
	return d.settleWithin(ctx, ticket, services, say, math.MaxInt)
}

// settleWithin is settle that gives a service up, and fails, after so many failed attempts in a row.
func (d *daemon) settleWithin(ctx context.Context, ticket uint64, services map[string]bool, say saying, attempts int) error {
	told := map[string]string{}
	tell := func(service, line string) {
		if line != told[service] {
			told[service] = line
			say(service, line)
		}
	}
	last, err := d.supervisor.Wait(ctx, func(status supervisor.Status) bool {
		if status.Phase == supervisor.Unreachable {
			tell("", "waiting for the engine: "+status.Reason)
		}
		if status.Failed {
			tell("", status.Reason)
		}
		if status.Ticket < ticket || status.Phase == supervisor.Unreachable {
			return false
		}
		rest, lost, maintained := true, false, false
		for _, s := range status.Services {
			maintained = maintained || s.State == stateMaintenance
			if services[s.Name] {
				tell(s.Name, describe(s))
				rest = rest && (resting(s) || s.Attempt >= attempts)
				lost = lost || s.Attempt >= attempts
			}
		}
		if lost {
			return true
		}
		whole := len(services) == len(status.Services) && !maintained // what is sick on purpose keeps the whole from being healthy
		switch status.Phase {
		case supervisor.Degraded:
			return rest && (status.Created || status.Failed) || !status.Delivered
		case supervisor.AllHealthy, supervisor.AllStopped:
			return rest
		}
		return rest && status.Delivered && status.Created && !whole
	})
	if err != nil {
		return hint.Wrap(fmt.Errorf("not settled: %w", err), "run `minibotd status`")
	}
	var faults []error
	for _, s := range last.Services {
		if services[s.Name] && (s.State == stateDegraded || s.Attempt >= attempts) {
			faults = append(faults, hint.Wrap(fmt.Errorf("service %s is %s: %s", s.Name, s.State, s.Reason), "run `minibotd logs %s`", s.Name))
		}
	}
	if last.Phase == supervisor.Degraded && (last.Failed || !last.Delivered) {
		faults = append(faults, hint.Wrap(errors.New(last.Reason), "%s", last.Hint))
	}
	return errors.Join(faults...)
}
