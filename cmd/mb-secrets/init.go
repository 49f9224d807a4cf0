package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/deploy"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/stores"
)

func (a *app) initCommand() *cobra.Command {
	var generate bool
	var kind string
	cmd := &cobra.Command{
		Use:   "init [-]",
		Short: "Make an installation and go through its secrets",
		Long: "init makes the installation's directory, its config.toml and compose.yaml, and the store, where they are missing,\n" +
			"and then goes through the secrets that the compose file requires. What is there already stays as it is, so init can be\n" +
			"repeated, after ^C too: every secret is stored as soon as it is given.\n\n" +
			"The store is chosen once, when there is no config.toml yet: on a Mac the login keychain, on Linux the session's\n" +
			"keyring where there is one, otherwise an encrypted file. --store chooses it by name; mb-secrets migrate moves later.\n\n" +
			"Where stdin is no terminal, or with -, it reads lines NAME=VALUE from it: the value is the rest of the line as it is;\n" +
			"blank lines and lines that begin with # are skipped. Nothing is stored unless every line is good.",
		Example: "  mb-secrets init\n  mb-secrets init --generate --store age\n" +
			"  mb-secrets init --generate < secrets.txt",
		Annotations: commandline.TakesValue,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != "-" {
				return hint.Wrap(commandline.Usage("init takes no values on the command line: they would show in ps and stay in the shell's history"),
					"mb-secrets init asks for them, or reads NAME=VALUE lines from stdin")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.initialise(cmd.Context(), kind, generate, len(args) == 1 || !console.IsTerminal(a.io.In))
			return hintAgain(interrupted(err, "what was set stays set"))
		},
	}
	cmd.Flags().StringVar(&kind, "store", "", "the store of a new installation: "+strings.Join(config.Stores, ", "))
	_ = cmd.RegisterFlagCompletionFunc("store", cobra.FixedCompletions(config.Stores, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	cmd.Flags().BoolVar(&generate, "generate", false, "generate whatever can be generated, without asking")
	return cmd
}

func hintAgain(err error) error {
	if errors.Is(err, errInterrupted) {
		return hint.Wrap(err, "mb-secrets init goes on from here")
	}
	return err
}

func (a *app) initialise(ctx context.Context, kind string, generate, unattended bool) error {
	if kind != "" && !slices.Contains(config.Stores, kind) {
		return hint.Wrap(commandline.Usage("--store wants one of %s", strings.Join(config.Stores, ", ")), "mb-secrets init --help")
	}
	var lines []assignment
	if unattended { // before anything is made: a bad line leaves nothing behind
		var err error
		if lines, err = readAssignments(ctx, a.io.In); err != nil {
			return err
		}
	}
	if err := a.makeHome(ctx, kind); err != nil {
		return err
	}
	if err := a.makeStore(ctx); err != nil {
		return err
	}
	list, err := a.firstList(ctx)
	if err != nil {
		return err
	}
	if unattended {
		err = a.assign(ctx, list, lines)
	}
	if err == nil {
		err = a.walk(ctx, generate, unattended)
	}
	if err != nil {
		return err
	}
	return a.summarise(ctx)
}

// makeHome makes the directory and the two files in it, where they are missing.
func (a *app) makeHome(ctx context.Context, kind string) error {
	home, err := commandline.Home(a.homeFlag)
	if err != nil {
		return err
	}
	p, err := a.open(home)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(p.paths.Config); errors.Is(err, fs.ErrNotExist) {
		if err := a.makeConfig(ctx, kind); err != nil {
			return err
		}
	} else if kind != "" && kind != p.config.Store {
		err := commandline.Usage("this installation's store is %s already", p.config.Store)
		return hint.Wrap(err, "mb-secrets migrate --to %s moves the secrets there", kind)
	}
	made, err := writeNew(p.paths.Compose, deploy.ComposeFile)
	if err != nil || !made {
		return err
	}
	return a.io.Print("created %s", p.paths.Compose)
}

// makeConfig writes config.toml with the store of that kind, or the one that suits the machine.
func (a *app) makeConfig(ctx context.Context, kind string) error {
	c, why := config.Default(), "as asked for"
	switch _, err := os.Lstat(filepath.Join(a.place.paths.Home, "store.age")); {
	case kind != "":
		c.Store = kind
		if caution := stores.Caution(ctx, kind); caution != "" {
			a.io.Warn("%s", caution)
		}
	case err == nil:
		why = "there is one already"
	default:
		c.Store, why = a.choose(ctx)
	}
	if err := config.Write(a.place.paths.Config, c); err != nil {
		return err
	}
	a.place.config = c
	if err := a.io.Print("created %s", a.place.paths.Config); err != nil {
		return err
	}
	return a.io.Print("secrets are kept in %s (store = %q: %s)", stores.Describe(c.Store, a.place.paths.Home), c.Store, why)
}

// writeNew writes a file unless one is there, and reports whether it did. A crash leaves no half of it.
func writeNew(path string, data []byte) (made bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if removeErr := os.Remove(temp.Name()); removeErr != nil {
			err = errors.Join(err, removeErr)
		}
	}()
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Link(temp.Name(), path) // never over what another process made meanwhile
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create %s: %w", path, err)
	}
	return true, nil
}

