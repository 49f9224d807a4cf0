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
	"minibot/lockdown"
	"minibot/secrets"
)

// compromise is what the flags of rotate --compromised say.
type compromise struct {
	on      bool     // --compromised
	skip    []string // --skip
	skipAll bool
}

// compromisedFlags adds the flags of a rotation after a compromise; app.compromised takes what they say.
func compromisedFlags(cmd *cobra.Command, c *compromise) {
	cmd.Flags().BoolVar(&c.on, "compromised", false, "lock down and replace the secrets for good: their former values are erased")
	cmd.Flags().StringSliceVar(&c.skip, "skip", nil, "with --compromised: let a secret stay as it is; may be repeated")
	cmd.Flags().BoolVar(&c.skipAll, "skip-all", false, "with --compromised: replace only what can be generated")
}

const compromisedHelp = `--compromised is for secrets that somebody else may know. It locks the stack down (see minibotd lockdown), replaces every
secret, or those named, that can be generated, and asks for new values of the others. The former values are erased, and never
come back. Nothing starts before all are replaced or skipped and you run minibotd unlock. It can be interrupted and repeated.`

// compromised locks down, replaces what can be generated, and walks through the rest. What is done stays done.
func (a *app) compromised(ctx context.Context, args []string, c compromise, yes bool) error {
	p, err := a.at()
	if err != nil {
		return err
	}
	project, err := a.load(ctx)
	if err != nil {
		return err
	}
	required := project.Requirements
	names, err := declared(required, args)
	if err != nil {
		return err
	}
	skip, err := declared(required, c.skip)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		names = lockdown.Replaceable(required)
	}
	names = slices.DeleteFunc(names, func(name secrets.Name) bool { return slices.Contains(skip, name) })
	if len(names) == 0 {
		return commandline.Usage("nothing is left to replace")
	}
	a.io.Say("Replaces %s for good: former values are erased, and nothing runs until `minibotd unlock`.", joined(names))
	if err := interrupted(a.sure(ctx, yes, "Kill every container now and replace them?"), "nothing changed"); err != nil {
		return err
	}
	file := lockdown.In(p.paths)
	if file.Locked() == nil {
		err := lockdown.Down(ctx, p.paths, "secrets are compromised", func(message string) { a.io.Say("%s", console.Escape(message)) })
		if file.Locked() == nil {
			return err
		}
		if err != nil { // the secrets are to be replaced all the same
			a.io.Error(err)
		}
	}
	if err := a.replaceGenerated(ctx, file, required, names); err != nil {
		return goesOn(err, args)
	}
	if c.skipAll {
		skip = append(skip, waiting(file, names)...)
	}
	if err := file.Skip(ctx, skip); err != nil {
		return err
	}
	if err := goesOn(a.replaceOthers(ctx, file, required, names), args); err != nil {
		return err
	}
	return a.concluded(file)
}

// goesOn says how to go on after an interruption.
func goesOn(err error, args []string) error {
	if err = interrupted(err, "what was replaced stays so, the stack stays locked down"); errors.Is(err, console.ErrInterrupted) {
		return hint.Wrap(err, "%s goes on", strings.TrimSpace("mb-secrets rotate --compromised "+strings.Join(args, " ")))
	}
	return err
}

