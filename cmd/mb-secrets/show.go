package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/plan"
	"minibot/secrets"
)

func (a *app) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get NAME",
		Short:             "Print a secret's value",
		Long:              "get prints the current value to stdout, followed by a line end only on a terminal.",
		Example:           "  mb-secrets get OPENCLAW_GATEWAY_TOKEN | pbcopy",
		Args:              commandline.Arguments(1, 1, "one NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseName(args[0])
			if err != nil {
				return err
			}
			value, err := a.reveal(cmd.Context(), name)
			if err != nil {
				return err
			}
			plain := value.Reveal()
			defer func() { clear(plain) }()
			if console.IsTerminal(a.io.Out) {
				plain = append(plain, '\n')
			}
			if _, err := a.io.Out.Write(plain); err != nil {
				return fmt.Errorf("write %s to stdout: %w", name, err)
			}
			return nil
		},
	}
}

// reveal asks the backend for one value, and says how to set one that is missing.
func (a *app) reveal(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	backend, _, err := a.backend(ctx)
	if err != nil {
		return secrets.Value{}, err
	}
	value, err := backend.Reveal(ctx, name)
	if errors.Is(err, secrets.ErrNotFound) {
		return secrets.Value{}, hint.Wrap(fmt.Errorf("%s is not set: %w", name, secrets.ErrNotFound), "mb-secrets set %s", name)
	}
	return value, err
}

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List secrets: set or not, age, users, state; never a value",
		Long: "list shows every secret that is stored and every one that the compose file requires. States: current (in force),\n" +
			"pending (a change waits), missing (required, not set), unused (stored, not required). DUE is when the value in force\n" +
			"reaches the max_age of the compose file; seven days later it is overdue. A change that was rolled back is named below,\n" +
			"until the next one.",
		Example: "  mb-secrets list\n  mb-secrets list --json",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.list(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.io.JSON(list)
			}
			return a.showList(list, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) showList(list []control.Secret, now time.Time) error {
	rows := make([][]string, 0, len(list))
	for _, s := range list {
		set, age, used := "no", "-", "unused"
		if s.Set {
			set = "yes"
		}
		if s.Changed != nil {
			age = console.Age(now.Sub(*s.Changed))
		}
		if len(s.UsedBy) > 0 {
			used = strings.Join(s.UsedBy, ", ")
		}
		rows = append(rows, []string{s.Name, set, age, plan.Due(s, now), used, s.State})
	}
	if err := a.io.Table([]string{"NAME", "SET", "AGE", "DUE", "USED BY", "STATE"}, rows); err != nil {
		return err
	}
	for _, s := range list {
		if s.Failed == "" {
			continue
		}
		if err := a.io.Print("%s: the last change was rolled back: %s", s.Name, console.Escape(s.Failed)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) deleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a secret from the store",
		Long:              "delete takes a secret out of the store, with a change of it that waits and the value before it. It asks first.",
		Example:           "  mb-secrets delete OLD_API_KEY\n  mb-secrets delete OLD_API_KEY --yes",
		Args:              commandline.Arguments(1, 1, "one NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseName(args[0])
			if err != nil {
				return err
			}
			return interrupted(a.remove(cmd.Context(), name, yes), "nothing changed")
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) remove(ctx context.Context, name secrets.Name, yes bool) error {
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	s, ok := find(list, name)
	if !ok || !s.Set && s.State != "pending" {
		return hint.Wrap(fmt.Errorf("%s is not set: %w", name, secrets.ErrNotFound), "mb-secrets list shows what is")
	}
	if len(s.UsedBy) > 0 {
		a.io.Warn("%s is used by %s, which cannot start without it", name, strings.Join(s.UsedBy, ", "))
	}
	if err := a.sure(ctx, yes, "Delete %s?", name); err != nil {
		return err
	}
	backend, _, err := a.backend(ctx)
	if err != nil {
		return err
	}
	if err := backend.Delete(ctx, name); err != nil {
		return err
	}
	return a.io.Print("%s is deleted", name)
}

// sure asks unless yes is given; where nobody can be asked, yes is required. A no is an error.
func (a *app) sure(ctx context.Context, yes bool, question string, args ...any) error {
	if yes {
		return nil
	}
	if !a.io.Interactive() {
		return hint.Wrap(commandline.Usage("there is no terminal to ask on"), "--yes does it without asking")
	}
	answer, err := a.io.Confirm(ctx, fmt.Sprintf(question, args...), false)
	if err == nil && !answer {
		err = errors.New("not confirmed: nothing changed")
	}
	return err
}
