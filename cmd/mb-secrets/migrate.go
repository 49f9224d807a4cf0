package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets/stores"
)

func (a *app) migrateCommand() *cobra.Command {
	var m control.Migration
	cmd := &cobra.Command{
		Use:   "migrate --to STORE [--remove] [--overwrite]",
		Short: "Move all secrets to another store",
		Long: "migrate copies every secret, with a change that waits and the value before it, to another store, reads the copies back\n" +
			"and compares, makes config.toml name the other store, and then, with --remove, removes the old items. Ages begin\n" +
			"anew. Interrupted at whatever moment, it can be run again, and nothing is lost.\n\n" +
			"Stores: " + strings.Join(config.Stores, ", ") + ". keychain and security keep the same items, which cannot be there twice:\n" +
			"between these two, --remove is required.",
		Example: "  mb-secrets migrate --to age\n  mb-secrets migrate --to keychain --remove",
		Args:    commandline.Arguments(0, 0, "no argument, but --to STORE"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(config.Stores, m.To) {
				err := commandline.Usage("--to wants a store: %s", strings.Join(config.Stores, ", "))
				return hint.Wrap(err, "mb-secrets migrate --help")
			}
			return interrupted(a.migrate(cmd.Context(), m), "mb-secrets migrate --to %s can be run again; nothing is lost", m.To)
		},
	}
	cmd.Flags().StringVar(&m.To, "to", "", "the store to move to")
	cmd.Flags().BoolVar(&m.Remove, "remove", false, "remove the old items after the move")
	cmd.Flags().BoolVar(&m.Overwrite, "overwrite", false, "replace what the other store holds already")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(config.Stores, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

func (a *app) migrate(ctx context.Context, m control.Migration) error {
	backend, daemon, err := a.backend(ctx)
	if err != nil {
		return err
	}
	moves := a.place.config.Store != m.To
	if caution := stores.Caution(ctx, m.To); caution != "" && moves {
		a.io.Warn("%s", caution)
	}
	if !daemon && moves {
		// What asks for a passphrase does so before the lock is taken. Whatever is wrong with the store, the move will say.
		_, _ = a.openStore(ctx)
		if a.asking != nil {
			return a.asking
		}
	}
	err = backend.Migrate(ctx, m, func(p control.Progress) {
		if p.Message != "" {
			_ = a.io.Print("%s", console.Escape(p.Message)) // a closed stdout changes nothing
		}
	})
	if daemon && ctx.Err() != nil {
		return hint.Wrap(fmt.Errorf("%w: minibotd goes on with the move", errInterrupted), "minibotd status shows the store in use")
	}
	if err == nil && moves && m.To == config.StoreAge {
		a.backUp()
	}
	return err
}

// moveStore is the move that local carries out.
func (a *app) moveStore(ctx context.Context, m control.Migration, report func(control.Progress)) error {
	return stores.Migrate(ctx, a.storeOptions(ctx), m, a.place.paths, report)
}
