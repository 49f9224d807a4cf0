package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

func (a *app) setCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME [-]",
		Short: "Set a secret from a hidden prompt or stdin",
		Long: "set stores a secret. On a terminal it asks twice, without showing what is typed; otherwise, or with -, it reads\n" +
			"stdin to its end and cuts one line end. A running minibotd brings the value into force at once.",
		Example:     "  mb-secrets set TELEGRAM_BOT_TOKEN\n  pass show telegram | mb-secrets set TELEGRAM_BOT_TOKEN",
		Annotations: commandline.TakesValue,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && args[1] != "-" || len(args) > 2 || len(args) > 0 && strings.Contains(args[0], "=") {
				err := commandline.Usage("a value on the command line is refused: it would show in ps and stay in the shell's history")
				return hint.Wrap(err, "mb-secrets set NAME asks for it; change a value that was typed there")
			}
			return commandline.Arguments(1, 2, "a NAME, and - for stdin")(cmd, args)
		},
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseName(args[0])
			if err != nil {
				return err
			}
			return interrupted(a.set(cmd.Context(), name, len(args) == 2), "nothing changed")
		},
	}
	a.noWaitFlag(cmd)
	return cmd
}

// noWaitFlag gives cmd the flag --no-wait.
func (a *app) noWaitFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.noWait, "no-wait", false, "fail at once, with exit code 1, while another change is under way")
}

func (a *app) set(ctx context.Context, name secrets.Name, stdin bool) error {
	list, err := a.list(ctx) // first, so that nobody types a value that cannot be stored
	if err != nil {
		return err
	}
	var value secrets.Value
	if stdin || !console.IsTerminal(a.io.In) {
		value, err = a.readValue(ctx, name)
	} else {
		value, err = a.promptValue(ctx, name)
	}
	if err != nil {
		return err
	}
	a.advise(list, name, value)
	if err := a.refuseCompromised(ctx, name, value); err != nil {
		return err
	}
	same, err := a.same(ctx, list, name, value)
	if err != nil {
		return err
	}
	if same {
		return a.io.Print("%s has this value already; nothing changes", name)
	}
	return a.change(ctx, control.Change{Name: name, Value: value.Reveal()})
}

// same reports whether value is in force already and nothing else waits.
func (a *app) same(ctx context.Context, list []control.Secret, name secrets.Name, value secrets.Value) (bool, error) {
	if s, ok := find(list, name); !ok || !s.Set || s.State == "pending" {
		return false, nil
	}
	backend, _, err := a.backend(ctx)
	if err != nil {
		return false, err
	}
	current, err := backend.Reveal(ctx, name)
	if errors.Is(err, secrets.ErrNotFound) || errors.Is(err, control.ErrTooMany) || errors.Is(err, control.ErrUnrecorded) {
		return false, nil // it need not be known
	}
	return err == nil && current.Equal(value), err
}

// change stores one change and shows how it comes into force, if a daemon is there to do so.
func (a *app) change(ctx context.Context, change control.Change) error {
	defer clear(change.Value)
	backend, daemon, err := a.backend(ctx)
	if err != nil {
		return err
	}
	locked := a.lockedDown() != nil
	err = backend.Change(ctx, control.ChangeOrder{Changes: []control.Change{change}, Order: a.order()}, a.reporter(daemon && !locked))
	if err != nil {
		return detached(ctx, daemon, err)
	}
	if daemon && !locked {
		return a.io.Print("%s is set and in force", change.Name)
	}
	return nil
}

// reporter shows what a backend reports: a daemon's steps as they come, otherwise results.
func (a *app) reporter(daemon bool) func(control.Progress) {
	if !daemon {
		return func(p control.Progress) { _ = a.io.Print("%s", console.Escape(p.Message)) } // a closed stdout changes nothing
	}
	a.io.StartClock()
	return func(p control.Progress) {
		switch text := p.Message; {
		case p.Step != "":
			if p.Secret != "" {
				text = strings.TrimSpace(p.Secret + "  " + text)
			}
			a.io.Step(p.Step, p.Service, text)
		case text != "":
			a.io.Progress(p.Service, text)
		}
	}
}

// detached says what ^C leaves to a daemon that is at work on a change; other errors pass.
func detached(ctx context.Context, daemon bool, err error) error {
	if daemon && ctx.Err() != nil {
		return hint.Wrap(interrupted(err, "minibotd goes on with the change"),
			"minibotd status shows how far it is, mb-secrets history what became of it")
	}
	return err
}

func (a *app) generateCommand() *cobra.Command {
	var length int
	var yes bool
	cmd := &cobra.Command{
		Use:   "generate NAME",
		Short: "Set a secret to a new random value",
		Long: "generate stores a random value of A-Z, a-z and 0-9, in the length that the compose file says. It never shows it;\n" +
			"mb-secrets get does. A value that is set already is replaced only after a yes.",
		Example:           "  mb-secrets generate REDIS_PASSWORD\n  mb-secrets generate REDIS_PASSWORD --length 48 --yes",
		Annotations:       commandline.TakesValue,
		Args:              commandline.Arguments(1, 1, "one NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseName(args[0])
			if err != nil {
				return err
			}
			var recipe *secrets.Recipe
			if cmd.Flags().Changed("length") {
				recipe = &secrets.Recipe{Length: length}
			}
			return interrupted(a.generate(cmd.Context(), name, recipe, yes), "nothing changed")
		},
	}
	cmd.Flags().IntVar(&length, "length", 0, "characters, at least 16")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "replace a value without asking")
	a.noWaitFlag(cmd)
	return cmd
}

func (a *app) generate(ctx context.Context, name secrets.Name, recipe *secrets.Recipe, yes bool) error {
	change := control.Change{Name: name, Generate: true}
	if recipe != nil {
		value, err := recipe.Generate()
		if err != nil {
			return commandline.Usage("--length: %v", err)
		}
		change = control.Change{Name: name, Value: value.Reveal()}
	}
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	s, _ := find(list, name)
	if recipe == nil && !s.Generate {
		return noRecipe(name)
	}
	if s.Set {
		if err := a.sure(ctx, yes, "%s is set already. Replace it by a new value?", name); err != nil {
			return err
		}
	}
	a.advise(list, name, secrets.Value{})
	return a.change(ctx, change)
}
