// Package stores opens the store that a configuration names, chooses the kind for a new installation, and moves the
// secrets from one kind to another.
//
// It owns which kinds there are on which machine, and where each keeps its files. It never falls back from one kind to
// another.
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
	"minibot/secrets/keychain"
	"minibot/secrets/secretservice"
	"minibot/secrets/security"
)

// Options name a store. See agefile.Options for Passphrase, Create and WithPassphrase.
type Options struct {
	Kind           string // one of config.Stores
	Home           string // MINIBOT_HOME: the kind "age" keeps store.age and age.key in it
	Service        string // of the items in a keychain; "" is "minibot"
	Security       string // the program of the kind "security"; "" is macOS's own
	Passphrase     func() (string, error)
	Create         bool
	WithPassphrase bool
}

// Open opens a store. It wraps [secrets.ErrNoStore] when the store was not created yet, [secrets.ErrLocked],
// [secrets.ErrDenied], [secrets.ErrUnavailable] or [secrets.ErrDamaged]; each error has a hint. A store that is an
// io.Closer is to be closed. No kind that keeps items in a keychain of the system needs or heeds Create.
func Open(ctx context.Context, o Options) (secrets.Store, error) {
	switch o.Kind {
	case config.StoreAge:
		return opened(agefile.Open(ctx, agefile.Options{
			Path:           filepath.Join(o.Home, "store.age"),
			KeyFile:        filepath.Join(o.Home, "age.key"),
			Passphrase:     o.Passphrase,
			Create:         o.Create,
			WithPassphrase: o.WithPassphrase,
		}))
	case config.StoreKeychain:
		return opened(keychain.Open(ctx, keychain.Options{Service: o.Service}))
	case config.StoreSecurity:
		return opened(security.Open(ctx, security.Options{Service: o.Service, Program: o.Security}))
	case config.StoreSecretService:
		return opened(secretservice.Open(ctx, secretservice.Options{Service: o.Service}))
	}
	kinds := strings.Join(config.Stores, ", ")
	return nil, hint.Wrap(fmt.Errorf("open store: unknown kind %q: there is %s", o.Kind, kinds), "name one of these kinds in config.toml: %s", kinds)
}

// opened keeps a nil pointer out of a non-nil interface.
func opened[S secrets.Store](store S, err error) (secrets.Store, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}
