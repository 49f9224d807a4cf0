package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// rotateOptions are the flags of rotate.
type rotateOptions struct {
	rotation        control.Rotation
	plan, json, yes bool
	compromise      compromise
}

func (a *app) rotateCommand() *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate NAME... | --all | --due | --compromised [NAME...]",
		Short: "Replace secrets in the running stack by new random values",
		Long: "rotate makes new values by the recipes of the compose file and brings them into force as one change: either all of them\n" +
			"are in force in the end, or what was before (exit code 4). Each service that uses them is restarted once. ^C leaves\n" +
			"the change to minibotd. Without minibotd the values are stored, and what a database holds waits for its next start.\n\n" +
			"--all is every secret that can be made here, --due those of them that are due or overdue; what a person has to set is listed.\n" +
			"--plan shows what would be done, in which order, and how long it took last time; --rehearse goes through the\n" +
			"whole sequence with a throwaway credential. Neither changes a value.\n\n" + compromisedHelp,
		Example: "  mb-secrets rotate POSTGRES_PASSWORD REDIS_PASSWORD\n  mb-secrets rotate --all --plan\n" +
			"  mb-secrets rotate POSTGRES_PASSWORD --rehearse\n  mb-secrets rotate --due --no-wait\n  mb-secrets rotate --compromised",
		Annotations:       commandline.TakesValue,
		ValidArgsFunction: a.completeMore,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.read(args); err != nil {
				return err
			}
			if o.compromise.on {
				return a.compromised(cmd.Context(), args, o.compromise, o.yes)
			}
			return interrupted(a.rotate(cmd.Context(), o), "nothing changed")
		},
	}
	cmd.Flags().BoolVar(&o.rotation.All, "all", false, "every secret that can be made here; asks first")
	cmd.Flags().BoolVar(&o.rotation.Due, "due", false, "those that are due or overdue")
	cmd.Flags().BoolVar(&o.plan, "plan", false, "show what would be done; change nothing")
	cmd.Flags().BoolVar(&o.json, "json", false, "with --plan: print JSON")
	cmd.Flags().BoolVar(&o.rotation.Rehearse, "rehearse", false, "go through it with a throwaway credential")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "with --all and --compromised: do not ask")
	compromisedFlags(cmd, &o.compromise)
	a.noWaitFlag(cmd)
	return cmd
}

// read takes in the names, and says which flags do not go together.
func (o *rotateOptions) read(args []string) error {
	var err error
	if o.rotation.Names, err = parseNames(args); err != nil {
		return err
	}
	if o.compromise.on {
		return o.readCompromised()
	}
	if o.compromise.skipAll || len(o.compromise.skip) > 0 {
		return hint.Wrap(commandline.Usage("--skip and --skip-all go with --compromised only"), "mb-secrets rotate --help")
	}
	ways := 0
	for _, chosen := range []bool{len(args) > 0, o.rotation.All, o.rotation.Due} {
		if chosen {
			ways++
		}
	}
	text := ""
	switch {
	case ways != 1:
		text = "rotate takes NAMEs, or --all, or --due"
	case o.plan && o.rotation.Rehearse:
		text = "--plan and --rehearse do not go together"
	case o.json && !o.plan:
		text = "--json goes with --plan only"
	}
	if text != "" {
		return hint.Wrap(commandline.Usage("%s", text), "mb-secrets rotate --help")
	}
	return nil
}

// readCompromised says which flags do not go with --compromised.
func (o *rotateOptions) readCompromised() error {
	if o.rotation.All || o.rotation.Due || o.rotation.Rehearse || o.plan || o.json {
		return hint.Wrap(commandline.Usage("--compromised takes NAMEs, --skip, --skip-all and --yes only"), "mb-secrets rotate --help")
	}
	return nil
}