// makeStore makes the store when there is none. The store itself keeps two from making it at once.
func (a *app) makeStore(ctx context.Context) error {
	store, err := stores.Open(ctx, a.storeOptions(ctx))
	if a.asking != nil {
		return a.asking
	}
	if err == nil {
		a.opened = store
	}
	if !errors.Is(err, secrets.ErrNoStore) {
		return nil // it is there; what is wrong with it, if anything, the list will say, or the daemon
	}
	options := a.storeOptions(ctx)
	options.Create = true
	if a.opened, err = stores.Open(ctx, options); err != nil {
		return err
	}
	home := a.place.paths.Home
	if err := a.io.Print("created the store in %s", home); err != nil {
		return err
	}
	a.backUp()
	return nil
}

// backUp reminds of what a person has to keep.
func (a *app) backUp() {
	a.io.Say("Back up %s apart from the store: without it nobody can read the secrets.", filepath.Join(a.place.paths.Home, "age.key"))
}

// firstList lists the secrets, and gives a daemon that waited for the store time to find it.
func (a *app) firstList(ctx context.Context) ([]control.Secret, error) {
	bounded, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	tick := time.NewTicker(daemonInterval)
	defer tick.Stop()
	for {
		list, err := a.list(ctx)
		if !errors.Is(err, secrets.ErrNoStore) {
			return list, err
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// walk goes through the required secrets: says what each is for, skips what is set, generates or asks.
func (a *app) walk(ctx context.Context, generate, unattended bool) error {
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	list = required(list)
	for i, s := range list {
		if unattended && (s.Set || !generate || !s.Generate) {
			continue
		}
		if !unattended {
			a.introduce(i+1, len(list), s)
		}
		if s.Set {
			continue
		}
		if err := a.give(ctx, s, generate); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) introduce(n, of int, s control.Secret) {
	a.io.Say("\n[%d/%d] %s", n, of, console.Paint(a.io.Err, console.Bold, s.Name))
	if s.Description != "" {
		a.io.Say("  %s", console.Escape(s.Description))
	}
	if len(s.UsedBy) > 0 {
		a.io.Say("  used by %s", console.Escape(strings.Join(s.UsedBy, ", ")))
	}
	if s.Set {
		a.io.Say("  is set already")
	}
}

// give sets one secret: generated, or from the prompt, where an empty answer leaves it for later.
func (a *app) give(ctx context.Context, s control.Secret, generate bool) error {
	name := secrets.Name(s.Name)
	if s.Generate && !generate {
		answer, err := a.io.Confirm(ctx, "  Generate a value?", true)
		if err != nil {
			return err
		}
		generate = answer
	}
	if s.Generate && generate {
		return a.change(ctx, control.Change{Name: name, Generate: true})
	}
	a.io.Say("  An empty answer leaves it for later.")
	for {
		value, err := a.promptValue(ctx, name)
		switch {
		case errors.Is(err, secrets.ErrEmptyValue):
			return nil
		case errors.Is(err, errMismatch), errors.Is(err, secrets.ErrNUL), errors.Is(err, secrets.ErrTooLarge):
			a.io.Error(err)
			continue
		case err != nil:
			return err
		}
		if value.Len() < shortValue {
			a.io.Warn("the value of %s has only %d bytes", name, value.Len())
		}
		return a.change(ctx, control.Change{Name: name, Value: value.Reveal()})
	}
}

// required leaves out what no compose file asks for.
func required(list []control.Secret) []control.Secret {
	var kept []control.Secret
	for _, s := range list {
		if s.State != "unused" {
			kept = append(kept, s)
		}
	}
	return kept
}

// summarise says what is missing; anything missing is an error, so that a script sees it.
func (a *app) summarise(ctx context.Context) error {
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, s := range required(list) {
		if !s.Set {
			missing = append(missing, s.Name)
		}
	}
	if len(missing) > 0 {
		a.io.Say("")
		err := fmt.Errorf("still missing: %s", strings.Join(missing, ", "))
		return hint.Wrap(err, "mb-secrets set %s", strings.Join(missing, "\nmb-secrets set "))
	}
	return a.io.Print("all %d required secrets are set", len(required(list)))
}
