package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
)

const exitCodes = `Exit codes: 0 done, 1 failed (status: not healthy), 2 usage, 3 not found, 4 rolled back, 5 recovery pending,
6 minibotd unreachable, 7 store missing, locked, denied or unavailable, 130 interrupted.`

// completionTimeout is how long a shell may wait for the names of services.
const completionTimeout = 2 * time.Second

// commands is what the subcommands share.
type commands struct {
	io       *console.IO
	homeFlag string
}

// Both make a command exit with 1 without another word: what it printed says all.
var (
	errNotHealthy = errors.New("not healthy")
	errFindings   = errors.New("findings")
)

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, io *console.IO) int {
	c := &commands{io: io}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := control.ExitCode(err)
	switch {
	case errors.Is(err, errNotHealthy), errors.Is(err, errFindings):
	case code == 130 && hint.Of(err) != "":
		io.Error(hint.Wrap(control.ErrInterrupted, "%s", hint.Of(err)))
	case code == 130: // the usual end of what follows
	default:
		io.Error(err)
	}
	return code
}

func (c *commands) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "minibotd",
		Short: "Keep the stack up and its secrets fresh",
		Long: "minibotd keeps a small stack of containers up and its secrets fresh. minibotd run is the daemon; the other\n" +
			"commands ask the running one.\n\n" + exitCodes,
		Example: "  minibotd run\n  minibotd status\n  minibotd events -f",
	}
	commandline.Root(root, c.io, &c.homeFlag)
	root.AddCommand(c.runCommand(), c.statusCommand(), c.eventsCommand(), c.logsCommand(),
		c.reloadCommand(), c.restartCommand(), c.stopCommand(), c.startCommand(), c.pauseCommand(), c.resumeCommand(),
		c.lockdownCommand(), c.unlockCommand(), c.checkCommand(), c.auditCommand(), c.doctorCommand(), c.crashFilterCommand(),
		c.installCommand(), c.uninstallCommand(), c.kickstartCommand(), c.adoptCommand(), c.notifyCommand())
	return root
}

// paths are those of the installation, with the defaults of a configuration.
func (c *commands) paths() (config.Paths, error) {
	home, err := commandline.Home(c.homeFlag)
	if err != nil {
		return config.Paths{}, err
	}
	return config.NewPaths(home)
}

// client asks the running daemon.
func (c *commands) client() (*control.Client, error) {
	paths, err := c.paths()
	return &control.Client{Socket: paths.Socket}, err
}

// services completes service names from the running daemon, quickly or not at all.
func (c *commands) services(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	client, err := c.client()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	status, err := client.Status(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range status.Services {
		if strings.HasPrefix(s.Name, prefix) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *commands) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Read the compose file and the store again",
		Long: "reload reads the compose file and the store again, brings what changed into force, carries on a change that\n" +
			"was not finished, and returns when all services have settled. SIGHUP does the same.",
		Example: "  minibotd reload",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE:    c.operate(control.VerbReload),
	}
}

func (c *commands) restartCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "restart SERVICE",
		Short:             "Restart one service",
		Long:              "restart restarts a service, forgets its failures, and returns when it is up again.",
		Example:           "  minibotd restart redis",
		Args:              commandline.Arguments(1, 1, "one SERVICE"),
		ValidArgsFunction: c.services,
		RunE:              c.operate(control.VerbRestart),
	}
}

func (c *commands) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [SERVICE]",
		Short: "Keep a service down, or the whole stack, until start",
		Long: "stop takes a service down, or the whole stack, and keeps it down until start: over restarts of minibotd and of\n" +
			"the machine too.",
		Example:           "  minibotd stop openclaw\n  minibotd stop",
		Args:              commandline.Arguments(0, 1, "one SERVICE, or none for all"),
		ValidArgsFunction: c.services,
		RunE:              c.operate(control.VerbStop),
	}
}

func (c *commands) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "start [SERVICE]",
		Short:             "Let a service up again, or the whole stack",
		Long:              "start takes back what stop did, and returns when the service, or the whole stack, is up.",
		Example:           "  minibotd start openclaw\n  minibotd start",
		Args:              commandline.Arguments(0, 1, "one SERVICE, or none for all"),
		ValidArgsFunction: c.services,
		RunE:              c.operate(control.VerbStart),
	}
}

// operate has the daemon carry out an operation and shows its progress.
func (c *commands) operate(verb control.Verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return c.order(cmd, control.Operation{Verb: verb, Service: strings.Join(args, "")})
	}
}

func (c *commands) order(cmd *cobra.Command, op control.Operation) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	c.io.StartClock()
	return client.Operate(cmd.Context(), op, func(p control.Progress) {
		c.io.Progress(p.Service, p.Message)
	})
}

func (c *commands) logsCommand() *cobra.Command {
	var follow, raw bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs [SERVICE]",
		Short: "Show the services' logs, redacted",
		Long: "logs shows a service's log, or all of them with the service's name before each line. Values of secrets are\n" +
			"replaced, and control characters are shown and not sent, also into a pipe: it may end at a terminal. Lines of more\n" +
			"than 64 KiB are cut.",
		Example:           "  minibotd logs postgres\n  minibotd logs -f --tail 20",
		Args:              commandline.Arguments(0, 1, "one SERVICE, or none for all"),
		ValidArgsFunction: c.services,
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < 0 {
				return commandline.Usage("--tail wants a number of lines, or 0 for all")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			w := console.Escaped(c.io.Out)
			if raw {
				w = console.Printable(c.io.Out)
			}
			return client.Logs(cmd.Context(), strings.Join(args, ""), follow, tail, w)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines, over restarts, until interrupted")
	cmd.Flags().BoolVar(&raw, "raw", false, "into a file or a pipe, control characters as they are")
	cmd.Flags().IntVar(&tail, "tail", 100, "lines from the end of each log; 0 for all")
	return cmd
}
