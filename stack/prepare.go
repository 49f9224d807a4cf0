package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

const (
	preparedTimeout = 2 * callTimeout // a Prepared that nobody ends is aborted
	abortTimeout    = 5 * time.Second // for the keeper's program to tidy up
	exitGaveUp      = 1               // see package keeper
	exitNotRun      = 126             // and above: of the engine's
)

// ErrPreparedEnded means that a prepared delivery was aborted, by Abort or because its context or its time had ended.
var ErrPreparedEnded = errors.New("the prepared delivery has ended")

// order is one service's delivery under way.
type order struct {
	service string
	files   []File
	record  record // open
}

// Prepared is a delivery that is done up to the renames: the new files lie in the stage, and the keeper's program is up
// and waits for one byte. Until Commit the old files and their records stand: nobody is stale, and when this process
// is killed, the keeper's program takes the new ones away again and nothing was ever different. No other delivery
// begins before Commit or Abort; one of them must be called.
type Prepared struct {
	engine   *Engine
	project  *Project
	keeper   Container
	delivery Delivery
	orders   []order
	program  *Session // the keeper's; nil while there is nothing to rename
	claimed  atomic.Bool
	cancel   context.CancelFunc
}

// Prepare does everything of a [Engine.Feed] up to the renames. It waits for another delivery to end. The result is
// aborted when ctx ends, and after a minute at the latest. After an error everything is as it was.
func (e *Engine) Prepare(ctx context.Context, p *Project, values map[secrets.Name]secrets.Value) (*Prepared, error) {
	if err := e.delivering.lock(ctx); err != nil {
		return nil, fmt.Errorf("wait for another delivery: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, preparedTimeout)
	d := &Prepared{engine: e, project: p, cancel: cancel}
	if err := d.prepare(ctx, values); err != nil {
		d.Abort()
		return nil, err
	}
	context.AfterFunc(ctx, d.Abort)
	return d, nil
}

// Commit renames the files, within milliseconds, and then closes the records as Feed does. When it fails, some or all
// of them may have been renamed; the records say so, and the next Feed mends it. ctx bounds the call; when it has ended
// before, nothing is renamed.
func (d *Prepared) Commit(ctx context.Context) (Delivery, error) {
	if ctx.Err() != nil {
		d.Abort()
		return Delivery{}, fmt.Errorf("deliver: %w", ctx.Err())
	}
	if !d.claimed.CompareAndSwap(false, true) {
		return Delivery{}, fmt.Errorf("deliver: %w", ErrPreparedEnded)
	}
	defer d.end()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := d.commit(ctx)
	d.engine.setFed(d.project, d.keeper, err == nil)
	if err != nil {
		return Delivery{}, err
	}
	return d.delivery, nil
}

// Abort takes the delivery back: nothing was renamed, nobody is stale. It does nothing after Commit or another Abort.
// It blocks until the keeper's program has ended, at most for seconds.
func (d *Prepared) Abort() {
	if !d.claimed.CompareAndSwap(false, true) {
		return
	}
	defer d.end()
	if !d.giveUp() {
		for _, o := range d.orders { // so that the next delivery looks for what is left in the stage
			d.engine.forgetRecord(d.project, o.service)
		}
	}
}

// giveUp lets the keeper's program take the staged files away, and reports whether it is known that it did.
func (d *Prepared) giveUp() bool {
	if d.program == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	_ = d.program.CloseWrite() // of no consequence: the program gives up at the end of its input, whatever brings that about
	result, err := d.program.wait(ctx)
	return err == nil && result.ExitCode == exitGaveUp
}

// end lets the next delivery begin.
func (d *Prepared) end() {
	if d.program != nil {
		_ = d.program.Close() // never fails
	}
	d.cancel()
	d.engine.delivering.unlock()
}

func (d *Prepared) prepare(ctx context.Context, values map[secrets.Name]secrets.Value) error {
	var err error
	if d.keeper, err = d.engine.runKeeper(ctx, d.project); err != nil {
		return err
	}
	if d.keeper.Image != d.engine.keeperRef {
		return hint.Wrap(fmt.Errorf("deliver: container %s has the program of another version of minibot", d.keeper.Name), "run `minibotd reload`")
	}
	d.delivery = Delivery{Keeper: d.keeper.Instance, Incomplete: map[string][]secrets.Name{}}
	names := slices.Sorted(maps.Keys(d.project.Services))
	fed := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return len(d.project.Services[name].Files) == 0 })
	if err := d.engine.tidy(ctx, d.project, d.keeper, fed); err != nil {
		return err
	}
	for _, name := range names {
		if missing := without(d.project.Services[name].Secrets, values); len(missing) > 0 {
			d.delivery.Incomplete[name] = missing
			continue
		}
		d.delivery.Complete = append(d.delivery.Complete, name)
		if err := d.order(ctx, name, values); err != nil {
			return err
		}
	}
	if len(d.orders) == 0 {
		return nil
	}
	return d.stage(ctx, values)
}

