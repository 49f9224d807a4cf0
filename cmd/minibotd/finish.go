package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"minibot/control"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/supervisor"
)

const (
	finishMost  = 5 * time.Minute // between two attempts to finish what a database refuses
	finishLeast = time.Minute     // likewise where something asks for the next one
)

// finishChanges carries out, once the databases are up, the changes that waited, and makes sure that the databases
// still accept what the store holds: at the start, after each change that was left unfinished, and whenever a database has
// come up.
func (d *daemon) finishChanges(ctx context.Context) {
	delay, said := waitFirst, ""
	for ctx.Err() == nil {
		if _, err := d.supervisor.Wait(ctx, d.databasesUp); err != nil {
			return
		}
		err := d.finishAndRelease(ctx, func(service, message string) {
			d.record(control.Event{Kind: "secret", Service: service, Message: message})
		})
		if ctx.Err() != nil {
			return
		}
		d.doubts(ctx, err)
		if err == nil {
			delay, said = waitFirst, ""
			select {
			case <-d.unfinished:
			case <-ctx.Done():
			}
			continue
		}
		if err.Error() != said { // it may go on for days
			said = err.Error()
			d.log.Error("finish the waiting changes", keyError, err)
			d.record(control.Event{Kind: "error", Message: "finish the waiting changes: " + said})
		}
		d.finishAgain(ctx, delay)
		delay = min(2*delay, finishMost)
	}
}

// finishAgain waits for delay, or until there is a reason to try again. Such a reason may be of the attempt's own making, as a database
// that it restarted and that is up now: after many failures it is one a minute at the most.
func (d *daemon) finishAgain(ctx context.Context, delay time.Duration) {
	wait, least := time.After(delay), time.After(min(delay, finishLeast))
	select {
	case <-wait:
		return
	case <-d.unfinished:
	case <-ctx.Done():
		return
	}
	select {
	case <-least:
	case <-ctx.Done():
	}
}

// finish brings into force what waits in pending, and makes sure of the databases.
func (d *daemon) finish(ctx context.Context, say saying) error {
	d.promoting.Lock()
	err := d.rotator.BeforeDelivery(ctx)
	if err == nil {
		_, err = d.update(ctx)
	}
	d.promoting.Unlock()
	if err != nil {
		return err
	}
	for range finishRounds {
		err = d.rotator.AfterStart(ctx, say.noting)
		if !errors.Is(err, rotation.ErrRolledBack) || errors.Is(err, rotation.ErrUnfinished) {
			break
		}
		// it is over, and to try it again is for a person: but what comes after it has not been looked at
		d.log.Error("a waiting change was rolled back", keyError, err)
		d.record(control.Event{Kind: "error", Message: err.Error()})
	}
	return err
}

// waiting says whether a value waits in pending.
func (d *daemon) waiting(ctx context.Context) (bool, error) {
	entries, err := d.store.List(ctx)
	return slices.ContainsFunc(entries, func(e secrets.Entry) bool { return e.Slot == secrets.Pending }), err
}

// holdsCredential says whether a service holds a secret in its own data.
func (d *daemon) holdsCredential(service string) bool {
	return slices.ContainsFunc(d.requirements(), func(r secrets.Requirement) bool { return r.Rotate.InDatabase() && r.Rotate.Service == service })
}

// databasesUp says whether every service that holds a credential is healthy.
func (d *daemon) databasesUp(status supervisor.Status) bool {
	if d.lockedDown() != nil {
		return false
	}
	for _, r := range d.requirements() {
		if r.Rotate.InDatabase() && !well(status, r.Rotate.Service) {
			return false
		}
	}
	return true
}
