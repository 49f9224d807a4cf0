// Package awake keeps the system from sleeping while the daemon runs, through macOS's program caffeinate.
//
// It owns one child process. It guarantees that the child ends with this process, whatever ends that (-w), and that a
// child that keeps ending is started again ever more slowly. It keeps the system awake on mains power alone (-s), never the
// display, and never changes a setting of the machine.
package awake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"minibot/hint"
)

// program is where macOS has caffeinate. Tests of the daemon link a stand-in in.
var program = "/usr/bin/caffeinate"

const (
	pauseFirst = time.Second      // after the first end; it doubles
	pauseMost  = 10 * time.Minute // between two starts at most
	steady     = time.Minute      // a child that lasted as long was well: the next end is a first one again
)

// Keeper holds the system awake. Its fields are fixed once it serves.
type Keeper struct {
	Program string // the absolute path of caffeinate; "" is macOS's own
	PID     int    // the process with which it ends
	Log     *slog.Logger

	// run starts the program and returns when it has ended, or ctx has and it is gone; nil: really.
	run func(ctx context.Context) error
}

// Serve holds the system awake until ctx ends, and returns when the child has ended too. It warns once of a program that
// is missing, and then returns; of one that ends by itself it warns once until it has lasted for a minute.
func (k *Keeper) Serve(ctx context.Context) {
	run := k.run
	if run == nil {
		run = k.execute
	}
	pause := pauseFirst
	for {
		began := time.Now()
		err := run(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			err = hint.Wrap(err, "set keep_awake = false in config.toml")
			k.Log.Warn("the system may go to sleep: there is no caffeinate", "err", err, "hint", hint.Of(err))
			return
		}
		if time.Since(began) >= steady {
			pause = pauseFirst
		}
		if pause == pauseFirst {
			k.Log.Warn("caffeinate ended; it is started again", "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, pauseMost)
	}
}

// execute has a process group of its own for the child, so that a signal to the daemon's is not one to it.
func (k *Keeper) execute(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, cmp.Or(k.Program, program), "-s", "-w", strconv.Itoa(k.PID)) //nolint:gosec // a constant outside of tests
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run caffeinate: %w", err)
	}
	return nil
}
