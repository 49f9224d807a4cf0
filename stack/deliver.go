package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/container"

	"minibot/hint"
	"minibot/secrets"
)

// Delivery is what a Feed did.
type Delivery struct {
	Keeper     string                    // the keeper's instance that holds the files
	Changed    []string                  // services that were given something else than before, sorted
	Complete   []string                  // services whose files are all in place, sorted
	Incomplete map[string][]secrets.Name // services left as they are, and the names without a value
}

// Feed makes sure that the keeper runs and that every service's files hold values. It brings what is missing or has
// changed and takes away what a service no longer has. A service without all its values keeps what it has and is
// listed as Incomplete. With nothing to do it asks the engine once, for the keeper. It changes no service's container;
// see [Engine.Stale] for who has to take what. After an error nothing counts as fed until a later Feed succeeds.
func (e *Engine) Feed(ctx context.Context, p *Project, values map[secrets.Name]secrets.Value) (Delivery, error) {
	prepared, err := e.Prepare(ctx, p, values)
	if err != nil {
		e.setFed(p, Container{}, false)
		return Delivery{}, err
	}
	return prepared.Commit(ctx)
}

// setFed notes whether the keeper holds what a delivery was to bring.
func (e *Engine) setFed(p *Project, keeper Container, fed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.fed, p.Name)
	if fed {
		e.fed[p.Name] = keeper.Instance
	}
}

func without(names []secrets.Name, values map[secrets.Name]secrets.Value) []secrets.Name {
	var missing []secrets.Name
	for _, name := range names {
		if values[name].IsZero() {
			missing = append(missing, name)
		}
	}
	return missing
}

// runKeeper starts the keeper unless it runs, and lets a paused one go on: nobody else has use for it.
func (e *Engine) runKeeper(ctx context.Context, p *Project) (Container, error) {
	c, err := e.Container(ctx, p, KeeperService)
	if err == nil && c.Paused {
		err = e.wrapNamed(ctx, e.docker.ContainerUnpause(ctx, c.ID), "unpause", c.ID)
	}
	if err != nil || c.Running {
		return c, err
	}
	idle, err := e.idle(ctx, p)
	if err != nil {
		return c, err
	}
	err = e.Start(ctx, c.ID)
	if errors.Is(err, ErrContainerStuck) {
		if err = e.Remove(ctx, c.ID); err == nil {
			err = fmt.Errorf("container %s: it could not be started, and was removed: %w", c.Name, ErrNoContainer)
		}
	}
	if err != nil {
		return c, err
	}
	if c, err = e.Container(ctx, p, KeeperService); err == nil && !c.Running {
		err = hint.Wrap(fmt.Errorf("container %s: it ended at once, with exit code %d", c.Name, c.ExitCode), "see `docker inspect %s`", c.Name)
	}
	if err == nil { // nobody held their memory
		for _, service := range idle {
			e.learn(place{p.Name, service}, record{Open: true, keeper: c.Instance, tidied: true})
		}
	}
	return c, err
}

// idle are the services without a container that runs: the memory of their volumes is empty while the keeper does not run either.
func (e *Engine) idle(ctx context.Context, p *Project) ([]string, error) {
	list, err := e.list(ctx, p)
	if err != nil {
		return nil, wrap(err, "list the containers of project %s", p.Name)
	}
	busy := map[string]bool{}
	for _, c := range list {
		busy[c.Service] = busy[c.Service] || !c.ended()
	}
	var idle []string
	for name := range p.Services {
		if !busy[name] {
			idle = append(idle, name)
		}
	}
	return idle, nil
}

// conclude closes the records. Whatever instance runs now is stale: it was there before the files changed, or came
// so near to it that it may have read the old ones.
func (e *Engine) conclude(ctx context.Context, p *Project, keeper Container, orders []order) error {
	stale := make([]string, len(orders))
	err := forEach(ctx, orders, func(ctx context.Context, i int, o order) (err error) {
		stale[i], err = e.runningInstance(ctx, p, o.service)
		return err
	})
	if err != nil {
		return err
	}
	done := newBatch()
	for i, o := range orders {
		orders[i].record = o.record.closed(o.files, stale[i])
		orders[i].record.keeper = keeper.Instance
		done.record(o.service, orders[i].record)
	}
	if err := e.send(ctx, keeper, done); err != nil {
		return err
	}
	now, err := e.Container(ctx, p, KeeperService)
	if err != nil {
		return err
	}
	if now.Instance != keeper.Instance || !now.Running { // a copy into a stopping container reports success
		return fmt.Errorf("container %s: it was restarted during the delivery", now.Name)
	}
	for _, o := range orders {
		e.learn(place{p.Name, o.service}, o.record)
	}
	return nil
}

func (e *Engine) send(ctx context.Context, keeper Container, b *batch) error {
	if err := b.close(); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	err := e.docker.CopyToContainer(ctx, keeper.ID, keeperRoot, &b.archive, container.CopyToContainerOptions{})
	return wrapContainer(err, "deliver: copy into container %s", keeper.Name)
}

