package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
)

func (a *app) importCommand() *cobra.Command {
	var yes, remove bool
	cmd := &cobra.Command{
		Use:   "import FILE [NAME]...",
		Short: "Take secrets from a .env file",
		Long: "import takes the secrets that the compose file requires, or those that are named, from a .env file, read by compose's\n" +
			"rules of quoting. It shows what it would take and asks; then it offers to overwrite and remove the file. Nothing is\n" +
			"taken unless everything can be. Overwriting cannot reach copies: backups, snapshots, and what an SSD or a\n" +
			"copy-on-write file system keeps of the old blocks.",
		Example:     "  mb-secrets import .env\n  mb-secrets import .env ANTHROPIC_API_KEY --yes --remove",
		Annotations: commandline.TakesValue,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-" {
				return hint.Wrap(commandline.Usage("import takes a FILE, and which NAMEs of it"), "mb-secrets init - reads NAME=VALUE lines from stdin")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []secrets.Name
			for _, arg := range args[1:] {
				name, err := parseName(arg)
				if err != nil {
					return err
				}
				names = append(names, name)
			}
			return interrupted(a.importFile(cmd.Context(), args[0], names, yes, remove), "what was taken stays")
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "take them without asking")
	cmd.Flags().BoolVar(&remove, "remove", false, "overwrite and remove the file afterwards, without asking")
	return cmd
}

// found is one variable of the file and what becomes of it.
type found struct {
	stack.EnvVariable
	name   secrets.Name // "" when it is not chosen
	action string
	take   bool
}

func (a *app) importFile(ctx context.Context, path string, names []secrets.Name, yes, remove bool) error {
	text, err := readEnvFile(path)
	if err != nil {
		return err
	}
	variables, err := stack.ParseEnvFile(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	all, err := a.decide(ctx, path, variables, list, names)
	if err != nil {
		return err
	}
	if err := a.showFound(all); err != nil {
		return err
	}
	if err := a.take(ctx, list, all, yes); err != nil {
		return err
	}
	return a.offerRemoval(ctx, path, text, all, remove)
}

// decide says what to take: what is named, or else what is required. A chosen variable that cannot be taken is an
// error; every such fault is in it.
func (a *app) decide(ctx context.Context, path string, variables []stack.EnvVariable, list []control.Secret, names []secrets.Name) ([]found, error) {
	var all []found
	var faults []error
	for _, name := range names {
		if !slices.ContainsFunc(variables, func(v stack.EnvVariable) bool { return v.Name == string(name) }) {
			faults = append(faults, fmt.Errorf("%s: %w in %s", name, secrets.ErrNotFound, path))
		}
	}
	for _, v := range variables {
		f := found{EnvVariable: v, action: "left: not required"}
		s, known := find(list, secrets.Name(v.Name))
		chosen := slices.Contains(names, secrets.Name(v.Name)) || len(names) == 0 && known && s.State != "unused"
		switch {
		case !chosen && len(names) > 0:
			f.action = "left: not named"
		case !chosen:
		case v.Fault != nil:
			faults = append(faults, fmt.Errorf("%s: %s: %w", path, v.Name, v.Fault))
		case v.Value.IsZero():
			f.action = "left: empty"
		default:
			f.name, f.take, f.action = secrets.Name(v.Name), true, "new"
			if s.Set {
				f.action = "replaces the stored value"
			}
			same, err := a.same(ctx, list, f.name, v.Value)
			if err != nil {
				return nil, err
			}
			if same {
				f.take, f.action = false, "stored already"
			}
		}
		all = append(all, f)
	}
	return all, errors.Join(faults...)
}

func (a *app) showFound(all []found) error {
	rows := make([][]string, 0, len(all))
	for _, f := range all {
		rows = append(rows, []string{f.Name, f.action})
	}
	return a.io.Table([]string{"NAME", "ACTION"}, rows)
}

// take stores what was chosen, in one change.
func (a *app) take(ctx context.Context, list []control.Secret, all []found, yes bool) error {
	var lines []assignment
	for _, f := range all {
		if f.take {
			lines = append(lines, assignment{f.name, f.Value})
		}
	}
	if len(lines) == 0 {
		return a.io.Print("nothing to take")
	}
	if err := a.sure(ctx, yes, "Take %d of them?", len(lines)); err != nil {
		return err
	}
	return a.store(ctx, list, lines)
}

// offerRemoval overwrites and removes the file where that is wanted and every chosen value is certain to be stored.
func (a *app) offerRemoval(ctx context.Context, path string, text []byte, all []found, remove bool) error {
	var left []string
	stored := 0
	for _, f := range all {
		if f.name == "" {
			left = append(left, f.Name)
		} else {
			stored++
		}
	}
	if stored == 0 {
		return nil
	}
	if !remove {
		if !a.io.Interactive() {
			a.io.Say("%s still holds the values in plain text; mb-secrets import with --remove overwrites and removes it", console.Escape(path))
			return nil
		}
		question := fmt.Sprintf("Overwrite and remove %s?", path)
		if len(left) > 0 {
			question = fmt.Sprintf("Overwrite and remove %s, with %s in it, which was not taken?", path, strings.Join(left, ", "))
		}
		answer, err := a.io.Confirm(ctx, console.Escape(question), false)
		if err != nil || !answer {
			return err
		}
	}
	if err := a.certain(ctx, all); err != nil {
		return hint.Wrap(err, "%s stays as it is", path)
	}
	if err := overwriteAndRemove(path, text); err != nil {
		return err
	}
	return a.io.Print("%s is overwritten and removed", console.Escape(path))
}

// certain makes sure that every chosen value is in force or waits to be.
func (a *app) certain(ctx context.Context, all []found) error {
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	backend, _, err := a.backend(ctx)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.name == "" {
			continue
		}
		if s, _ := find(list, f.name); s.State == "pending" {
			continue
		}
		value, err := backend.Reveal(ctx, f.name)
		if err != nil {
			return err
		}
		if !value.Equal(f.Value) {
			return fmt.Errorf("%s holds another value than the file", f.name)
		}
	}
	return nil
}
