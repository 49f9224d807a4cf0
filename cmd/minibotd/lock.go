package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/control"
	"minibot/lockdown"
	"minibot/secrets"
)

func (c *commands) lockdownCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "lockdown",
		Short: "Kill every container at once and keep all down until unlock",
		Long: "lockdown is for the suspicion that the stack or a secret is compromised. It kills every container of the project at\n" +
			"once, takes the delivered secrets away, and keeps all down until unlock: over restarts of minibotd, of the engine and of\n" +
			"the machine too. It works without minibotd and with a broken compose file. Data stays.",
		Example: "  minibotd lockdown\n  minibotd lockdown --reason 'API key seen in a log'",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := control.CheckReason(reason); err != nil {
				return err
			}
			paths, err := c.place()
			if err != nil {
				return err
			}
			c.io.StartClock()
			if err := lockdown.Down(cmd.Context(), paths, reason, func(message string) { c.io.Progress("", message) }); err != nil {
				return err
			}
			return c.io.Print("locked down: nothing runs, and nothing starts until `minibotd unlock`\n" +
				"to replace the secrets first: `mb-secrets rotate --compromised`")
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "one line for status and the event log; never a secret")
	return cmd
}

func (c *commands) unlockCommand() *cobra.Command {
	var skip []string
	var all bool
	cmd := &cobra.Command{
		Use:   "unlock",
		Short: "End a lockdown and let the stack up again",
		Long: "unlock ends a lockdown. The databases start first; the others start once each database is sure to have the password\n" +
			"that is stored. It refuses while secrets that count as compromised are not replaced, unless they are skipped.",
		Example: "  minibotd unlock\n  minibotd unlock --skip TELEGRAM_BOT_TOKEN",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := parseNames(skip)
			if err != nil {
				return err
			}
			return c.unlock(cmd.Context(), names, all)
		},
	}
	cmd.Flags().StringSliceVar(&skip, "skip", nil, "let a compromised secret stay as it is; may be repeated")
	cmd.Flags().BoolVar(&all, "skip-all", false, "let all of them stay as they are")
	return cmd
}

func parseNames(texts []string) ([]secrets.Name, error) {
	var names []secrets.Name
	for _, text := range texts {
		name, err := secrets.ParseName(text)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// unlock asks the daemon, or does without it what can be done.
func (c *commands) unlock(ctx context.Context, skip []secrets.Name, all bool) error {
	paths, err := c.place()
	if err != nil {
		return err
	}
	file := lockdown.In(paths)
	c.io.StartClock()
	op := control.Operation{Verb: control.VerbUnlock, Names: skip, All: all}
	waits := file.Read() != nil
	err = (&control.Client{Socket: paths.Socket}).Operate(ctx, op, func(p control.Progress) { c.io.Progress(p.Service, p.Message) })
	switch {
	case err == nil && !waits:
		return c.io.Print("not locked down")
	case err == nil:
		return c.io.Print("unlocked: the stack may be up")
	case !errors.Is(err, control.ErrUnreachable):
		return err
	}
	err = control.WithLock(ctx, paths.DaemonLock, func() error { return file.Unlock(ctx, skip, all) })
	switch {
	case errors.Is(err, lockdown.ErrNone):
		return c.io.Print("not locked down")
	case errors.Is(err, control.ErrDaemonHolds):
		return fmt.Errorf("%w: it runs, but does not answer on %s", control.ErrUnreachable, paths.Socket)
	case err != nil:
		return err
	}
	return c.io.Print("unlocked: minibotd is not running, the stack comes up at its next start")
}

// place is the installation with the folders that a record needs. A configuration that cannot be read is no reason to fail.
func (c *commands) place() (config.Paths, error) {
	paths, err := c.paths()
	if err != nil {
		return paths, err
	}
	return paths, config.EnsureHome(paths)
}