// order adds what a service lacks.
func (d *Prepared) order(ctx context.Context, service string, values map[secrets.Name]secrets.Value) error {
	files := d.project.Services[service].Files
	if len(files) == 0 {
		return nil
	}
	old, err := d.engine.recordOf(ctx, d.project, d.keeper, service)
	if err != nil || old.holds(files, values) {
		return err
	}
	r, err := newRecord(old, files, values)
	if err != nil {
		return err
	}
	r.keeper, r.tidied = d.keeper.Instance, true
	d.orders = append(d.orders, order{service: service, files: files, record: r})
	d.delivery.Changed = append(d.delivery.Changed, service)
	return nil
}

// stage copies the files and starts the program that will rename them.
func (d *Prepared) stage(ctx context.Context, values map[secrets.Name]secrets.Value) error {
	files := newBatch()
	defer files.wipe()
	for _, o := range d.orders {
		files.stage(o.service, o.record, o.files, values)
	}
	err := d.engine.send(ctx, d.keeper, files)
	if err == nil {
		d.program, err = d.engine.Stream(context.WithoutCancel(ctx), d.keeper.ID, append([]string{"/keeper"}, files.arguments()...), "")
	}
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	defer context.AfterFunc(ctx, func() { d.program.drop(ctx.Err()) })()
	if _, err := io.ReadFull(d.program, make([]byte, 1)); err == nil {
		return nil // it is up
	}
	return d.ended(ctx)
}

// commit says go. From then on the files may be the old or the new ones, until the records are closed.
func (d *Prepared) commit(ctx context.Context) error {
	if len(d.orders) == 0 {
		return nil
	}
	for _, o := range d.orders {
		d.engine.learn(place{d.project.Name, o.service}, o.record)
	}
	_, err := d.program.Write([]byte{'\n'})
	if ended := d.ended(ctx); ended != nil { // it tells more
		err = ended
	}
	if err == nil {
		err = d.engine.conclude(ctx, d.project, d.keeper, d.orders)
	}
	if err != nil { // what the volumes hold has to be read
		for _, o := range d.orders {
			d.engine.forgetRecord(d.project, o.service)
		}
	}
	return err
}

// ended waits for the program's end, and returns an error unless it is a good one.
func (d *Prepared) ended(ctx context.Context) error {
	result, err := d.program.Wait(ctx)
	if err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	if result.ExitCode != 0 {
		return programError("deliver", result, d.keeper)
	}
	return nil
}

// programError is what a bad end of the keeper's program means. Where the engine could not run it, as while containerd is away, it says why
// in place of the program's output.
func programError(doing string, result ExecResult, keeper Container) error {
	err := fmt.Errorf("%s: the keeper's program ended with %d", doing, result.ExitCode)
	if said := bytes.TrimSpace(result.Stdout); result.ExitCode >= exitNotRun && len(said) > 0 {
		err = fmt.Errorf("%s: the engine cannot run the keeper's program: %s", doing, hint.Cut(string(said), 500))
	}
	return hint.Wrap(err, "see `docker ps -a`: is container %s well?", keeper.Name)
}
