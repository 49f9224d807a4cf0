package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

const exitCodes = `Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 6 minibotd unreachable, 7 store missing, locked or denied,
130 interrupted.`

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, io *console.IO) int {
	a := &app{io: io, patience: daemonPatience}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	err := root.ExecuteContext(ctx)
	io.Error(err)
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

// usageError is a mistake in the command line, and so exit code 2.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
func (*usageError) Unwrap() error   { return control.ErrUsage }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "mb-secrets",
		Short: "Keep the secrets of a minibot installation",
		Long: "mb-secrets keeps the secrets of a minibot installation. Values come in through a hidden prompt or stdin, never\n" +
			"through the command line. While minibotd runs, a changed secret is brought into force at once; otherwise\n" +
			"at its next start.\n\n" + exitCodes,
		Example:       "  mb-secrets init\n  mb-secrets set ANTHROPIC_API_KEY\n  mb-secrets list",
		SilenceErrors: true,
		SilenceUsage:  true,
		// Custom, because cobra's own message would print an argument that may be a value.
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return hint.Wrap(usage("there is no such command"), "mb-secrets --help lists the commands")
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.homeFlag, "home", "", "the installation's directory (default $MINIBOT_HOME, then ~/minibot)")
	if err := root.MarkPersistentFlagDirname("home"); err != nil {
		panic(err) // the flag is defined one line above
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if len(cmd.Annotations) > 0 { // takes a value: the flag at fault may be one
			err = errors.New("unknown flag, or a flag without its value")
		}
		return hint.Wrap(usage("%v", err), "%s --help", cmd.CommandPath())
	})
	root.AddCommand(a.initCommand(), a.setCommand(), a.getCommand(), a.listCommand(), a.deleteCommand(),
		a.generateCommand(), a.execCommand(), a.versionCommand())
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  mb-secrets version",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			return a.io.Print("mb-secrets %s", control.Version)
		},
	}
}

// arguments checks the number of arguments without printing any of them.
func arguments(least, most int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return hint.Wrap(usage("%s takes %s", cmd.Name(), want), "%s --help", cmd.CommandPath())
		}
		return nil
	}
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
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	a.quiet, a.patience = true, time.Second
	list, err := a.list(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range list {
		if strings.HasPrefix(s.Name, prefix) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
