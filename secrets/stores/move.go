package stores

import (
	"context"
	"errors"
	"fmt"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/migration"
)

// Migrate moves the secrets of an installation from the configured store, from, to another kind, and makes that if it can
// be made; see [migration.Migration.Run]. A request that cannot be carried out as it stands is a [control.ErrUsage].
func Migrate(ctx context.Context, from Options, m control.Migration, paths config.Paths, report func(control.Progress)) error {
	move := migration.Migration{
		From: from.Kind, To: m.To, Remove: m.Remove, Overwrite: m.Overwrite, Record: paths.Migration,
		Open: func(ctx context.Context, kind, service string) (secrets.Store, error) {
			o := from
			o.Kind, o.Service, o.Create = kind, service, kind == m.To
			return Open(ctx, o)
		},
		Switch: func(kind string) error {
			err := config.SetStore(paths.Config, kind)
			if hint.Of(err) == "" {
				err = hint.Wrap(err, "look at the disk and the owner of %s", paths.Home)
			}
			return err
		},
		Report: func(message string) { report(control.Progress{Message: message}) },
	}
	err := move.Run(ctx)
	if errors.Is(err, migration.ErrKeepsNothing) {
		return fmt.Errorf("%w: %w", control.ErrUsage, err)
	}
	return err
}
