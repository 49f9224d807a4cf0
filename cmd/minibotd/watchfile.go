package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watchFile calls tell once it watches and then soon after the file at path has come, gone or been replaced, until ctx ends; it
// blocks that long. tell may be called for nothing, and never of a folder that was put back in place: who counts on a change looks
// by himself, too, now and then. It fails where the file's folder cannot be watched.
func watchFile(ctx context.Context, path string, tell func()) (err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	folder := filepath.Dir(path) // a file that is renamed into place is another one
	if err := watcher.Add(folder); err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	tell()
	for {
		select {
		case e := <-watcher.Events: // it is closed by nobody else
			if name := filepath.Base(e.Name); name == filepath.Base(path) || name == filepath.Base(folder) {
				tell()
			}
		case <-watcher.Errors: // events were lost
			tell()
		case <-ctx.Done():
			return nil
		}
	}
}
