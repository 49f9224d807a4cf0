package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"minibot/database"
	"minibot/secrets"
)

// reloadGateway has the OpenClaw gateway in a service read its secrets again. The token that opens it is the one in force
// in the running process: after a change that is the previous one, after a change of another secret or a repeat the
// current one, and the pending one after a change that was taken back.
func (d *daemon) reloadGateway(ctx context.Context, service string) error {
	all := d.requirements()
	i := slices.IndexFunc(all, func(r secrets.Requirement) bool {
		return r.Rotate.Driver == database.DriverOpenClaw && r.Rotate.Service == service
	})
	if i < 0 { // stack refuses such a file
		return fmt.Errorf("service %s: no secret holds its gateway's token", service)
	}
	tokens, err := d.slots(ctx, all[i].Name, secrets.Previous, secrets.Current, secrets.Pending)
	if err != nil {
		return err
	}
	return database.OpenClaw{Container: d, Service: service}.Reload(ctx, tokens...)
}

// slots returns the distinct values that the named slots of a secret hold, in their order.
func (d *daemon) slots(ctx context.Context, name secrets.Name, slots ...secrets.Slot) ([]secrets.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var values []secrets.Value
	for _, slot := range slots {
		item, err := d.store.Get(ctx, name, slot)
		switch {
		case errors.Is(err, secrets.ErrNotFound):
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if !slices.ContainsFunc(values, item.Value.Equal) {
			values = append(values, item.Value)
		}
	}
	return values, nil
}