// parseNames reads names, each of which may stand there once.
func parseNames(args []string) ([]secrets.Name, error) {
	var names []secrets.Name
	for i, arg := range args {
		name, err := parseName(arg)
		if err != nil {
			return nil, err
		}
		for _, before := range names[:i] {
			if before == name {
				return nil, commandline.Usage("%s is there twice", name)
			}
		}
		names = append(names, name)
	}
	return names, nil
}

func (a *app) rotate(ctx context.Context, o rotateOptions) error {
	backend, daemon, err := a.backend(ctx)
	if err != nil {
		return err
	}
	o.rotation.Order = a.order()
	if !daemon && o.rotation.Rehearse {
		return backend.Rotate(ctx, o.rotation, nil) // says why not
	}
	plan, err := backend.Plan(ctx, o.rotation) // first of all: an error in it changes nothing
	if err != nil {
		return err
	}
	if o.plan {
		return a.showPlan(plan, o.json)
	}
	names := generated(plan)
	if len(names) == 0 {
		a.tell(plan.Notes)
		return a.io.Print("there is nothing to rotate")
	}
	if o.rotation.All && !o.rotation.Rehearse {
		if err := a.sure(ctx, o.yes, "Rotate %s?", strings.Join(names, ", ")); err != nil {
			return err
		}
	}
	if err := backend.Rotate(ctx, o.rotation, a.reporter(daemon)); err != nil {
		return detached(ctx, daemon, err)
	}
	switch {
	case o.rotation.Rehearse:
		return a.io.Print("rehearsed: %s; no value in use was touched", strings.Join(names, ", "))
	case daemon:
		return a.io.Print("rotated and in force: %s", strings.Join(names, ", "))
	}
	return nil
}

// generated lists what a plan rotates.
func generated(plan control.Plan) []string {
	var names []string
	for _, s := range plan.Secrets {
		if s.Generated {
			names = append(names, s.Name)
		}
	}
	return names
}

func (a *app) tell(notes []string) {
	for _, note := range notes {
		a.io.Say("%s", console.Escape(note))
	}
}

func (a *app) rollbackCommand() *cobra.Command {
	var plan, asJSON bool
	cmd := &cobra.Command{
		Use:   "rollback NAME...",
		Short: "Bring the previous values of secrets into force again",
		Long: "rollback brings the values before the current ones into force, by the same sequence as rotate; the current ones become\n" +
			"the previous, so that a second rollback takes the first one back. A secret without a previous value is exit code 3.",
		Example:           "  mb-secrets rollback TELEGRAM_BOT_TOKEN\n  mb-secrets rollback POSTGRES_PASSWORD --plan",
		Annotations:       commandline.TakesValue,
		ValidArgsFunction: a.completeMore,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint.Wrap(commandline.Usage("rollback takes NAMEs"), "mb-secrets rollback --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := parseNames(args)
			if err != nil {
				return err
			}
			if asJSON && !plan {
				return hint.Wrap(commandline.Usage("--json goes with --plan only"), "mb-secrets rollback --help")
			}
			r := control.Rotation{Names: names, Rollback: true, Order: a.order()}
			return interrupted(a.rollback(cmd.Context(), r, plan, asJSON), "nothing changed")
		},
	}
	cmd.Flags().BoolVar(&plan, "plan", false, "show what would be done; change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --plan: print JSON")
	a.noWaitFlag(cmd)
	return cmd
}

func (a *app) rollback(ctx context.Context, r control.Rotation, planOnly, asJSON bool) error {
	backend, daemon, err := a.backend(ctx)
	if err != nil {
		return err
	}
	if planOnly {
		plan, err := backend.Plan(ctx, r)
		if err != nil {
			return err
		}
		return a.showPlan(plan, asJSON)
	}
	if err := backend.Rotate(ctx, r, a.reporter(daemon)); err != nil {
		return detached(ctx, daemon, err)
	}
	if daemon {
		return a.io.Print("the previous value is in force: %s", joined(r.Names))
	}
	return nil
}

func joined(names []secrets.Name) string {
	var list []string
	for _, name := range names {
		list = append(list, string(name))
	}
	return strings.Join(list, ", ")
}