// runningInstance is the instance of a service's container that runs, or "".
func (e *Engine) runningInstance(ctx context.Context, p *Project, service string) (string, error) {
	c, err := e.Container(ctx, p, service)
	if errors.Is(err, ErrNoContainer) {
		return "", nil
	}
	if err != nil || !c.Running {
		return "", err
	}
	return c.Instance, nil
}

// Stale returns the services whose running instance, in seen, has not taken what was last delivered. Services with
// on_change none are never among them. Without a keeper that runs this version's program nothing can be told, and nothing
// is stale: create and feed first.
func (e *Engine) Stale(ctx context.Context, p *Project, seen map[string]Container) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stale := map[string]bool{}
	keeper := seen[KeeperService]
	if !keeper.Running || keeper.Paused || keeper.Image != e.keeperRef {
		return stale, nil
	}
	var names []string
	for name, service := range p.Services {
		if len(service.Files) > 0 && service.OnChange != "none" && seen[name].Running {
			names = append(names, name)
		}
	}
	records, err := e.records(ctx, p, keeper, names)
	if err != nil {
		return nil, err
	}
	for i, r := range records {
		if r.staleFor(seen[names[i]]) {
			stale[names[i]] = true
		}
	}
	return stale, nil
}

// Mark names one delivery to one service; "" names none. It tells nothing of the values.
type Mark string

// Delivered returns what was delivered to a service last, for MarkTaken: ask before the service is told to take it.
func (e *Engine) Delivered(ctx context.Context, p *Project, service string) (Mark, error) {
	var mark Mark
	err := e.withRecord(ctx, p, service, func(_ context.Context, _ Container, r record) error {
		if !r.Open {
			mark = Mark(r.Fingerprint)
		}
		return nil
	})
	return mark, err
}

// MarkTaken notes that the running instance of a service has taken a delivery, by a signal or a command. It notes nothing when there was
// another one since: nobody knows which of the two the service has read.
func (e *Engine) MarkTaken(ctx context.Context, p *Project, service string, taken Mark) error {
	return e.withRecord(ctx, p, service, func(ctx context.Context, keeper Container, r record) error {
		if r.Open || r.Stale == "" || taken != Mark(r.Fingerprint) {
			return nil
		}
		r.Stale = ""
		b := newBatch()
		b.record(service, r)
		e.forgetRecord(p, service)
		if err := e.send(ctx, keeper, b); err != nil {
			return err
		}
		e.learn(place{p.Name, service}, r)
		return nil
	})
}

// withRecord does something with a service's record while no delivery is under way.
func (e *Engine) withRecord(ctx context.Context, p *Project, service string, do func(ctx context.Context, keeper Container, r record) error) error {
	if err := e.delivering.lock(ctx); err != nil {
		return fmt.Errorf("wait for a delivery to end: %w", err)
	}
	defer e.delivering.unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	keeper, err := e.Container(ctx, p, KeeperService)
	if err != nil {
		return err
	}
	if !keeper.Running {
		return fmt.Errorf("container %s does not run", keeper.Name)
	}
	r, err := e.recordOf(ctx, p, keeper, service)
	if err != nil {
		return err
	}
	return do(ctx, keeper, r)
}

// Fed reports whether, by what is known, the keeper in seen runs, not paused, and holds what the last Feed delivered. It
// makes no call. After another project or other values, call Feed again, whatever Fed says.
func (e *Engine) Fed(seen map[string]Container) bool {
	keeper := seen[KeeperService]
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, instance := range e.fed {
		if keeper.Running && !keeper.Paused && instance == keeper.Instance {
			return true
		}
	}
	return false
}

// Withdraw takes the keeper and its volume away, and so every delivered file: the volumes of services vanish with
// their last holder. A service with secrets that still runs is ErrStillRunning.
func (e *Engine) Withdraw(ctx context.Context, p *Project) error {
	if err := e.delivering.lock(ctx); err != nil {
		return fmt.Errorf("wait for a delivery to end: %w", err)
	}
	defer e.delivering.unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	seen, err := e.Containers(ctx, p)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if len(p.Services[name].Files) > 0 && seen[name].Running {
			return hint.Wrap(fmt.Errorf("service %s: %w", name, ErrStillRunning), "stop it first")
		}
	}
	e.forget(p.Name)
	if keeper, there := seen[KeeperService]; there {
		err := e.docker.ContainerRemove(ctx, keeper.ID, container.RemoveOptions{Force: true})
		if err = wrapContainer(err, "remove container %s", keeper.Name); err != nil && !errors.Is(err, ErrNoContainer) {
			return err
		}
	}
	volume := p.rewritten.Volumes[recordVolume].Name
	return wrap(e.docker.VolumeRemove(ctx, volume, true), "remove volume %s", volume)
}
