package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	installer "minibot/install" // the tests have an install of their own
	"minibot/secrets/stores"
)

// installFlags are the flags of install.
type installFlags struct {
	store, program      string
	dryRun, asJSON, yes bool
	leaveData           bool
}

func (c *commands) installCommand() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Have launchd or systemd start minibotd at login; upgrade it in place",
		Long: "install writes what is missing of the installation (folders, config.toml, compose.yaml), has launchd, on Linux the\n" +
			"user's systemd, start minibotd now and at each login, and waits until it answers. What is done already stays as it is, so\n" +
			"install can be repeated, and after an update of the program it replaces the running minibotd by the new one. Containers\n" +
			"are not touched. Without a desktop session on a Mac minibotd starts at the next login.\n\n" +
			"What shell scripts of an older stack left behind is shown, and their login agents are disabled when you agree.\n\n" +
			"The store is chosen when there is no config.toml yet, as mb-secrets init does it.",
		Example: "  minibotd install --dry-run\n  minibotd install\n  minibotd install --program /usr/local/bin/minibotd --store age",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.install(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print every step and do nothing")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&f.store, "store", "", "the store of a new installation: "+strings.Join(config.Stores, ", "))
	_ = cmd.RegisterFlagCompletionFunc("store", cobra.FixedCompletions(config.Stores, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	cmd.Flags().StringVar(&f.program, "program", "", "the minibotd to start (default this one)")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "replace another installation, and disable login agents of older scripts, without asking")
	cmd.Flags().BoolVar(&f.leaveData, "leave-data", false, "start without the data of an older stack that minibotd adopt would take over")
	return cmd
}

func (c *commands) install(ctx context.Context, f installFlags) error {
	results := persist()
	if f.store != "" && !slices.Contains(config.Stores, f.store) {
		return hint.Wrap(commandline.Usage("--store wants one of %s", strings.Join(config.Stores, ", ")), "minibotd install --help")
	}
	i, err := c.installation(ctx, f)
	if err != nil {
		return err
	}
	for _, warning := range installer.Exposed(i.Program) {
		c.io.Warn("%s", warning)
	}
	if caution := stores.Caution(ctx, f.store); caution != "" {
		c.io.Warn("%s", caution)
	}
	if err := c.agree(ctx, i.Check(ctx), f.yes || f.dryRun); err != nil {
		return err
	}
	if err := c.leftovers(ctx, i, f); err != nil {
		return err
	}
	outcomes, err := c.carryOut(ctx, f.dryRun, f.asJSON, i.Install)
	if err != nil {
		return err
	}
	results()
	status, err := c.answer(ctx, f.dryRun, outcomes)
	if err != nil {
		return err
	}
	if f.asJSON {
		return c.io.JSON(installed{outcomes, status})
	}
	if f.dryRun {
		return showOutcomes(c.io, outcomes)
	}
	if m, ok := i.Manager.(interface {
		Advice(context.Context) []string
	}); ok {
		for _, line := range m.Advice(ctx) {
			c.io.Say("%s", line)
		}
	}
	if status == nil {
		return c.io.Print("installed; minibotd starts at the next login")
	}
	return showStatus(c.io, *status, time.Now())
}

// installed is what install and uninstall print as JSON.
type installed struct {
	Steps  []installer.Outcome `json:"steps"`
	Status *control.Status     `json:"status,omitempty"` // of the daemon that answers
}

// installation puts together what install sees to.
func (c *commands) installation(ctx context.Context, f installFlags) (*installer.Installation, error) {
	paths, err := c.configured()
	if err != nil {
		return nil, err
	}
	program, err := c.program(f.program)
	if err != nil {
		return nil, err
	}
	m, err := installer.Choose(ctx, paths, program)
	if err != nil {
		return nil, err
	}
	return &installer.Installation{
		Paths: paths, Program: program, Manager: m, Store: f.store, Choose: stores.Choose,
		Status: (&control.Client{Socket: paths.Socket}).Status,
	}, nil
}

// configured are the paths of the installation as its configuration, where there is one, says.
func (c *commands) configured() (config.Paths, error) {
	paths, err := c.paths()
	if err != nil {
		return config.Paths{}, err
	}
	cfg, err := config.Load(paths.Home)
	return paths.With(cfg), err
}

// program is the minibotd that is to be started: the one that was named, or else this one.
func (c *commands) program(named string) (string, error) {
	if named != "" {
		path, err := filepath.Abs(named)
		if err != nil {
			return "", fmt.Errorf("--program: %w", err)
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o100 == 0 {
			return "", hint.Wrap(commandline.Usage("--program is no file that can be run"), "name the minibotd that is to be started")
		}
		return path, nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("find this program: %w", err), "name it with --program PATH")
	}
	return installer.Program(path)
}

// agree asks before another installation is replaced, unless yes.
func (c *commands) agree(ctx context.Context, found error, yes bool) error {
	if !errors.Is(found, installer.ErrOtherHome) {
		return found
	}
	if yes {
		c.io.Warn("%s", found)
		return nil
	}
	answer, err := c.io.Confirm(ctx, console.Escape(found.Error())+". Replace it?", false)
	if errors.Is(err, console.ErrNoTerminal) || err == nil && !answer {
		return found
	}
	return err
}

// persist has a connection that breaks, or a pager or tee that ends first, leave no installation half done. The function that it returns
// is for the end, when the result is printed.
func persist() (undo func()) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	return func() { signal.Reset(syscall.SIGPIPE) }
}

// carryOut has f carry steps out, and shows them on the way, unless they are to be printed as JSON or were only asked for.
func (c *commands) carryOut(ctx context.Context, dryRun, asJSON bool, f func(context.Context, installer.Sequence) error) ([]installer.Outcome, error) {
	c.io.StartClock()
	outcomes := []installer.Outcome{}
	err := f(ctx, installer.Sequence{DryRun: dryRun, Before: dieBefore,
		Report: func(step, message string) { c.io.Step(step, "", message) },
		Told: func(o installer.Outcome) {
			outcomes = append(outcomes, o)
			if !dryRun && !asJSON {
				c.io.Step(o.Step, o.State, o.Message)
			}
		}})
	return outcomes, err
}

// answer is the status of the daemon that was installed; nil when it starts later.
func (c *commands) answer(ctx context.Context, dryRun bool, outcomes []installer.Outcome) (*control.Status, error) {
	if dryRun || outcomes[len(outcomes)-1].State == installer.Skipped {
		return nil, nil //nolint:nilnil // there is none
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	status, err := client.Status(ctx)
	return &status, err
}

func showOutcomes(io *console.IO, outcomes []installer.Outcome) error {
	rows := make([][]string, 0, len(outcomes))
	for _, o := range outcomes {
		rows = append(rows, []string{o.Step, o.State, o.Message})
	}
	return io.Table([]string{"STEP", "STATE", "WHAT"}, rows)
}
