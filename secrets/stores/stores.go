// Package stores opens the store that a configuration names.
//
// It owns the list of kinds and where each keeps its files. It never chooses a kind itself and never falls back from
// one to another.
package stores

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/agefile"
)

// Options name a store. See agefile.Options for Passphrase, Create and WithPassphrase.
type Options struct {
	Kind           string // one of config.Stores
	Home           string // MINIBOT_HOME: the kind "age" keeps store.age and age.key in it
	Service        string // of the items in a keychain; "" is "minibot"
	Passphrase     func() (string, error)
	Create         bool
	WithPassphrase bool
}

// Open opens a store. It wraps [secrets.ErrNoStore] when the store was not created yet, [secrets.ErrLocked],
// [secrets.ErrDenied] or [secrets.ErrDamaged]; each error has a hint. A store that is an io.Closer is to be closed.
func Open(ctx context.Context, options Options) (secrets.Store, error) {
	switch options.Kind {
	case "age":
		store, err := agefile.Open(ctx, agefile.Options{
			Path:           filepath.Join(options.Home, "store.age"),
			KeyFile:        filepath.Join(options.Home, "age.key"),
			Passphrase:     options.Passphrase,
			Create:         options.Create,
			WithPassphrase: options.WithPassphrase,
		})
		if err != nil {
			return nil, err // not a nil *agefile.Store in a non-nil interface
		}
		return store, nil
	}
	kinds := strings.Join(config.Stores, ", ")
	return nil, hint.Wrap(fmt.Errorf("open store: unknown kind %q: there is %s", options.Kind, kinds), "name one of these kinds in config.toml: %s", kinds)
}
