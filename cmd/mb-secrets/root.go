package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/process"
	"minibot/secrets"
	"minibot/secrets/stores"
)

const exitCodes = `Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 rolled back, 5 recovery pending, 6 minibotd unreachable,
7 store missing, locked, denied or unavailable, 130 interrupted.`

// hardened carries out one command line in this process alone, where no other one can look on, and returns the exit code.
func hardened(ctx context.Context, args []string, io *console.IO) int {
	return (&app{io: io, patience: daemonPatience, choose: stores.Choose}).hardened(ctx, args)
}

func (a *app) hardened(ctx context.Context, args []string) int {
	release, err := process.HardenUntilExec()
	if err != nil {
		a.io.Error(err)
		return control.ExitCode(err)
	}
	a.release = release
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.io.Error(err)
	var status *exitStatus
	if errors.As(err, &status) {
		return status.code
	}
	return control.ExitCode(err)
}

// exitStatus is an error with an exit code of its own: 126 and 127 of exec.
type exitStatus struct {
	error
	code int
}

func (e *exitStatus) Unwrap() error { return e.error }

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "mb-secrets",
		Short: "Keep the secrets of a minibot installation",
		Long: "mb-secrets keeps the secrets of a minibot installation. Values come in through a hidden prompt or stdin, never\n" +
			"through the command line. While minibotd runs, a changed secret is brought into force at once; otherwise\n" +
			"at its next start.\n\n" + exitCodes,
		Example: "  mb-secrets init\n  mb-secrets set ANTHROPIC_API_KEY\n  mb-secrets list",
	}
	commandline.Root(root, a.io, &a.homeFlag)
	root.AddCommand(a.initCommand(), a.setCommand(), a.getCommand(), a.listCommand(), a.deleteCommand(),
		a.generateCommand(), a.rotateCommand(), a.rollbackCommand(), a.historyCommand(), a.execCommand(), a.importCommand(), a.migrateCommand(), a.rekeyCommand())
	return root
}

// parseName is secrets.ParseName without the text at fault, which may be a value given by mistake.
func parseName(arg string) (secrets.Name, error) {
	name, err := secrets.ParseName(arg)
	if err != nil {
		err = fmt.Errorf("%w: want a capital letter, then up to 63 of A-Z, 0-9 and _", secrets.ErrInvalidName)
		return "", hint.Wrap(err, "a name looks like POSTGRES_PASSWORD; mb-secrets list shows those in use")
	}
	return name, nil
}

// completeNames offers the names of secrets, quickly or not at all.
func (a *app) completeNames(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeMore(cmd, args, prefix)
}

// completeMore is completeNames for a command that takes several: it leaves out those that are given.
func (a *app) completeMore(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	a.quiet, a.patience = true, time.Second
	list, err := a.list(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range list {
		if strings.HasPrefix(s.Name, prefix) && !slices.Contains(args, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
