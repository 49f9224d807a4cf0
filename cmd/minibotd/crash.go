package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/process"
)

const (
	filterCommand = "crash-filter"
	// overdue is how long the daemon may take to end once a part of it has failed. What failed may hold what others wait for.
	overdue = 30 * time.Second
)

// crashFilterCommand is what the daemon starts beside itself.
func (c *commands) crashFilterCommand() *cobra.Command {
	return &cobra.Command{
		Use:     filterCommand,
		Short:   "Report how the daemon that started this crashed",
		Long:    filterCommand + " is started by minibotd run, for itself: see docs/security.md.",
		Example: "  minibotd run",
		Args:    commandline.Arguments(0, 0, "no argument"),
		Hidden:  true,
		RunE: func(*cobra.Command, []string) error {
			if err := process.Harden(); err != nil {
				return err
			}
			debug.FreeOSMemory() // what the packages of the daemon made at their start, and nobody uses here
			return process.ReportCrash(c.io.In, os.NewFile(3, "gone"), c.io.Err)
		},
	}
}

// divert has what the runtime writes at a crash lead through a process of its own. It returns what stderr was, and a
// channel that is closed when that process has ended too early. Where it cannot be, stderr says so.
func divert() (stderr *os.File, lost <-chan struct{}) {
	path, err := os.Executable()
	if err == nil {
		filter := exec.Command(path, filterCommand)    //nolint:noctx // it outlives the daemon by a moment, and no context does
		filter.Env = []string{"TZ=" + os.Getenv("TZ")} // nothing that anybody could change it by
		var diversion *process.Diversion
		if diversion, err = process.Divert(filter); err == nil {
			return diversion.Stderr, diversion.Lost
		}
		if diversion != nil {
			stderr = diversion.Stderr
		}
	}
	if stderr == nil {
		stderr = os.Stderr
	}
	slog.New(slog.NewTextHandler(stderr, nil)).Warn("a crash will not be reported", keyError, err)
	return stderr, nil
}

// watchFilter warns when the filter of crashes ends before ctx.
func watchFilter(ctx context.Context, lost <-chan struct{}, log *slog.Logger) {
	select {
	case <-ctx.Done():
	case <-lost:
		log.Warn("the filter of crashes has ended: a crash will not be reported")
	}
}

// endInTime makes sure that the daemon ends once a part of it has failed, which ends serving, unless running, of the
// daemon as a whole, ended first.
func endInTime(running, serving context.Context, log *slog.Logger) {
	context.AfterFunc(serving, func() {
		if running.Err() != nil {
			return
		}
		time.AfterFunc(overdue, func() {
			log.Error("minibotd cannot end in an orderly way", keyError, context.Cause(serving))
			panic("overdue") // the report shows what hangs
		})
	})
}
