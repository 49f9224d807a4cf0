package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"minibot/secrets"
	"minibot/stack"
)

// This file is how a simEngine creates and delivers.

var simLeftover = regexp.MustCompile(`^[0-9a-f]{12}_(.+)$`)

// Create implements engine. It is a row of calls, between which it can be cut off: what that leaves, the next one mends.
func (e *simEngine) Create(ctx context.Context, p *stack.Project, report func(service, message string)) error {
	return e.create(ctx, p, "", report)
}

// Recreate implements engine; likewise.
func (e *simEngine) Recreate(ctx context.Context, p *stack.Project, service string, report func(service, message string)) error {
	return e.create(ctx, p, service, report)
}

// create is Create, which replaces the container of one service anyway.
func (e *simEngine) create(ctx context.Context, p *stack.Project, anyway string, report func(service, message string)) error {
	defer e.m.law.enter(e, "create "+anyway, "")()
	err := e.call(ctx, "create network", func() error {
		if e.m.network == 0 {
			e.m.made++
			e.m.network = e.m.made
		}
		e.mend(p)
		for _, id := range slices.Sorted(maps.Keys(e.m.all)) {
			c := e.m.all[id]
			if _, known := p.Services[c.service]; !known && c.service != stack.KeeperService {
				e.m.remove(c)
			}
		}
		if e.m.find(p, stack.KeeperService) == nil {
			e.m.create(stack.KeeperService, simName(p, stack.KeeperService), "keeper", false)
		}
		return nil
	})
	for _, service := range slices.Sorted(maps.Keys(p.Services)) {
		if err == nil {
			err = e.converge(ctx, p, service, service == anyway, report)
		}
	}
	return err
}

// mend is [stack.Engine]'s.
func (e *simEngine) mend(p *stack.Project) {
	for _, id := range slices.Sorted(maps.Keys(e.m.all)) {
		c := e.m.all[id]
		match := simLeftover.FindStringSubmatch(c.name)
		if match == nil || match[1] != simName(p, c.service) {
			continue
		}
		if e.m.named(match[1]) != nil {
			e.m.remove(c)
		} else {
			e.m.say("engine: %s is renamed %s", c.name, match[1])
			c.name = match[1]
			e.m.tell(c, "rename", 0)
		}
	}
}

// converge creates or replaces the container of one service, also one that is as it is wanted.
func (e *simEngine) converge(ctx context.Context, p *stack.Project, service string, anyway bool, report func(service, message string)) error {
	name, image := simName(p, service), p.Services[service].Image
	var old, next *simContainer
	err := e.call(ctx, "create container", func() error {
		old = e.m.one(service, name)
		for _, c := range e.m.of(service) {
			if c != old { // more than one is wanted of none
				e.m.remove(c)
			}
		}
		switch {
		case old == nil:
			e.m.create(service, name, image, false)
			report(service, "created")
		case anyway:
			e.m.law.judge("remove", old)
			next = e.m.create(service, old.id[:12]+"_"+name, image, false)
		case old.foreign || old.image != image:
			e.m.law.replaces(e, old, image)
			next = e.m.create(service, old.id[:12]+"_"+name, image, false)
		}
		return nil
	})
	if err != nil || next == nil {
		return err
	}
	if err := e.stopping(ctx, "stop the old container", old.id, func(*simContainer) error { return nil }); err != nil {
		return err
	}
	err = e.on(ctx, "remove the old container", old.id, func(c *simContainer) error { e.m.remove(c); return nil })
	if err != nil {
		return err
	}
	return e.on(ctx, "rename the container", next.id, func(c *simContainer) error {
		c.name = name
		e.m.tell(c, "rename", 0)
		report(service, "recreated")
		return nil
	})
}

// simDelivery is a delivery that waits for its renames.
type simDelivery struct {
	e       *simEngine
	p       *stack.Project
	keeper  string
	changed map[string]map[secrets.Name]secrets.Value
	end     func() bool // tells whether it was the first to end it
	unhook  func() bool
}

