package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"minibot/config"
	"minibot/control"
	"minibot/secrets"
)

// Engine is the stack's side of a purge.
type Engine interface {
	Held(ctx context.Context) ([]string, error)             // containers, networks and volumes, in words
	Discard(ctx context.Context, report func(string)) error // removes them all; idempotent
}

// Purge removes secrets and data, too. All fields are required.
type Purge struct {
	Engine Engine
	Names  func(ctx context.Context) ([]string, error)      // of the secrets that there are
	Store  func(ctx context.Context) (secrets.Store, error) // opens the installation's store
}

// What is minibot's own in a home and, after the stem, in a folder of logs.
var ownFiles = []string{"config.toml", "compose.yaml", "store.age", "store.age.lock", "age.key", "run", "state"}

const ownLogs = "minibotd."

// Plan lists what Uninstall would remove for good, and what it would leave in the installation's folder because minibot did not make it.
func (p *Purge) Plan(ctx context.Context, paths config.Paths) (gone, stays []string, err error) {
	held, err := p.Engine.Held(ctx)
	if err != nil {
		return nil, nil, err
	}
	names, err := p.Names(ctx)
	if err != nil {
		return nil, nil, err
	}
	gone = held
	for _, name := range names {
		gone = append(gone, "secret "+name)
	}
	files, stays, err := files(paths)
	for _, file := range files {
		gone = append(gone, "file "+file)
	}
	return gone, stays, err
}

func (p *Purge) steps(paths config.Paths) []step {
	return []step{
		{"data", "remove the stack's containers, networks and volumes from the engine", func(ctx context.Context) (string, bool, error) {
			held, err := p.Engine.Held(ctx)
			return "the engine has nothing of the stack", len(held) == 0, err
		}, func(ctx context.Context, report func(string)) (string, error) {
			return "", p.Engine.Discard(ctx, report)
		}},
		{"secrets", "delete every secret from the store, with its former and pending values", func(ctx context.Context) (string, bool, error) {
			names, err := p.Names(ctx)
			return "the store has none", len(names) == 0, err
		}, p.deleteSecrets},
		{"files", "remove minibot's files from " + paths.Home, func(context.Context) (string, bool, error) {
			list, _, err := files(paths)
			return "there are none", len(list) == 0, err
		}, func(ctx context.Context, report func(string)) (string, error) {
			return "", removeFiles(ctx, paths, report)
		}},
	}
}

func (p *Purge) deleteSecrets(ctx context.Context, _ func(string)) (note string, err error) {
	store, err := p.Store(ctx)
	if errors.Is(err, secrets.ErrNoStore) { // never made, or purged
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if closer, ok := store.(io.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	list, err := store.List(ctx)
	if err != nil {
		return "", err
	}
	for _, entry := range list {
		if err := store.Delete(ctx, entry.Name, entry.Slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
			return "", fmt.Errorf("delete %s: %w", entry.Name, err)
		}
	}
	return "", nil
}

// files lists minibot's own files that are there, and those of others in its home. A compose file elsewhere is not minibot's.
func files(paths config.Paths) (own, stays []string, err error) {
	for _, name := range ownFiles {
		if path := filepath.Join(paths.Home, name); exists(path) {
			own = append(own, path)
		}
	}
	if exists(paths.LogDir) {
		entries, err := os.ReadDir(paths.LogDir)
		if err != nil {
			return nil, nil, fmt.Errorf("look into the folder of logs: %w", err)
		}
		for _, entry := range entries {
			if path := filepath.Join(paths.LogDir, entry.Name()); strings.HasPrefix(entry.Name(), ownLogs) || strings.HasPrefix(entry.Name(), "minibotd-") {
				own = append(own, path)
			} else {
				stays = append(stays, path)
			}
		}
	}
	if exists(paths.Home) {
		left, err := others(paths.Home, append(ownFiles, filepath.Base(paths.LogDir))...)
		if err != nil {
			return nil, nil, err
		}
		stays = append(left, stays...)
	}
	return own, stays, nil
}

// removeFiles removes them under the daemon's lock, and then the folders that are empty.
func removeFiles(ctx context.Context, paths config.Paths, report func(string)) error {
	if exists(paths.RunDir) {
		release, err := control.AcquireLock(ctx, paths.DaemonLock)
		if err != nil {
			return err
		}
		defer func() { _ = release() }() // its file is gone, and the lock ends with this
	}
	own, _, err := files(paths)
	if err != nil {
		return err
	}
	for _, path := range own {
		report("remove " + path)
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove minibot's files: %w", err)
		}
	}
	for _, dir := range []string{paths.LogDir, paths.Home} {
		if left, err := os.ReadDir(dir); err == nil && len(left) == 0 {
			if err := os.Remove(dir); err != nil {
				return fmt.Errorf("remove an empty folder: %w", err)
			}
		}
	}
	return nil
}
