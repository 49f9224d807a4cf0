package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	installer "minibot/install" // the tests have an install of their own
	"minibot/lockdown"
	"minibot/secrets"
	"minibot/secrets/stores"
	"minibot/stack"
)

// uninstallFlags are the flags of uninstall.
type uninstallFlags struct{ dryRun, asJSON, keep, purge bool }

func (c *commands) uninstallCommand() *cobra.Command {
	var f uninstallFlags
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the stack, end minibotd and no longer start it at login",
		Long: "uninstall has minibotd stop the stack, which takes the secrets out of memory, ends minibotd, and removes what starts\n" +
			"it at login. Secrets, data, configuration and logs stay: minibotd install goes on with them. A minibotd that was\n" +
			"started by hand is ended, too, also where nothing starts it at login.\n\n" +
			"--keep-running leaves the containers up: nothing heals them then, and their secrets stay in memory. --purge also\n" +
			"removes the containers, volumes, secrets and files of the installation for good, once you have read the list of them and\n" +
			"typed the project's name, at a terminal. What minibot did not make stays, and is named.",
		Example: "  minibotd uninstall --dry-run\n  minibotd uninstall\n  minibotd uninstall --purge",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.uninstall(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print every step and do nothing")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&f.keep, "keep-running", false, "leave the stack up")
	cmd.Flags().BoolVar(&f.purge, "purge", false, "remove secrets and data, too, after asking")
	cmd.MarkFlagsMutuallyExclusive("keep-running", "purge")
	return cmd
}

func (c *commands) uninstall(ctx context.Context, f uninstallFlags) error {
	if f.purge && !f.dryRun && !c.io.Interactive() {
		return hint.Wrap(commandline.Usage("--purge asks at a terminal, and there is none"), "run `minibotd uninstall --purge` at a terminal, or without --purge")
	}
	results := persist()
	paths, err := c.configured()
	if err != nil && f.purge { // a broken configuration keeps nobody from an uninstall, but what is to go must be known
		return err
	}
	if paths.Home == "" {
		return err
	}
	removal, err := c.removal(ctx, paths, f)
	if err != nil {
		return err
	}
	if f.purge {
		if err := c.confirmPurge(ctx, removal, f.dryRun); err != nil {
			return err
		}
	}
	outcomes, err := c.carryOut(ctx, f.dryRun, f.asJSON, removal.Uninstall)
	results()
	switch {
	case err != nil:
		return err
	case f.asJSON:
		return c.io.JSON(installed{Steps: outcomes})
	case f.dryRun:
		return showOutcomes(c.io, outcomes)
	case f.purge:
		return c.io.Print("uninstalled, with secrets and data")
	}
	if removal.Manager == nil {
		c.io.Say("nothing here started minibotd at login; if a supervisor of yours does, take it out there: it would bring the stack up again")
	}
	return c.io.Print("uninstalled; secrets and data stay in %s and in the engine's volumes: minibotd uninstall --purge removes them", paths.Home)
}

// removal puts together what uninstall sees to. It works where nothing starts minibotd at login, too: there may be one that runs.
func (c *commands) removal(ctx context.Context, paths config.Paths, f uninstallFlags) (*installer.Removal, error) {
	m, err := installer.Choose(ctx, paths, installer.AnyProgram)
	if errors.Is(err, installer.ErrNoManager) {
		m, err = installer.Leftover(paths), nil
	}
	if err != nil {
		return nil, err
	}
	removal := &installer.Removal{Paths: paths, Manager: m, Keep: f.keep, Operate: (&control.Client{Socket: paths.Socket}).Operate,
		Project: lockdown.In(paths).LastProject}
	if f.purge {
		p, err := c.purge(paths)
		if err != nil {
			return nil, err
		}
		removal.Purge = &installer.Purge{Engine: p, Names: p.names, Store: p.store}
	}
	return removal, nil
}

// confirmPurge shows what will go and has the project's name typed.
func (c *commands) confirmPurge(ctx context.Context, r *installer.Removal, dryRun bool) error {
	gone, stays, err := r.Purge.Plan(ctx, r.Paths)
	if err != nil {
		return err
	}
	for _, line := range gone {
		c.io.Say("will be removed for good: %s", console.Escape(line))
	}
	for _, line := range stays {
		c.io.Say("stays, minibot did not make it: %s", console.Escape(line))
	}
	if dryRun || len(gone) == 0 {
		return nil
	}
	word, err := lockdown.In(r.Paths).LastProject()
	if err != nil {
		return err
	}
	if word == "" { // no daemon ever loaded one
		word = "minibot"
	}
	answer, err := c.io.Line(ctx, "Type "+console.Escape(word)+" to remove all this: ")
	if err == nil && answer != word {
		return hint.Wrap(errors.New("nothing was removed: that is not the project's name"), "run `minibotd uninstall --purge` again")
	}
	return err
}

// purging is what a purge removes beside files: what the engine has of the installation, and the secrets.
type purging struct {
	paths config.Paths
	cfg   config.Config
}

func (c *commands) purge(paths config.Paths) (*purging, error) {
	cfg, err := config.Load(paths.Home)
	return &purging{paths, cfg}, err
}

// each calls f with the engine and the name of each project of this installation.
func (p *purging) each(ctx context.Context, f func(*stack.Engine, string) error) (err error) {
	engine, err := stack.Dial(ctx, p.cfg.DockerHost)
	if err != nil {
		return hint.Wrap(err, "start the engine: what it has of the stack is to be removed, too")
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	projects, err := engine.ProjectsOf(ctx, p.paths.Compose)
	if err != nil {
		return err
	}
	last, err := lockdown.In(p.paths).LastProject()
	if err != nil {
		return err
	}
	if last != "" && !slices.Contains(projects, last) {
		projects = append(projects, last)
	}
	for _, project := range projects {
		if err := f(engine, project); err != nil {
			return err
		}
	}
	return nil
}

// Held implements [installer.Engine].
func (p *purging) Held(ctx context.Context) (held []string, err error) {
	return held, p.each(ctx, func(e *stack.Engine, project string) error {
		list, err := e.Holdings(ctx, project)
		for _, h := range list {
			held = append(held, h.Kind+" "+h.Name)
		}
		return err
	})
}

// Discard implements [installer.Engine].
func (p *purging) Discard(ctx context.Context, report func(string)) error {
	return p.each(ctx, func(e *stack.Engine, project string) error {
		return e.Discard(ctx, project, func(h stack.Holding) { report("remove " + h.Kind + " " + h.Name) })
	})
}

func (p *purging) store(ctx context.Context) (secrets.Store, error) {
	return stores.Open(ctx, stores.Options{Kind: p.cfg.Store, Home: p.paths.Home, Passphrase: credential})
}

// names are those of the secrets that are set, from the daemon while it runs, which alone opens the store then.
func (p *purging) names(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	list, err := (&control.Client{Socket: p.paths.Socket}).Secrets(ctx)
	if err == nil {
		for _, s := range list {
			if s.Set {
				names = append(names, s.Name)
			}
		}
		return names, nil
	}
	if !errors.Is(err, control.ErrUnreachable) {
		return nil, err
	}
	store, err := p.store(ctx)
	if errors.Is(err, secrets.ErrNoStore) { // never made, or purged
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := store.List(ctx)
	for _, entry := range entries {
		names = append(names, string(entry.Name))
	}
	slices.Sort(names)
	return slices.Compact(names), errors.Join(err, closeStore(store))
}
