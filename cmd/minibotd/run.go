package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"minibot/commandline"
	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/process"
	"minibot/secrets"
	"minibot/secrets/stores"
)

func (c *commands) runCommand() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `run is the daemon, in the foreground: it opens the store, brings the stack up, watches and heals it.

SIGTERM ends the daemon and leaves the stack running. SIGHUP reads the compose file and the store again.
Waiting for the store or the engine is a state, not an end: see minibotd status.`,
		Example: "  minibotd run\n  MINIBOT_HOME=~/other minibotd run\n  minibotd run --docker-host unix:///var/run/docker.sock",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := process.Harden(); err != nil {
				return err
			}
			paths, err := c.paths()
			if err != nil {
				return err
			}
			options := logOptions(os.Stderr) // which is another one from here on
			stderr, lost := divert()
			redact := &secrets.Redaction{}
			c.io.Err = redact.Writer(stderr)
			return runDaemon(cmd.Context(), paths, host, output{c.io, stderr, redact, options}, lost)
		},
	}
	cmd.Flags().StringVar(&host, "docker-host", "", "the engine, in place of docker_host in config.toml: unix:///PATH or tcp://HOST:PORT")
	return cmd
}

// runDaemon holds the daemon's lock and socket while it serves. host is the engine's where that is not for the configuration
// to say; lost tells that a crash would not be reported any more.
func runDaemon(ctx context.Context, paths config.Paths, host string, out output, lost <-chan struct{}) (err error) {
	hangup := notifyHangup(ctx) // first of all: until then the signal would end the program
	out.trim(paths)
	if err := config.EnsureHome(paths); err != nil {
		return err
	}
	cfg, err := configured(paths, host)
	if err != nil {
		return err
	}
	paths = paths.With(cfg)
	release, err := control.AcquireLock(ctx, paths.DaemonLock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	held, err := os.Stat(paths.DaemonLock)
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	log, closeLog := out.open(paths, cfg)
	defer func() { err = errors.Join(err, closeLog()) }()
	events, err := control.OpenEventLog(paths.Events)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	events.Redact = out.redact
	events.Trouble = func(err error) { log.Warn("the event log has a trouble", keyError, err) }
	journal, err := openJournal(paths.Rotation, events)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	d, err := newDaemon(cfg, paths, log, events, out.redact, func(ctx context.Context, kind string) (secrets.Store, error) {
		return stores.Open(ctx, stores.Options{Kind: kind, Home: paths.Home, Passphrase: credential})
	}, journal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	listener, err := control.Listen(paths.Socket)
	if err != nil {
		return err
	}
	log.Info("minibotd started", "version", control.Version, "pid", os.Getpid(), "home", paths.Home)
	crashOnSignal(d)
	group, serving := errgroup.WithContext(ctx)
	endInTime(ctx, serving, log)
	ctx = serving
	group.Go(func() error { stayAwake(ctx, cfg, log); return nil })
	group.Go(func() error { watchFilter(ctx, lost, log); return nil })
	group.Go(func() error { return d.server().Serve(ctx, listener) })
	group.Go(func() error { return d.Serve(ctx, hangup) })
	group.Go(func() error { return watchLock(ctx, paths.DaemonLock, held, log) })
	err = group.Wait()
	log.Info("minibotd ended; the stack goes on without being watched")
	return err
}

// configured reads the configuration, with host in place of its docker_host unless that is "".
func configured(paths config.Paths, host string) (config.Config, error) {
	cfg, err := config.Load(paths.Home)
	if err != nil || host == "" {
		return cfg, err
	}
	cfg.DockerHost = host
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("%w: --docker-host: want unix:///PATH or tcp://HOST:PORT", control.ErrUsage)
	}
	return cfg, nil
}

// server serves d.
func (d *daemon) server() *control.Server {
	return &control.Server{Backend: d, Logger: d.log, Record: d.keep, Redact: d.redact}
}

// lockInterval is how often the daemon makes sure that its lock is still the one a second daemon would find, when nothing tells of a change.
const lockInterval = 30 * time.Second

// untilBeat returns how long it is to the next multiple of interval. What looks at something again and again waits so, that all wake at the same moments:
// an idle process costs as much as it wakes.
func untilBeat(interval time.Duration) time.Duration {
	now := time.Now()
	return now.Truncate(interval).Add(interval).Sub(now.Round(0))
}

// watchLock returns nil when ctx ends, and an error when the lock's file is gone from path: with it, what keeps a second
// daemon away from the stack and the store.
func watchLock(ctx context.Context, path string, held os.FileInfo, log *slog.Logger) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{})
	watching.Go(func() {
		err := watchFile(ctx, path, func() {
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
			}
		})
		if err != nil {
			log.Warn("a lock that is removed is noticed late", keyError, err, "within", lockInterval)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(untilBeat(lockInterval)):
		}
		now, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, held) {
			return hint.Wrap(fmt.Errorf("%s was removed or replaced while minibotd ran", path),
				"the stack goes on; put the folder back if it was moved, and start minibotd again")
		}
	}
}

// notifyHangup passes SIGHUP on until ctx ends; several at once are one.
func notifyHangup(ctx context.Context) <-chan struct{} {
	signals, out := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()
	return out
}

// credential is the store's passphrase as systemd's LoadCredential= hands it over: a file in memory.
func credential() (string, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("%w: it has a passphrase and nobody is here to ask", secrets.ErrLocked)
	}
	data, err := os.ReadFile(dir + "/minibot-passphrase")
	if err != nil {
		return "", fmt.Errorf("%w: %w", secrets.ErrLocked, err)
	}
	return trimNewline(string(data)), nil
}

// shrink gives the memory that loading the project took back to the system.
func shrink() { debug.FreeOSMemory() }