// Feed implements engine.
func (e *simEngine) Feed(ctx context.Context, p *stack.Project, values map[secrets.Name]secrets.Value) (stack.Delivery, error) {
	d, err := e.Prepare(ctx, p, values)
	if err != nil {
		e.setFed("")
		return stack.Delivery{}, err
	}
	return d.Commit(ctx)
}

func (e *simEngine) setFed(keeper string) {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	e.fed = keeper
}

// Prepare implements engine.
func (e *simEngine) Prepare(ctx context.Context, p *stack.Project, values map[secrets.Name]secrets.Value) (delivering, error) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another delivery: %w", ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, 2*simCallTimeout)
	once := sync.OnceFunc(func() { cancel(); <-e.turn })
	var mu sync.Mutex
	ended := false
	d := &simDelivery{e: e, p: p, changed: map[string]map[secrets.Name]secrets.Value{}, end: func() bool {
		mu.Lock()
		defer mu.Unlock()
		first := !ended
		ended = true
		return first
	}}
	release := d.end
	d.end = func() bool {
		first := release()
		once()
		return first
	}
	err := e.call(ctx, "prepare", func() error {
		keeper := e.m.find(p, stack.KeeperService)
		if keeper == nil {
			return fmt.Errorf("keeper: %w", stack.ErrNoContainer)
		}
		keeper.paused = false
		if err := e.m.start(keeper); err != nil {
			return err
		}
		d.keeper = keeper.instance
		for name, service := range p.Services {
			if d.changes(service, values) {
				d.changed[name] = pick(values, service.Secrets)
			}
		}
		return nil
	})
	if err != nil {
		d.end()
		return nil, err
	}
	d.unhook = context.AfterFunc(ctx, d.Abort)
	return d, nil
}

// changes tells whether a service that has all its values lacks some of them in its volume.
func (d *simDelivery) changes(service stack.Service, values map[secrets.Name]secrets.Value) bool {
	if len(service.Files) == 0 || slices.ContainsFunc(service.Secrets, func(n secrets.Name) bool { return values[n].IsZero() }) {
		return false
	}
	v := d.e.m.volumes[service.Name]
	return v == nil || v.open || !maps.EqualFunc(v.values, pick(values, service.Secrets), secrets.Value.Equal)
}

func pick(values map[secrets.Name]secrets.Value, names []secrets.Name) map[secrets.Name]secrets.Value {
	some := map[secrets.Name]secrets.Value{}
	for _, name := range names {
		some[name] = values[name]
	}
	return some
}

// Commit implements delivering. One that fails may have renamed some of the files.
func (d *simDelivery) Commit(ctx context.Context) (stack.Delivery, error) {
	defer d.unhook()
	if !d.end() {
		return stack.Delivery{}, stack.ErrPreparedEnded
	}
	delivery := stack.Delivery{Keeper: d.keeper}
	err := d.e.call(ctx, "commit", func() error {
		keeper := d.e.m.find(d.p, stack.KeeperService)
		if keeper == nil || !keeper.running || keeper.instance != d.keeper {
			return errors.New("the keeper was restarted during the delivery")
		}
		torn := d.e.m.harmful && d.e.m.roll("commit torn") < 0.05
		for _, name := range slices.Sorted(maps.Keys(d.changed)) {
			d.e.m.made++
			v := &simVolume{values: d.changed[name], open: torn, mark: stack.Mark(fmt.Sprint(d.e.m.made))}
			if c := d.e.m.find(d.p, name); c != nil && c.running {
				v.stale = c.instance
			}
			d.e.m.volumes[name] = v
			delivery.Changed = append(delivery.Changed, name)
			if torn {
				return errSimulated
			}
		}
		d.e.m.say("engine: delivered to %v", delivery.Changed)
		return nil
	})
	d.e.setFed("")
	if err != nil {
		return stack.Delivery{}, err
	}
	d.e.setFed(d.keeper)
	return delivery, nil
}

