package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/config"
	"minibot/console"
	"minibot/control"
)

// commands is what the subcommands share.
type commands struct {
	io    *console.IO
	paths config.Paths
}

// errNotHealthy makes status exit with 1 without another word.
var errNotHealthy = errors.New("not healthy")

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, io *console.IO) int {
	root := newRoot(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errNotHealthy) {
		io.Error(err)
	}
	return control.ExitCode(err)
}

func newRoot(io *console.IO) *cobra.Command {
	c := &commands{io: io}
	var home string
	root := &cobra.Command{
		Use:           "minibotd",
		Short:         "keeps the stack up and its secrets fresh",
		Version:       control.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) (err error) {
			if home == "" {
				if home, err = config.Home(); err != nil {
					return err
				}
			}
			c.paths, err = config.NewPaths(home)
			return err
		},
	}
	root.SetIn(io.In)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	root.PersistentFlags().StringVar(&home, "home", "", "folder of the installation (default $MINIBOT_HOME or ~/minibot)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", control.ErrUsage, err) })
	root.AddCommand(newRun(c), newStatus(c), newEvents(c), newLogs(c),
		c.operation(control.VerbReload, "read the compose file and the store again", "  minibotd reload", cobra.NoArgs),
		c.operation(control.VerbRestart, "restart one service", "  minibotd restart redis", cobra.ExactArgs(1)),
		c.operation(control.VerbStop, "keep a service down, or the whole stack, until start", "  minibotd stop openclaw\n  minibotd stop", cobra.MaximumNArgs(1)),
		c.operation(control.VerbStart, "let a service up again, or the whole stack", "  minibotd start openclaw\n  minibotd start", cobra.MaximumNArgs(1)))
	return root
}

func (c *commands) client() *control.Client { return &control.Client{Socket: c.paths.Socket} }

// usage makes a wrong number of arguments a usage error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %w", control.ErrUsage, err)
		}
		return nil
	}
}

// services completes service names from the running daemon.
func (c *commands) services(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	status, err := c.client().Status(cmd.Context())
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range status.Services {
		names = append(names, s.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *commands) operation(verb control.Verb, short, example string, args cobra.PositionalArgs) *cobra.Command {
	use := string(verb)
	switch verb {
	case control.VerbRestart:
		use += " SERVICE"
	case control.VerbStart, control.VerbStop:
		use += " [SERVICE]"
	}
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: usage(args), ValidArgsFunction: c.services,
		RunE: func(cmd *cobra.Command, args []string) error {
			op := control.Operation{Verb: verb, Service: strings.Join(args, "")}
			return c.client().Operate(cmd.Context(), op, func(p control.Progress) {
				c.io.Progress(p.Service, p.Message)
			})
		},
	}
}

func newEvents(c *commands) *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use: "events", Short: "show what happened", Example: "  minibotd events\n  minibotd events -f --json", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			lines := json.NewEncoder(c.io.Out)
			return c.client().Events(cmd.Context(), 0, follow, func(e control.Event) error {
				if asJSON {
					return lines.Encode(e)
				}
				subject := strings.Join(slices.DeleteFunc([]string{e.Service, e.Secret}, func(s string) bool { return s == "" }), " ")
				_, err := fmt.Fprintf(c.io.Out, "%s  %-9s %-12s %s\n", e.Time.Local().Format(time.DateTime), e.Kind, console.Escape(subject), console.Escape(e.Message))
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new events until interrupted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func newLogs(c *commands) *cobra.Command {
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use: "logs [SERVICE]", Short: "show the services' logs, redacted", Example: "  minibotd logs postgres\n  minibotd logs -f --tail 20",
		Args: usage(cobra.MaximumNArgs(1)), ValidArgsFunction: c.services,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.client().Logs(cmd.Context(), strings.Join(args, ""), follow, tail, c.io.Out)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines until interrupted")
	cmd.Flags().IntVar(&tail, "tail", 100, "lines from the end of each log; 0 for all")
	return cmd
}
