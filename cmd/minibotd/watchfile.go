package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// watchFile calls tell once it watches and then soon after the file at path has come, gone, been replaced or been moved away with its
// folder or the folder above, until ctx ends; it blocks that long. tell may be called for nothing, and never of a folder that was put back in place: who counts on a change looks
// by himself, too, now and then. It fails where these folders cannot be watched.
func watchFile(ctx context.Context, path string, tell func()) (err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	folder := filepath.Dir(path) // a file that is renamed into place is another one
	home := filepath.Dir(folder) // one that is moved takes its folders along, of which nothing is told
	if err := errors.Join(watcher.Add(folder), watcher.Add(home)); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	names := []string{filepath.Base(path), filepath.Base(folder), filepath.Base(home)}
	tell()
	for {
		select {
		case e := <-watcher.Events: // it is closed by nobody else
			if slices.Contains(names, filepath.Base(e.Name)) {
				tell()
			}
		case <-watcher.Errors: //nolint:errcheck // whatever it is, events were lost: who is told looks
			tell()
		case <-ctx.Done():
			return nil
		}
	}
}