// Abort implements delivering.
func (d *simDelivery) Abort() { d.end() }

// Fed implements engine.
func (e *simEngine) Fed(seen map[string]stack.Container) bool {
	keeper := seen[stack.KeeperService]
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	return keeper.Running && !keeper.Paused && e.fed == keeper.Instance
}

// Stale implements engine.
func (e *simEngine) Stale(ctx context.Context, p *stack.Project, seen map[string]stack.Container) (map[string]bool, error) {
	stale := map[string]bool{}
	if !seen[stack.KeeperService].Running {
		return stale, nil
	}
	return stale, e.call(ctx, "read the records", func() error {
		for name, service := range p.Services {
			if len(service.Files) == 0 || service.OnChange == "none" || !seen[name].Running {
				continue
			}
			if v := e.m.volumes[name]; v == nil || v.open || v.stale == seen[name].Instance {
				stale[name] = true
			}
		}
		return nil
	})
}

// Delivered implements engine.
func (e *simEngine) Delivered(ctx context.Context, _ *stack.Project, service string) (stack.Mark, error) {
	var mark stack.Mark
	err := e.withVolume(ctx, "delivered", service, func(v *simVolume) { mark = v.mark })
	return mark, err
}

// MarkTaken implements engine.
func (e *simEngine) MarkTaken(ctx context.Context, _ *stack.Project, service string, taken stack.Mark) error {
	return e.withVolume(ctx, "mark taken", service, func(v *simVolume) {
		if v.mark == taken {
			v.stale = ""
		}
	})
}

// withVolume makes a call about a service's files while no delivery is under way.
func (e *simEngine) withVolume(ctx context.Context, op, service string, effect func(v *simVolume)) error {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.turn }()
	return e.call(ctx, op, func() error {
		if v := e.m.volumes[service]; v != nil {
			effect(v)
		}
		return nil
	})
}

// Withdraw implements engine.
func (e *simEngine) Withdraw(ctx context.Context, p *stack.Project) error {
	return e.call(ctx, "withdraw", func() error {
		for name, service := range p.Services {
			for _, c := range e.m.of(name) {
				if len(service.Files) > 0 && c.running {
					return fmt.Errorf("service %s: %w", name, stack.ErrStillRunning)
				}
			}
		}
		e.fed = ""
		for _, c := range e.m.of(stack.KeeperService) {
			e.m.remove(c)
		}
		clear(e.m.volumes)
		return nil
	})
}

// simFault is what goes wrong with a call.
type simFault uint8

const (
	noFault simFault = iota
	fails
	lies // it has its effect and answers with an error
	hangs
	hangsAfter
	slow
)

func (f simFault) String() string {
	return [...]string{"", "fails", "has its effect and fails", "hangs", "has its effect and hangs", "is slow"}[f]
}

// faultOf turns a number in [0,1) into a fault. What is only read goes wrong less often: there is more of it.
func faultOf(r float64, op string) simFault {
	if slices.Contains([]string{"list", "inspect", "read the records", "store list", "store get"}, op) {
		r *= 4
	}
	for _, f := range []struct {
		fault simFault
		share float64
	}{{fails, 0.03}, {lies, 0.03}, {hangs, 0.01}, {hangsAfter, 0.01}, {slow, 0.08}} {
		if r -= f.share; r < 0 {
			return f.fault
		}
	}
	return noFault
}

// delay is how long a call takes: what only reads takes none, so that days without harm are cheap.
func (f simFault) delay(op string) time.Duration {
	switch {
	case f == hangs:
		return time.Hour
	case f == slow:
		return 7 * time.Second
	case op == "start", op == "restart":
		return 300 * time.Millisecond
	case op == "create network", op == "prepare", op == "commit":
		return 50 * time.Millisecond
	}
	return 0
}
