package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"regexp"
	"time"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/lockdown"
	"minibot/plan"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/secrets/migration"
	"minibot/secrets/stores"
	"minibot/stack"
)

// How long a daemon that holds the lock may take to answer, and how often it is asked.
const (
	daemonPatience = 10 * time.Second
	daemonInterval = 100 * time.Millisecond
)

// app is one run of the program. What it has opened it keeps: a passphrase is asked for once.
type app struct {
	io       *console.IO
	homeFlag string
	quiet    bool          // never ask, as in shell completion
	patience time.Duration // how long to wait for a daemon that holds the store and does not answer
	choose   func(context.Context) (kind, why string)
	release  func() error // gives a program that takes this one's place what its user set; may be nil
	security string       // the program of the store "security"; "" is macOS's own

	place   *place
	opened  secrets.Store
	asking  error  // how the passphrase's prompt was interrupted
	answer  string // to that prompt
	project *stack.Project
	noWait  bool // a change fails rather than wait for another one
}

// place is the installation that a command works on.
type place struct {
	config config.Config
	paths  config.Paths
}

// at returns the installation, or an error that wraps secrets.ErrNoStore when there is none.
func (a *app) at() (*place, error) {
	if a.place != nil {
		return a.place, nil
	}
	home, err := commandline.Home(a.homeFlag)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(home); errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(fmt.Errorf("%w: %s does not exist", secrets.ErrNoStore, home), "mb-secrets init")
	}
	return a.open(home)
}

// open reads the configuration of home and makes the directories that are missing in it.
func (a *app) open(home string) (*place, error) {
	paths, err := config.NewPaths(home)
	if err != nil {
		return nil, err
	}
	if err := config.EnsureHome(paths); err != nil {
		return nil, err
	}
	c, err := config.Load(home)
	if err != nil {
		return nil, err
	}
	a.place = &place{config: c, paths: paths.With(c)}
	return a.place, nil
}

// backend returns the daemon where one runs (and true), and otherwise the store itself. A daemon that holds the lock
// and does not answer in time is control.ErrUnreachable.
func (a *app) backend(ctx context.Context) (control.SecretsBackend, bool, error) {
	p, err := a.at()
	if err != nil {
		return nil, false, err
	}
	client := &control.Client{Socket: p.paths.Socket}
	lock := func(ctx context.Context, do func() error) error {
		err := control.WithLock(ctx, p.paths.DaemonLock, do)
		if errors.Is(err, control.ErrDaemonHolds) {
			return hint.Wrap(err, "minibotd has just started; nothing was changed, run this again")
		}
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	tick := time.NewTicker(daemonInterval)
	defer tick.Stop()
	for {
		// Any answer, a refusal too, says that the daemon is there.
		_, err := client.Secrets(bounded)
		switch {
		case ctx.Err() != nil:
			return nil, false, ctx.Err()
		case bounded.Err() == nil && !errors.Is(err, control.ErrUnreachable):
			return client, true, nil
		}
		err = lock(bounded, func() error { return nil })
		switch {
		case err == nil:
			return &local{lock, a.openStore, a.load, a.receipts, lockdown.In(p.paths), a.moveStore}, false, nil
		case !errors.Is(err, control.ErrDaemonHolds) && bounded.Err() == nil:
			return nil, false, err
		}
		select {
		case <-tick.C: // it has just started, or is about to end
		case <-bounded.Done():
			if ctx.Err() != nil {
				return nil, false, ctx.Err()
			}
			err := fmt.Errorf("%w: it holds the store, but does not answer on %s", control.ErrUnreachable, p.paths.Socket)
			return nil, false, hint.Wrap(err, "minibotd status; if it hangs, end it and try again")
		}
	}
}

// list asks the backend for every secret: the daemon, too, when that starts meanwhile and takes the store.
func (a *app) list(ctx context.Context) ([]control.Secret, error) {
	for {
		backend, daemon, err := a.backend(ctx)
		if err != nil {
			return nil, err
		}
		list, err := backend.Secrets(ctx)
		if daemon || !errors.Is(err, control.ErrDaemonHolds) {
			return list, err
		}
	}
}

func (a *app) openStore(ctx context.Context) (secrets.Store, error) {
	if a.opened != nil {
		return a.opened, nil
	}
	if err := migration.Unfinished(a.place.paths.Migration, a.place.config.Store); err != nil {
		return nil, err
	}
	store, err := stores.Open(ctx, a.storeOptions(ctx))
	if a.asking != nil { // ^C is no wrong passphrase
		return nil, a.asking
	}
	if err != nil {
		return nil, err
	}
	a.opened = store // open until the program ends
	return store, nil
}

func (a *app) storeOptions(ctx context.Context) stores.Options {
	return stores.Options{
		Kind:     a.place.config.Store,
		Home:     a.place.paths.Home,
		Security: a.security,
		Passphrase: func() (string, error) {
			if a.quiet {
				return "", console.ErrNoTerminal
			}
			if a.answer != "" {
				return a.answer, nil
			}
			passphrase, err := a.io.Hidden(ctx, "passphrase of the store (not shown): ")
			if errors.Is(err, context.Canceled) {
				a.asking = err
			}
			a.answer = string(passphrase)
			return a.answer, err
		},
	}
}

// load reads the compose file.
func (a *app) load(ctx context.Context) (*stack.Project, error) {
	if a.project != nil {
		return a.project, nil
	}
	project, err := stack.Load(ctx, stack.LoadOptions{File: a.place.paths.Compose, Env: a.place.config.Env,
		AllowExposed: a.place.config.Exposure == config.ExposureWarn})
	if err != nil {
		return nil, err
	}
	a.project = project
	return project, nil
}

// receipts reads the journal of a daemon that does not run.
func (a *app) receipts() ([]control.Receipt, error) {
	list, err := rotation.Receipts(a.place.paths.Rotation)
	return plan.Receipts(list), err
}

// order is what every change says beside its content.
func (a *app) order() control.Order { return control.Order{By: by(), NoWait: a.noWait} }

// by names whoever runs this program, as control takes it.
func by() string {
	person, err := user.Current()
	if err != nil { // a uid without a name
		return ""
	}
	name := unusual.ReplaceAllString(person.Username, "_")
	name = name[:min(len(name), 48)]
	if os.Getenv("SSH_CONNECTION") != "" {
		name += " (ssh)"
	}
	return name
}

var unusual = regexp.MustCompile(`[^A-Za-z0-9._@-]`)
