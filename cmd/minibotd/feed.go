package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"minibot/secrets"
	"minibot/stack"
)

// preparedFeed is a delivery that is ready. Until it is committed or aborted nothing else is delivered.
type preparedFeed struct {
	world    *world
	engine   engine
	prepared delivering
	project  *stack.Project
	values   map[secrets.Name]secrets.Value
	release  func()
}

// prepare makes the delivery of values ready. project is the one that holds once it is committed.
func (w *world) prepare(ctx context.Context, project *stack.Project, values map[secrets.Name]secrets.Value) (*preparedFeed, error) {
	if err := w.refused(); err != nil {
		return nil, err
	}
	engine, now, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.lockFeeding(ctx); err != nil {
		return nil, err
	}
	release := sync.OnceFunc(func() { <-w.feeding })
	prepared, err := engine.Prepare(ctx, project, values)
	if errors.Is(err, stack.ErrNoContainer) { // the keeper was taken away
		if err = w.create(ctx, engine, now, ""); err == nil {
			prepared, err = engine.Prepare(ctx, project, values)
		}
	}
	if err != nil {
		release()
		return nil, w.lost(engine, err)
	}
	return &preparedFeed{w, engine, prepared, project, values, release}, nil
}

func (w *world) lockFeeding(ctx context.Context) error {
	select {
	case w.feeding <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another delivery: %w", ctx.Err())
	}
}

// commit renames the files at once. What is wanted is what was delivered then.
func (p *preparedFeed) commit(ctx context.Context) error {
	defer p.release()
	delivery, err := p.prepared.Commit(ctx)
	if err != nil {
		return p.world.lost(p.engine, err)
	}
	for _, service := range delivery.Changed {
		p.world.onChange(service, "secrets delivered")
	}
	p.world.set(p.project, p.values)
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.world.fed = p.world.generation
	return nil
}

// abort leaves everything as it was.
func (p *preparedFeed) abort() {
	defer p.release()
	p.prepared.Abort()
}
