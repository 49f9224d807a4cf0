package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/notify"
	"minibot/secrets"
	"minibot/supervisor"
)

const (
	notifyTick   = 30 * time.Second // how often it is looked how the stack stands, when nothing changes
	troubleAfter = 2 * time.Minute  // an engine or a store that is not there for so long is a trouble
)

// newNotifier is who tells others, as config.toml has it.
func (d *daemon) newNotifier() *notify.Notifier {
	host, err := os.Hostname()
	if err != nil {
		d.log.Warn("the name of this machine is not known", keyError, err)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		user = "/"
	}
	return notify.New(notify.Options{Config: d.config.Notify, File: d.paths.Notify, Host: host, Home: d.paths.Home, User: user, Logger: d.log, Redact: d.redact,
		Secret: func(ctx context.Context, name secrets.Name) (secrets.Value, error) {
			item, err := d.store.Get(ctx, name, secrets.Current)
			return item.Value, err
		}})
}

// notify tells the notifier how the stack stands, until ctx ends.
func (d *daemon) notify(ctx context.Context) {
	if !d.notifier.Active() {
		return
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		d.notifier.Serve(ctx)
	}()
	defer func() { <-served }()
	for ctx.Err() == nil {
		last := d.picture(d.supervisor.Status())
		seen := last.Conditions
		d.notifier.See(numbered(last, d.events.Last()))
		pause, cancel := context.WithTimeout(ctx, notifyTick)
		_, err := d.supervisor.Wait(pause, func(s supervisor.Status) bool {
			now := d.picture(s)
			return now.Phase != last.Phase || !reflect.DeepEqual(now.Conditions, seen)
		})
		if errors.Is(err, supervisor.ErrEnded) {
			<-pause.Done()
		}
		cancel()
	}
}

// numbered gives each condition the number of the newest event.
func numbered(p notify.Picture, seq uint64) notify.Picture {
	conditions := make(map[string]notify.Condition, len(p.Conditions))
	for subject, c := range p.Conditions {
		c.Seq = seq
		conditions[subject] = c
	}
	p.Conditions = conditions
	return p
}

// picture is how the stack and each service stand, in the notifier's words.
func (d *daemon) picture(seen supervisor.Status) notify.Picture {
	d.mu.Lock()
	phase := d.standing(seen)
	reason, since, own := d.reason, d.shownAt, d.phase
	locked := d.lock.record
	d.mu.Unlock()
	p := notify.Picture{Phase: string(phase), Healthy: phase == control.PhaseHealthy, Whole: own == "" && len(seen.Services) > 0, Conditions: map[string]notify.Condition{}}
	known := phase != control.PhaseLockedDown && phase != control.PhaseWaitingForEngine
	if own == "" {
		for _, s := range seen.Services {
			c := notify.Condition{Kind: notify.Unknown}
			if known {
				c = conditionOf(s)
			}
			p.Conditions[s.Name] = c
		}
	}
	lasts := time.Since(since) >= troubleAfter
	stack := notify.Condition{Kind: notify.Unknown, Reason: seen.Reason, Hint: seen.Hint}
	if own != "" {
		stack.Reason, stack.Hint = errorText(reason), hint.Of(reason)
	}
	switch phase {
	case control.PhaseLockedDown:
		stack = notify.Condition{Kind: notify.LockedDown, Reason: locked.Why(), Hint: "minibotd unlock"}
	case control.PhaseWaitingForEngine:
		if lasts {
			stack.Kind = notify.EngineUnreachable
		}
	case control.PhaseWaitingForStore:
		if lasts {
			stack.Kind = notify.Degraded
		}
	case control.PhaseDegraded:
		if own != "" || !slices.ContainsFunc(seen.Services, ofAService) {
			stack.Kind = notify.Degraded
		}
	case control.PhaseHealthy, control.PhaseStopped:
		stack = notify.Condition{Kind: notify.Well}
	}
	p.Conditions[""] = stack
	return p
}

// ofAService tells that the phase is degraded for a service's sake, which is told by itself.
func ofAService(s supervisor.ServiceStatus) bool {
	return conditionOf(s).Kind == notify.Degraded || s.GaveUp
}

// conditionOf is how one service stands.
func conditionOf(s supervisor.ServiceStatus) notify.Condition {
	c := notify.Condition{Kind: notify.Unknown, Reason: s.Reason, Hint: s.Hint}
	switch {
	case s.GaveUp:
		c.Kind = notify.GaveUp
	case s.State == stateDegraded, s.Stuck && !s.Settled:
		c.Kind = notify.Degraded
	case s.Settled && s.Flapping:
		c.Kind = notify.Flapping
	case s.Settled:
		c = notify.Condition{Kind: notify.Well}
	}
	return c
}

// testNotify sends a message to each, and says what came of it.
func (d *daemon) testNotify(ctx context.Context, say saying) error {
	results := d.notifier.Test(ctx)
	if len(results) == 0 {
		return hint.Wrap(errors.New("nobody is told of anything: [notify] in config.toml names nobody, or did not when minibotd started"),
			"write it, then `minibotd kickstart`; docs/notify.md has examples")
	}
	var failed []string
	advice := ""
	for _, r := range results {
		if r.Err != nil {
			say("", r.Way+": failed")
			failed = append(failed, r.Err.Error())
			advice = cmp.Or(advice, hint.Of(r.Err))
			continue
		}
		say("", r.Way+": sent")
	}
	if len(failed) > 0 {
		return hint.Wrap(errors.New(strings.Join(failed, "; ")), "%s", cmp.Or(advice, "see docs/notify.md"))
	}
	return nil
}

// withNotify has the rows of secrets name those that hold a URL of config.toml.
func (d *daemon) withNotify(rows []control.Secret) []control.Secret {
	for _, url := range []string{d.config.Notify.Webhook, d.config.Notify.HeartbeatURL} {
		name := config.SecretOf(url)
		if name == "" {
			continue
		}
		i := slices.IndexFunc(rows, func(s control.Secret) bool { return s.Name == name })
		if i < 0 {
			rows = append(rows, control.Secret{Name: name, UsedBy: []string{}, State: "missing", Description: "a URL of [notify] in config.toml"})
			i = len(rows) - 1
		} else if rows[i].State == "unused" {
			rows[i].State = "current"
		}
		if !slices.Contains(rows[i].UsedBy, "minibotd") {
			rows[i].UsedBy = append(rows[i].UsedBy, "minibotd")
		}
	}
	slices.SortFunc(rows, func(a, b control.Secret) int { return cmp.Compare(a.Name, b.Name) })
	return rows
}

func (c *commands) notifyCommand() *cobra.Command {
	var test bool
	cmd := &cobra.Command{
		Use:   "notify --test",
		Short: "Try who is told of troubles",
		Long: fmt.Sprintf("notify --test has the daemon send one message to each that [notify] in config.toml names, and call the heartbeat, and says what\n"+
			"came of each; exit 1 for failures. The message has the event \"test\". What is told without it: %s.", strings.Join(config.NotifyKinds, ", ")),
		Example: "  minibotd notify --test",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !test {
				return hint.Wrap(commandline.Usage("notify wants --test"), "minibotd notify --test")
			}
			return c.order(cmd, control.Operation{Verb: control.VerbNotify})
		},
	}
	cmd.Flags().BoolVar(&test, "test", false, "send one message to each")
	return cmd
}
