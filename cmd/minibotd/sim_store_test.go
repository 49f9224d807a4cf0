package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
)

// reach is a call of one daemon to the store or a database, which can go wrong as those to the engine do.
func (s *sim) reach(ctx context.Context, owner *mortal, op string, effect func() error) error {
	fault := noFault
	if s.m.isHarmful() {
		fault = faultOf(s.m.roll(op), op)
	}
	delay := fault.delay(op)
	if delay > 0 || fault == hangsAfter { // any other call ends at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, storeTimeout) // as the real ones have their own
		defer cancel()
	}
	err := rest(ctx, owner, delay)
	if owner.isDead() {
		err = errDead
	}
	if err == nil && fault == fails {
		err = errSimulated
	}
	if err == nil {
		err = effect()
	}
	switch {
	case err != nil:
	case fault == lies:
		err = errSimulated
	case fault == hangsAfter:
		err = rest(ctx, owner, time.Hour)
	}
	if fault != noFault && fault != slow {
		s.m.say("call: %s %v: %v", op, fault, err)
	}
	return err
}

func rest(ctx context.Context, owner *mortal, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-owner.dead:
		return errDead
	}
}

// simStore is the store as one daemon reaches it.
type simStore struct {
	s     *sim
	owner *mortal
}

var (
	_ secrets.Store    = simStore{}
	_ secrets.Promoter = simStore{}
)

func (t simStore) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (item secrets.Item, err error) {
	return item, t.s.reach(ctx, t.owner, "store get", func() (err error) {
		item, err = t.s.store.Get(ctx, name, slot)
		return err
	})
}

func (t simStore) Put(ctx context.Context, name secrets.Name, slot secrets.Slot, value secrets.Value) error {
	return t.s.reach(ctx, t.owner, "store put", func() error { return t.s.store.Put(ctx, name, slot, value) })
}

func (t simStore) Delete(ctx context.Context, name secrets.Name, slot secrets.Slot) error {
	return t.s.reach(ctx, t.owner, "store delete", func() error { return t.s.store.Delete(ctx, name, slot) })
}

func (t simStore) List(ctx context.Context) (list []secrets.Entry, err error) {
	return list, t.s.reach(ctx, t.owner, "store list", func() (err error) {
		list, err = t.s.store.List(ctx)
		return err
	})
}

func (t simStore) Promote(ctx context.Context, name secrets.Name) error {
	return t.s.reach(ctx, t.owner, "store promote", func() error { return t.s.store.Promote(ctx, name) })
}

// simDatabase is a database inside a service, as one daemon reaches it.
type simDatabase struct {
	*databasetest.Fake
	s       *sim
	owner   *mortal
	service string
}

// simSwitcher is one that can prepare a switch.
type simSwitcher struct{ simDatabase }

var (
	_ rotation.Database = simDatabase{}
	_ rotation.Switcher = simSwitcher{}
)

// database is the driver of a requirement for one daemon.
func (s *sim) database(owner *mortal) func(secrets.Requirement) rotation.Database {
	return func(r secrets.Requirement) rotation.Database {
		db := simDatabase{s.dbs[r.Rotate.Service], s, owner, r.Rotate.Service}
		if db.Kind == databasetest.Single {
			return simSwitcher{db}
		}
		return db
	}
}

// do is an operation, which the service must be up for.
func (d simDatabase) do(ctx context.Context, op string, f func() error) error {
	err := d.s.reach(ctx, d.owner, "db "+op, func() error {
		d.s.m.mu.Lock()
		c := d.s.m.one(d.service, "sim-"+d.service)
		ready := d.s.m.up && c != nil && c.running && !c.paused && c.health != "starting"
		d.s.m.mu.Unlock()
		if !ready {
			return database.ErrNotReady
		}
		return f()
	})
	d.s.m.say("daemon: database %s %s: %v", d.service, op, err)
	if errors.Is(err, errSimulated) && d.s.m.roll("db error") < 0.7 { // most failures are known to be passing ones
		err = fmt.Errorf("%w: %w", database.ErrNotReady, err)
	}
	return err
}

func (d simDatabase) Accept(ctx context.Context, c database.Change) error {
	return d.do(ctx, "accept", func() error { return d.Fake.Accept(ctx, c) })
}

func (d simDatabase) Prove(ctx context.Context, c database.Credential) (err error) {
	refused := false
	err = d.do(ctx, "prove", func() error {
		refused = d.Fake.Prove(ctx, c) != nil
		return nil
	})
	if err == nil && refused {
		err = database.ErrRefused
	}
	return err
}

func (d simDatabase) Retire(ctx context.Context, c database.Change) error {
	return d.do(ctx, "retire", func() error { return d.Fake.Retire(ctx, c) })
}

func (d simDatabase) Revert(ctx context.Context, c database.Change) error {
	return d.do(ctx, "revert", func() error { return d.Fake.Revert(ctx, c) })
}

func (d simDatabase) Assert(ctx context.Context, c database.Credential) error {
	if d.Kind == databasetest.Overlap {
		return database.ErrNoEntrance
	}
	return d.do(ctx, "assert", func() error { return d.Fake.Assert(ctx, c) })
}

func (d simDatabase) InUse(ctx context.Context, c database.Change, since time.Time) (n int, err error) {
	return n, d.do(ctx, "in use", func() (err error) {
		n, err = d.Fake.InUse(ctx, c, since)
		return err
	})
}

func (d simSwitcher) Prepare(ctx context.Context, c database.Change) (next database.Switch, err error) {
	err = d.do(ctx, "prepare", func() (err error) {
		next, err = databasetest.Preparing{Fake: d.Fake}.Prepare(ctx, c)
		return err
	})
	if err != nil {
		if next != nil {
			next.Abort()
		}
		return nil, err
	}
	return simSwitch{next, d}, nil
}

type simSwitch struct {
	database.Switch
	d simSwitcher
}

func (s simSwitch) Commit(ctx context.Context) error {
	return s.d.do(ctx, "commit", func() error { return s.Switch.Commit(ctx) })
}
