package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"minibot/audit"
	"minibot/config"
	"minibot/control"
	"minibot/secrets"
	"minibot/secrets/migration"
	"minibot/secrets/stores"
	"minibot/stack"
)

// dialPatience is how long an audit waits for an engine before it goes on without.
const dialPatience = 20 * time.Second

// Audit looks for the values of all secrets, in every slot, wherever they must not be. One at a time.
func (d *daemon) Audit(ctx context.Context, report func(control.AuditLine) error) error {
	if !d.auditing.TryLock() {
		return &control.Error{Code: control.CodeBusy, Message: "another audit is under way", HintMsg: "wait until it has ended"}
	}
	defer d.auditing.Unlock()
	d.record(control.Event{Kind: "request", Message: "audit"})
	items, unread, err := readAll(ctx, d.store, d.read)
	if err != nil {
		return err
	}
	d.mu.Lock()
	a := &audit.Auditor{Secrets: items, Paths: d.paths, Project: d.project}
	d.mu.Unlock()
	dialling, cancel := context.WithTimeout(ctx, dialPatience)
	engine, _, err := d.world.connect(dialling)
	cancel()
	if err == nil {
		a.Engine = engine
	}
	summary, err := runAudit(ctx, a, unread, report)
	if engine != nil {
		err = d.world.lost(engine, err)
	}
	if err != nil {
		return err
	}
	d.record(control.Event{Kind: "request", Message: fmt.Sprintf("audit: %d high, %d medium, %d notes", summary.High, summary.Medium, summary.Notes)})
	return nil
}

// readAll reads every value of a store. One that may not be read is named in unread.
func readAll(ctx context.Context, store secrets.Store, read func(context.Context, secrets.Entry) (secrets.Value, error),
) (items []audit.Secret, unread []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entries, err := store.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		value, err := read(ctx, e)
		switch {
		case errors.Is(err, secrets.ErrNotFound): // gone meanwhile
		case errors.Is(err, secrets.ErrDenied):
			unread = append(unread, fmt.Sprintf("%s (%s): not searched for: %v", e.Name, e.Slot, err))
		case err != nil:
			return nil, nil, err
		default:
			items = append(items, audit.Secret{Name: e.Name, Slot: e.Slot, Value: value})
		}
	}
	return items, unread, nil
}

// runAudit searches and reports, the summary last. unread is what the search could not look for.
func runAudit(ctx context.Context, a *audit.Auditor, unread []string, report func(control.AuditLine) error) (control.AuditSummary, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return control.AuditSummary{}, fmt.Errorf("find the home folder: %w", err)
	}
	a.UserHome = home
	a.Secrets = withoutUserNames(a.Secrets, a.Project)
	var left error // the caller has
	searched, err := a.Run(ctx, func(f control.Finding) error {
		if left == nil {
			left = report(control.AuditLine{Finding: &f})
		}
		return left
	}, func(area string) {
		if left == nil {
			left = report(control.AuditLine{Progress: area})
		}
	})
	if err = errors.Join(left, err); err != nil {
		return control.AuditSummary{}, err
	}
	summary := control.AuditSummary{Searched: searched.Searched, Places: searched.Places, High: searched.High, Medium: searched.Medium,
		Notes: searched.Notes, Incomplete: slices.Concat([]string{}, unread, searched.Incomplete)}
	return summary, report(control.AuditLine{Summary: &summary})
}

// withoutUserNames leaves out which of two roles logs in: the compose file names both.
func withoutUserNames(items []audit.Secret, project *stack.Project) []audit.Secret {
	if project == nil {
		return items
	}
	return slices.DeleteFunc(slices.Clone(items), func(item audit.Secret) bool {
		return slices.ContainsFunc(project.Requirements, func(r secrets.Requirement) bool { return r.Rotate.UserName == item.Name })
	})
}

// auditAlone audits without a daemon. The store is open, and locked, while its values are read, and no longer.
func (c *commands) auditAlone(ctx context.Context, paths config.Paths, report func(control.AuditLine) error) error {
	cfg, err := config.Load(paths.Home)
	if err != nil {
		return err
	}
	paths = paths.With(cfg)
	a := &audit.Auditor{Paths: paths}
	var unread []string
	a.Secrets, unread, err = c.readStore(ctx, cfg, paths)
	if err != nil {
		return err
	}
	// A compose file that cannot be loaded is no reason not to search.
	if project, err := stack.Load(ctx, stack.LoadOptions{File: paths.Compose, Env: cfg.Env, AllowExposed: true}); err == nil {
		a.Project = project
	}
	dialling, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	engine, err := stack.Dial(dialling, cfg.DockerHost)
	if err == nil {
		defer func() { _ = engine.Close() }() // the program ends
		a.Engine = engine
	}
	_, err = runAudit(ctx, a, unread, report)
	return err
}

// readStore opens the store, asking for its passphrase where it has one, and reads all of it.
func (c *commands) readStore(ctx context.Context, cfg config.Config, paths config.Paths) (items []audit.Secret, unread []string, err error) {
	if err := migration.Unfinished(paths.Migration, cfg.Store); err != nil {
		return nil, nil, err
	}
	store, err := stores.Open(ctx, stores.Options{Kind: cfg.Store, Home: paths.Home, Passphrase: func() (string, error) {
		passphrase, err := c.io.Hidden(ctx, "passphrase of the store (not shown): ")
		return string(passphrase), err
	}})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, closeStore(store)) }()
	err = control.WithLock(ctx, paths.DaemonLock, func() (err error) {
		items, unread, err = readAll(ctx, store, func(ctx context.Context, e secrets.Entry) (secrets.Value, error) {
			item, err := store.Get(ctx, e.Name, e.Slot)
			return item.Value, err
		})
		return err
	})
	if errors.Is(err, control.ErrDaemonHolds) {
		err = fmt.Errorf("%w: it runs, but does not answer on %s", control.ErrUnreachable, paths.Socket)
	}
	return items, unread, err
}