// declared checks names, which the compose file must declare. It never repeats what is no name: it may be a value.
func declared(required []secrets.Requirement, texts []string) ([]secrets.Name, error) {
	var names []secrets.Name
	for _, text := range texts {
		name, err := parseName(text)
		if err != nil {
			return nil, err
		}
		if requirement(required, name) == nil {
			return nil, hint.Wrap(fmt.Errorf("%s: %w: the compose file declares no such secret", name, secrets.ErrNotFound), "mb-secrets list shows those it declares")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func requirement(required []secrets.Requirement, name secrets.Name) *secrets.Requirement {
	i := slices.IndexFunc(required, func(r secrets.Requirement) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &required[i]
}

// replaceGenerated puts the names on the list, and replaces those that have a recipe: through the daemon, or without one.
func (a *app) replaceGenerated(ctx context.Context, file lockdown.File, required []secrets.Requirement, names []secrets.Name) error {
	backend, daemon, err := a.backend(ctx)
	if err != nil {
		return err
	}
	if daemon {
		op := control.Operation{Verb: control.VerbCompromise, Names: names}
		return (&control.Client{Socket: a.place.paths.Socket}).Operate(ctx, op, func(p control.Progress) {
			_ = a.io.Print("%s", console.Escape(p.Message)) // a closed stdout changes nothing
		})
	}
	return backend.(*local).with(ctx, func(store secrets.Store) error {
		return file.Compromise(ctx, store, required, names, func(message string) { _ = a.io.Print("%s", message) }) // likewise
	})
}

// waiting returns those of the names that are not replaced yet.
func waiting(file lockdown.File, names []secrets.Name) []secrets.Name {
	return slices.DeleteFunc(file.Read().Awaiting(), func(name secrets.Name) bool { return !slices.Contains(names, name) })
}

// replaceOthers asks for a new value of each name that waits.
func (a *app) replaceOthers(ctx context.Context, file lockdown.File, required []secrets.Requirement, names []secrets.Name) error {
	rest := waiting(file, names)
	if len(rest) == 0 {
		return nil
	}
	if !a.io.Interactive() {
		if len(names) > 1 || console.IsTerminal(a.io.In) {
			return nil // concluded says what waits
		}
		a.revoke(1, 1, *requirement(required, names[0]))
		return a.set(ctx, names[0], true)
	}
	for i, name := range rest {
		a.revoke(i+1, len(rest), *requirement(required, name))
		if err := a.replaceOne(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// revoke says what a secret is, and where to revoke it.
func (a *app) revoke(n, of int, r secrets.Requirement) {
	a.io.Say("\n[%d/%d] %s", n, of, console.Paint(a.io.Err, console.Bold, string(r.Name)))
	if r.Description != "" {
		a.io.Say("  %s", console.Escape(r.Description))
	}
	if r.RevokeURL != "" {
		a.io.Say("  Revoke it there first, and make a new one: %s", console.Escape(r.RevokeURL))
	} else {
		a.io.Say("  Revoke it first where it was made, and make a new one there.")
	}
}

// replaceOne asks for a value until one is taken; an empty answer leaves the secret for later.
func (a *app) replaceOne(ctx context.Context, name secrets.Name) error {
	a.io.Say("  An empty answer leaves it for later.")
	for {
		err := a.set(ctx, name, false)
		switch {
		case errors.Is(err, secrets.ErrEmptyValue):
			return nil
		case errors.Is(err, errMismatch), errors.Is(err, secrets.ErrNUL), errors.Is(err, secrets.ErrTooLarge), errors.Is(err, lockdown.ErrCompromised):
			a.io.Error(err)
			continue
		}
		return err
	}
}

// concluded says what is left to do. Anything that waits is an error, so that a script sees it.
func (a *app) concluded(file lockdown.File) error {
	if r := file.Read(); r.Locked() {
		if err := r.Unreplaced(); err != nil {
			return err
		}
	}
	return a.io.Print("all compromised secrets are replaced or skipped; `minibotd unlock` lets the stack up")
}

// lockedDown is the record of the installation's lockdown, or nil.
func (a *app) lockedDown() *lockdown.Record {
	if a.place == nil {
		return nil
	}
	return lockdown.In(a.place.paths).Locked()
}

// refuseCompromised refuses the current value of a secret that counts as compromised.
func (a *app) refuseCompromised(ctx context.Context, name secrets.Name, value secrets.Value) error {
	if a.lockedDown() == nil {
		return nil
	}
	backend, _, err := a.backend(ctx)
	if err != nil {
		return err
	}
	current, err := backend.Reveal(ctx, name)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return lockdown.In(a.place.paths).Refuse(name, current, value)
}
