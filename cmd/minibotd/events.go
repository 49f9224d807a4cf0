package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/stack"
	"minibot/supervisor"
)

// eventKinds are the kinds of events, sorted: the daemon's own, the supervisor's, and the verbs of its actions.
var eventKinds = slices.Sorted(slices.Values([]string{
	"age", "engine", "error", "lines", "phase", "progress", "request", "secret", "volume",
	string(supervisor.EventHeal), string(supervisor.EventDone), string(supervisor.EventFailed), string(supervisor.EventHealthy),
	string(supervisor.EventUnhealthy), string(supervisor.EventExit), string(supervisor.EventMissing), string(supervisor.EventDegraded),
	string(supervisor.EventRecovered), string(supervisor.EventUnreachable), string(supervisor.EventReconnected), string(supervisor.EventWoke),
	string(supervisor.EventClock), string(supervisor.EventGaveUp), string(supervisor.EventMaintenance), string(supervisor.EventFlapping),
	supervisor.ActionCreate.String(), supervisor.ActionFeed.String(), supervisor.ActionWithdraw.String(), supervisor.ActionStart.String(),
	supervisor.ActionRestart.String(), supervisor.ActionStop.String(), supervisor.ActionAdopt.String(), supervisor.ActionRecreate.String(),
	supervisor.ActionKill.String(), supervisor.ActionConnect.String(),
}))

// Events yields the kept events.
func (d *daemon) Events(ctx context.Context, q control.EventQuery, yield func(control.Event) error) error {
	var services []string
	d.mu.Lock()
	if d.project != nil {
		services = slices.Collect(maps.Keys(d.project.Services))
	}
	d.mu.Unlock()
	if err := q.CheckNames(ctx, services, eventKinds, d.events.Read); err != nil {
		return err
	}
	return d.events.Read(ctx, q, yield)
}

// eventOptions is what the command events is asked with.
type eventOptions struct {
	follow, asJSON              bool
	since, until, service, kind string
}

func (c *commands) eventsCommand() *cobra.Command {
	var o eventOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened",
		Long: "events shows what the daemon noticed and did, oldest first: phases, healing, requests, secrets. Never a value. Events are\n" +
			"kept for 90 days. A time is an age (30m, 2h, 2d, 1w) or a moment (2026-01-31, \"2026-01-31 14:30\", 2026-01-31T14:30:00Z).\n\n" +
			"Without the daemon it reads the files that the daemon left. Where nothing matches, stderr says so and the exit code is 0.",
		Example: "  minibotd events --since 2h --service postgres\n  minibotd events --since 1d --kind heal --json | jq -r .message\n  minibotd events -f",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.events(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.follow, "follow", "f", false, "go on with new events until interrupted")
	flags.BoolVar(&o.asJSON, "json", false, "one JSON object a line")
	flags.StringVar(&o.since, "since", "", "events from this time on")
	flags.StringVar(&o.until, "until", "", "events before this time")
	flags.StringVar(&o.service, "service", "", "events of one service")
	flags.StringVar(&o.kind, "kind", "", "events of one kind, such as heal, exit, degraded, phase, secret")
	for name, complete := range map[string]cobra.CompletionFunc{
		"service": c.services,
		"kind": func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return slices.DeleteFunc(slices.Clone(eventKinds), func(k string) bool { return !strings.HasPrefix(k, prefix) }), cobra.ShellCompDirectiveNoFileComp
		},
		"since": cobra.NoFileCompletions, "until": cobra.NoFileCompletions,
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return cmd
}

func (o eventOptions) query(now time.Time) (control.EventQuery, error) {
	q := control.EventQuery{Follow: o.follow, Service: o.service, Kind: o.kind}
	var err error
	if q.Since, err = timeOf("--since", o.since, now); err != nil {
		return q, err
	}
	if q.Until, err = timeOf("--until", o.until, now); err != nil {
		return q, err
	}
	switch {
	case o.follow && o.until != "":
		return q, commandline.Usage("--until does not go with --follow, which has no end")
	case o.until != "" && !q.Since.Before(q.Until):
		return q, commandline.Usage("--since is not before --until")
	}
	return q, nil
}

// timeOf reads a time of a flag: an age, or a moment, which without a zone is this machine's.
func timeOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if age, err := stack.ParseAge(text); err == nil {
		return now.Add(-age), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, hint.Wrap(commandline.Usage("%s: %q is no time", flag, text), `an age such as 2h, 2d or 1w, or a moment such as 2026-01-31 or "2026-01-31 14:30"`)
}

// events shows events: the daemon's, or where none answers those that it left in its files.
func (c *commands) events(ctx context.Context, o eventOptions) error {
	q, err := o.query(time.Now())
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	shown := 0
	show := func(e control.Event) error {
		shown++
		if o.asJSON {
			return c.io.JSONLine(e)
		}
		return showEvent(c.io, e)
	}
	err = client.Events(ctx, q, show)
	if errors.Is(err, control.ErrUnreachable) && shown == 0 && !o.follow {
		err = c.keptEvents(ctx, q, err, show)
	}
	if err == nil && shown == 0 {
		c.io.Say("no event matches")
	}
	return err
}

// keptEvents shows what is in the files. unreachable is why the daemon was not asked; it is returned where there are none.
func (c *commands) keptEvents(ctx context.Context, q control.EventQuery, unreachable error, show func(control.Event) error) error {
	paths, err := c.paths()
	if err != nil {
		return err
	}
	read := func(ctx context.Context, q control.EventQuery, yield func(control.Event) error) error {
		return control.ReadEvents(ctx, paths.Events, q, yield)
	}
	switch err := q.CheckNames(ctx, nil, eventKinds, read); {
	case errors.Is(err, fs.ErrNotExist):
		return unreachable
	case err != nil:
		return err
	}
	c.io.Say("minibotd does not answer; these are the events that it kept")
	if err := read(ctx, q, show); errors.Is(err, fs.ErrNotExist) {
		return unreachable
	} else if err != nil {
		return err
	}
	return nil
}

func showEvent(io *console.IO, e control.Event) error {
	subject := strings.Join(slices.DeleteFunc([]string{e.Service, e.Secret}, func(s string) bool { return s == "" }), " ")
	return io.Print("%s  %-11s %-12s %s", e.Time.Local().Format(time.DateTime), console.Escape(e.Kind), console.Escape(subject),
		console.Escape(e.Message))
}
