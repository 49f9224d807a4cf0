package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/launchd"
	"minibot/process"
	"minibot/secrets"
	"minibot/secrets/stores"
	"minibot/stack"
	"minibot/takeover"
)

// adoption is what `adopt --json` prints.
type adoption struct {
	*takeover.Plan
	Steps   []string       `json:"steps"`
	Adopted bool           `json:"adopted"`
	Proved  []secrets.Name `json:"proved"` // secrets that log in, while a random value does not
	Undo    []string       `json:"undo"`   // commands that bring the old containers and agents back
}

// adoptOptions are the flags of adopt.
type adoptOptions struct{ dryRun, yes, asJSON bool }

func (c *commands) adoptCommand() *cobra.Command {
	var o adoptOptions
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Take the data of an older stack over, from shell scripts say",
		Long: "adopt looks for what an older stack of Postgres, Redis and OpenClaw left on this machine: a login agent that starts it, lines in shell\n" +
			"files, .env files, containers, data. It shows the steps and asks. Then it disables the agent, stops the old containers, copies their\n" +
			"data into minibot's own volumes, compares the copy, starts the stack and proves that the stored passwords log in.\n\n" +
			"Nothing is deleted: the old containers stay, stopped and renamed, and their data stay where they are. Postgres keeps its major\n" +
			"version: config.toml names an image that runs it. Wherever adopt ends, it can be run again; half a copy is discarded. Lines of\n" +
			"shell files are for you to remove; adopt prints which.\n\n" +
			"It wants the secrets in the store (mb-secrets init, mb-secrets import), and no minibotd that runs: `minibotd install` comes after it.",
		Example: "  minibotd adopt --dry-run\n  minibotd adopt\n  minibotd adopt --yes --json | jq .undo",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := process.Harden(); err != nil {
				return err
			}
			return c.adopt(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what was found and every step, and change nothing")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do it without asking")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

func (c *commands) adopt(ctx context.Context, o adoptOptions) (err error) {
	paths, err := c.paths()
	if err != nil {
		return err
	}
	if _, err := os.Stat(paths.Home); errors.Is(err, fs.ErrNotExist) {
		return hint.Wrap(fmt.Errorf("%w: %s does not exist", secrets.ErrNoStore, paths.Home), "mb-secrets init")
	}
	if err := config.EnsureHome(paths); err != nil {
		return err
	}
	cfg, err := config.Load(paths.Home)
	if err != nil {
		return err
	}
	paths = paths.With(cfg)
	c.io.StartClock()
	plan, adopter, err := c.carryAlone(ctx, paths, cfg, o)
	if adopter != nil {
		defer func() { err = errors.Join(err, adopter.Engine.Close()) }()
	}
	result := adoption{Plan: plan, Proved: []secrets.Name{}}
	if err != nil || plan.Done || o.dryRun {
		return errors.Join(err, c.showAdoption(result, o, err))
	}
	result.Proved, err = c.bringUp(ctx, paths, adopter.Engine, plan)
	if err == nil {
		err = adopter.Finish(plan)
	}
	result.Adopted = err == nil
	return errors.Join(err, c.showAdoption(result, o, err))
}

// carryAlone plans, asks and carries out, all while no minibotd can start.
func (c *commands) carryAlone(ctx context.Context, paths config.Paths, cfg config.Config, o adoptOptions) (plan *takeover.Plan, adopter *takeover.Adopter, err error) {
	release, err := control.AcquireLock(ctx, paths.DaemonLock)
	if errors.Is(err, control.ErrDaemonHolds) {
		return nil, nil, hint.Wrap(err, "end it for good with `minibotd uninstall`, which leaves secrets and data, or stop the `minibotd run` that you see; another `minibotd adopt` ends by itself")
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	engine, err := stack.Dial(ctx, cfg.DockerHost)
	if err != nil {
		return nil, nil, err
	}
	if adopter, err = c.adopter(engine, paths, cfg); err != nil {
		return nil, nil, errors.Join(err, engine.Close())
	}
	plan, err = adopter.Plan(ctx)
	if err != nil || plan.Done || o.dryRun {
		return plan, adopter, err
	}
	if !o.asJSON || !o.yes {
		if err := c.showPlan(c.io.Say, plan); err != nil {
			return plan, adopter, err
		}
	}
	if err := allSet(ctx, paths, cfg, adopter, plan); err != nil {
		return plan, adopter, err
	}
	if err := c.sure(ctx, o.yes, "Do it?"); err != nil {
		return plan, adopter, err
	}
	persist() // half done the old stack is down, and the new one not up
	return plan, adopter, adopter.Carry(ctx, plan)
}

func (c *commands) adopter(engine *stack.Engine, paths config.Paths, cfg config.Config) (*takeover.Adopter, error) {
	user, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("find the user's home: %w", err)
	}
	a := &takeover.Adopter{Engine: engine, Paths: paths, Config: cfg, UserHome: user, Keychain: keychain(), At: dieAt(),
		Load: func(ctx context.Context, env map[string]string) (*stack.Project, error) {
			return stack.Load(ctx, stack.LoadOptions{File: paths.Compose, Env: env, AllowExposed: cfg.Exposure == config.ExposureWarn})
		},
		Hold: func(down bool) error {
			if err := (intent{All: down}).write(paths.Intent); err != nil {
				return hint.Wrap(err, "look at the disk space and the owner of %s", paths.StateDir)
			}
			return nil
		},
		Report: func(service, message string) { c.io.Progress(service, message) },
	}
	program := standInOf(launchd.DefaultProgram)
	if _, err := os.Stat(program); err == nil {
		a.Launchd = launchd.Launchctl{Program: program, UID: os.Getuid()}
	}
	return a, nil
}

// sure asks, unless that was answered on the command line.
func (c *commands) sure(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !c.io.Interactive() {
		return hint.Wrap(commandline.Usage("there is no terminal to ask on"), "--yes does it without asking, --dry-run shows it")
	}
	answer, err := c.io.Confirm(ctx, question, false)
	if err == nil && !answer {
		err = errors.New("not confirmed: nothing changed")
	}
	return err
}

// allSet makes sure that the new stack could start: the old one is not stopped for less.
func allSet(ctx context.Context, paths config.Paths, cfg config.Config, a *takeover.Adopter, plan *takeover.Plan) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	project, err := a.Load(ctx, cfg.Env)
	if err != nil {
		return err
	}
	store, err := stores.Open(ctx, stores.Options{Kind: cfg.Store, Home: paths.Home, Passphrase: credential})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore(store)) }()
	entries, err := store.List(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, r := range project.Requirements {
		set := slices.ContainsFunc(entries, func(e secrets.Entry) bool { return e.Name == r.Name && e.Slot != secrets.Previous })
		if !set && r.Initial == "" {
			missing = append(missing, string(r.Name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	advice := "mb-secrets init"
	for _, kind := range []takeover.Kind{takeover.KindEnvFile, takeover.KindKeychain} {
		for _, f := range plan.Findings.Of(kind) {
			if slices.ContainsFunc(f.Secrets, func(n secrets.Name) bool { return slices.Contains(missing, string(n)) }) {
				advice = f.Advice
			}
		}
	}
	return hint.Wrap(fmt.Errorf("%w: %s", secrets.ErrNotFound, strings.Join(missing, ", ")), "%s", advice)
}

// showAdoption prints what came of it; failed is what ended it.
func (c *commands) showAdoption(a adoption, o adoptOptions, failed error) error {
	if a.Plan == nil {
		return nil
	}
	a.Steps, a.Undo = a.Plan.Steps(), a.Plan.Undo()
	if a.Undo == nil {
		a.Undo = []string{}
	}
	if a.Done {
		a.Steps = []string{}
	}
	if o.asJSON {
		return c.io.JSON(a)
	}
	switch {
	case failed != nil:
		if len(a.Undo) > 0 {
			c.io.Say("the old data are as they were; `minibotd adopt` again goes on, and these commands go back:\n  %s", strings.Join(a.Undo, "\n  "))
		}
		return nil
	case a.Done && len(a.Findings) == 0:
		return c.io.Print("nothing to adopt")
	case a.Done:
		if err := c.showPlan(c.say, a.Plan); err != nil {
			return err
		}
		return c.io.Print("no data to adopt")
	case !a.Adopted:
		return c.showPlan(c.say, a.Plan)
	}
	text := fmt.Sprintf("adopted; the stack is up, and takes the stored %s", join(a.Proved))
	text += "\nnothing watches the stack yet: run `minibotd install`"
	if lines := a.Findings.Lines(); len(lines) > 0 {
		text += "\nremove by hand:\n  " + strings.Join(lines, "\n  ")
	}
	text += "\nthe old data stay where they are. To go back: `minibotd stop`, then\n  " + strings.Join(a.Undo, "\n  ")
	return c.io.Print("%s", text)
}

func join(names []secrets.Name) string {
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	return strings.Join(list, ", ")
}

// say is Print for showPlan, whose other kind of output cannot fail.
func (c *commands) say(format string, args ...any) {
	if err := c.io.Print(format, args...); err != nil {
		c.io.Say("%s", err)
	}
}

// showPlan prints what was found and what is to be done.
func (c *commands) showPlan(say func(format string, args ...any), p *takeover.Plan) error {
	for _, f := range p.Findings {
		names := ""
		if len(f.Secrets) > 0 {
			names = " (" + join(f.Secrets) + ")"
		}
		say("%-9s  %s: %s%s", f.Kind, console.Escape(f.Place), console.Escape(f.What), names)
		if f.Advice != "" {
			say("           %s %s", console.Paint(c.io.Out, console.Faint, "hint:"), console.Escape(f.Advice))
		}
	}
	if p.Done {
		return nil
	}
	if p.Resumed {
		say("an adoption that was begun before goes on")
	}
	for _, why := range p.Why {
		say("note: %s", console.Escape(why))
	}
	for n, step := range p.Steps() {
		say("%2d. %s", n+1, console.Escape(step))
	}
	return nil
}

// upTimeout is how long the new stack may take to be healthy, and its passwords to be accepted.
const upTimeout = 5 * time.Minute
