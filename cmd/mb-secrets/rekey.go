package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets/agefile"
)

func (a *app) rekeyCommand() *cobra.Command {
	var passphrase bool
	cmd := &cobra.Command{
		Use:   "rekey [--passphrase]",
		Short: "Seal the store of the kind age to a new key or a passphrase",
		Long: "rekey makes a new key for the encrypted file, seals the file to it and replaces age.key; with --passphrase it seals\n" +
			"the file to a passphrase and removes age.key. What is stored stays. Interrupted at whatever moment, the store still\n" +
			"opens. It wants minibotd to be down; the stack goes on. minibotd opens a store with a passphrase only where systemd\n" +
			"hands it over (LoadCredential=minibot-passphrase:FILE).",
		Example: "  mb-secrets rekey\n  mb-secrets rekey --passphrase",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return interrupted(a.rekey(cmd.Context(), passphrase), "the store opens with what opened it before, or with the new one")
		},
	}
	cmd.Flags().BoolVar(&passphrase, "passphrase", false, "seal it to a passphrase, which is asked for")
	return cmd
}

func (a *app) rekey(ctx context.Context, passphrase bool) error {
	p, err := a.at()
	if err != nil {
		return err
	}
	if p.config.Store != config.StoreAge {
		return hint.Wrap(commandline.Usage("the store is %s, which has no key of its own", p.config.Store), "mb-secrets migrate --to age")
	}
	opened, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	options := agefile.RekeyOptions{WithPassphrase: passphrase}
	if passphrase { // asked for before the lock is taken
		answer, err := a.newPassphrase(ctx)
		if err != nil {
			return err
		}
		options.Passphrase = func() (string, error) { return answer, nil }
	}
	err = control.WithLock(ctx, p.paths.DaemonLock, func() error { return opened.(*agefile.Store).Rekey(ctx, options) })
	if errors.Is(err, control.ErrDaemonHolds) {
		return hint.Wrap(err, "end minibotd first, the stack goes on; then run this again and start it")
	}
	if err != nil {
		return err
	}
	if passphrase {
		return a.io.Print("the store is sealed to the passphrase; age.key is removed")
	}
	if err := a.io.Print("the store is sealed to a new key"); err != nil {
		return err
	}
	a.backUp()
	return nil
}

// newPassphrase asks twice for a passphrase.
func (a *app) newPassphrase(ctx context.Context) (string, error) {
	if !a.io.Interactive() {
		return "", hint.Wrap(fmt.Errorf("a new passphrase: %w", console.ErrNoTerminal), "run this on a terminal")
	}
	first, err := a.io.Hidden(ctx, "new passphrase of the store (not shown): ")
	if err != nil {
		return "", err
	}
	second, err := a.io.Hidden(ctx, "again: ")
	if err != nil {
		return "", err
	}
	switch {
	case len(first) == 0:
		return "", commandline.Usage("the passphrase is empty: nothing changed")
	case string(first) != string(second):
		return "", errors.New("the two passphrases differ: nothing changed")
	}
	return string(first), nil
}
