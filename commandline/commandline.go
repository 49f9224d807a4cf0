// Package commandline is what the command lines of both programs have in common: mistakes in them, --home, version.
//
// It guarantees that a mistake is a [control.ErrUsage] with a hint, and that an argument that may be a secret's value
// is never repeated. It never prints and never ends the program.
package commandline

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
)

// TakesValue are the annotations of a command on whose line a person may have typed a value.
var TakesValue = map[string]string{"takes-value": "true"}

// mistake is a usage error that reads as its text alone.
type mistake struct{ text string }

func (m *mistake) Error() string { return m.text }
func (*mistake) Unwrap() error   { return control.ErrUsage }

// Usage returns a mistake in the command line; it wraps [control.ErrUsage], and so is exit code 2.
func Usage(format string, args ...any) error { return &mistake{fmt.Sprintf(format, args...)} }

// Arguments checks the number of arguments without repeating any of them; want says what the command takes.
func Arguments(least, most int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return hint.Wrap(Usage("%s takes %s", cmd.Name(), want), "%s --help", cmd.CommandPath())
		}
		return nil
	}
}

// Root completes a program's root command: its streams, --home into home, the version command, and mistakes as usage
// errors that the caller shows.
func Root(root *cobra.Command, io *console.IO, home *string) {
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Args = func(_ *cobra.Command, args []string) error { // cobra's own would repeat the argument
		if len(args) == 0 {
			return nil
		}
		return hint.Wrap(Usage("there is no such command"), "%s --help lists the commands", root.Name())
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if len(cmd.Annotations) > 0 { // takes a value: the flag at fault may be one
			err = errors.New("unknown flag, or a flag without its value")
		}
		return hint.Wrap(Usage("%v", err), "%s --help", cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(home, "home", "", "the installation's folder (default $MINIBOT_HOME, then ~/minibot)")
	if err := root.MarkPersistentFlagDirname("home"); err != nil {
		panic(err) // the flag is defined one line above
	}
	root.AddCommand(&cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "version prints the version of this program.",
		Example: "  " + root.Name() + " version",
		Args:    Arguments(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			return io.Print("%s %s", root.Name(), control.Version)
		},
	})
}

// Home is the installation's folder, absolute: what --home says, or else [config.Home].
func Home(flag string) (string, error) {
	if flag == "" {
		return config.Home()
	}
	home, err := filepath.Abs(flag)
	if err != nil {
		return "", fmt.Errorf("--home: %w", err)
	}
	return home, nil
}
