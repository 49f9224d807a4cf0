package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"minibot/config"
	"minibot/control"
	"minibot/secrets"
	"minibot/stack"
)

// loadProject reads the compose file. What it passes on in the clear is taken from values, or else from the store.
func (d *daemon) loadProject(ctx context.Context, values map[secrets.Name]secrets.Value) (*stack.Project, error) {
	return d.parse(ctx, stack.LoadOptions{
		File: d.paths.Compose, Env: d.config.Env, AllowExposed: d.config.Exposure == config.ExposureWarn,
		Exposed: func(ctx context.Context, names []secrets.Name) (map[secrets.Name]secrets.Value, error) {
			return d.exposedValues(ctx, names, values)
		},
	})
}

// exposedValues returns what the compose file is to pass on. A secret
// that was deleted stays in force in what was made of it.
func (d *daemon) exposedValues(ctx context.Context, names []secrets.Name, given map[secrets.Name]secrets.Value) (map[secrets.Name]secrets.Value, error) {
	entries, err := d.store.List(ctx)
	if err != nil {
		return nil, err
	}
	values := map[secrets.Name]secrets.Value{}
	for _, name := range names {
		value, ok := given[name]
		i := slices.IndexFunc(entries, func(e secrets.Entry) bool { return e.Name == name && e.Slot == secrets.Current })
		if !ok && i >= 0 {
			if value, err = d.read(ctx, entries[i]); err != nil && !errors.Is(err, secrets.ErrNotFound) {
				return nil, err
			}
		}
		d.mu.Lock()
		if value.IsZero() {
			value = d.passedOn[name]
		}
		d.mu.Unlock()
		values[name] = value
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passedOn = values
	return values, nil
}

// projectWith is the project that holds once values are in force: another one only where it passes them on in the clear.
func (d *daemon) projectWith(ctx context.Context, values map[secrets.Name]secrets.Value) (*stack.Project, error) {
	now := d.loaded()
	if !now.Exposes(slices.Collect(maps.Keys(values))) {
		return now, nil
	}
	next, err := d.loadProject(ctx, values)
	if err != nil {
		return nil, err
	}
	if next.Shape() != now.Shape() { // the file was changed meanwhile: that comes into force with the adoption
		return now, nil
	}
	return next, nil
}

// warnExposed says what a project passes on in the clear, when that is news.
func (d *daemon) warnExposed(project *stack.Project) {
	before := map[string]bool{}
	if now := d.loaded(); now != nil {
		for _, f := range now.Exposures {
			before[string(f.Secret)+" "+f.Path] = true
		}
	}
	for _, f := range project.Exposures {
		if !before[string(f.Secret)+" "+f.Path] {
			d.log.Warn("the compose file passes a secret on in the clear", keySecret, f.Secret, keyService, f.Service, "path", f.Path)
			d.record(control.Event{Kind: "secret", Secret: string(f.Secret), Service: f.Service, Message: "the compose file passes it on in the clear: " + f.Path})
		}
	}
}

// exposures are what status says of it.
func exposures(project *stack.Project) []control.Exposed {
	var list []control.Exposed
	for _, f := range project.Exposures {
		list = append(list, control.Exposed{Secret: string(f.Secret), Service: f.Service, Path: f.Path, File: f.File, Line: f.Line})
	}
	return list
}
