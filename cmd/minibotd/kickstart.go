package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/control"
	"minibot/hint"
	installer "minibot/install" // the tests have an install of their own
	"minibot/launchd"
	"minibot/launchd/systemd"
)

// kickstartPatience is how long kickstart --wait waits for a healthy stack: a gateway takes up to a minute, after others.
const kickstartPatience = 5 * time.Minute

func (c *commands) kickstartCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "kickstart",
		Short: "End minibotd and have launchd or systemd start it anew",
		Long: "kickstart ends minibotd, whatever it is doing, has launchd or systemd start it anew, and waits until the new one\n" +
			"answers. It takes up where the old one was; containers are not touched where nothing changed. On a Mac it is\n" +
			"launchctl kickstart -k gui/$UID/com.minibot.",
		Example: "  minibotd kickstart\n  minibotd kickstart --wait",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.kickstart(cmd.Context(), wait) },
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the stack is healthy, 5 minutes at most")
	return cmd
}

func (c *commands) kickstart(ctx context.Context, wait bool) error {
	paths, err := c.paths()
	if err != nil {
		return err
	}
	m, err := installer.Choose(ctx, paths, installer.AnyProgram)
	if errors.Is(err, installer.ErrNoManager) {
		return unmanaged(paths, err)
	}
	if err != nil {
		return err
	}
	state, err := m.State(ctx)
	if err != nil {
		return err
	}
	if !state.Loaded {
		return notLoaded(m, state)
	}
	if err := installer.ByHand(ctx, paths, m); err != nil { // the manager's could not start beside it
		return err
	}
	c.io.StartClock()
	if err := m.Kickstart(ctx); err != nil {
		return err
	}
	report := func(message string) { c.io.Progress("", message) }
	awaited := installer.Awaited{Manager: m, Paths: paths, Not: state.PID, Status: (&control.Client{Socket: paths.Socket}).Status}
	status, err := installer.Await(ctx, awaited, report)
	if err == nil && wait {
		awaited.Until = func(s control.Status) bool { return s.Phase == control.PhaseHealthy }
		awaited.Patience = kickstartPatience
		status, err = installer.Await(ctx, awaited, report)
	}
	if err != nil {
		return err
	}
	return c.io.Print("minibotd %s runs (pid %d): %s", status.Version, status.PID, status.Phase)
}

// unmanaged says how to do by hand what no manager does.
func unmanaged(paths config.Paths, none error) error {
	pid, err := control.DaemonPID(paths.DaemonLock)
	if err != nil || pid == 0 {
		return errors.Join(none, err)
	}
	byHand := fmt.Errorf("%w (pid %d)", installer.ErrByHand, pid)
	return hint.Wrap(byHand, "`kill %d` ends it and leaves the stack up; then %s", pid, hint.Of(none))
}

// notLoaded says why the manager cannot start minibotd, and what can.
func notLoaded(m installer.Manager, state launchd.State) error {
	installed, err := isInstalled(m)
	switch {
	case err != nil:
		return err
	case !installed:
		return hint.Wrap(installer.ErrNotInstalled, "run `minibotd install`; to start it by hand: `minibotd run`")
	case !state.Session && m.Name() == "launchd":
		return hint.Wrap(launchd.ErrNoSession, "log in at the Mac's desktop, also over Screen Sharing: minibotd starts by itself then; until then: `minibotd run`")
	case !state.Session:
		return hint.Wrap(systemd.ErrNoManager, "log in as this user itself, not through su or sudo; until then: `minibotd run`")
	}
	return hint.Wrap(errors.New("minibotd is installed and not loaded"), "run `minibotd install`, which loads it")
}
