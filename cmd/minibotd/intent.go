package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"minibot/config"
)

// intent is what a person asked to keep down. It outlives the daemon and the machine's restarts.
type intent struct {
	All      bool     `json:"all,omitempty"`
	Services []string `json:"services,omitempty"` // sorted
}

func readIntent(path string) (intent, error) {
	var i intent
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return i, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &i)
	}
	if err != nil {
		return i, fmt.Errorf("read what was stopped from %s: %w", path, err)
	}
	return i, nil
}

// write replaces the file at path atomically.
func (i intent) write(path string) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return config.ReplaceFile(path, append(data, '\n'))
}

func (i intent) stopped(service string) bool {
	return i.All || slices.Contains(i.Services, service)
}

// stop keeps service down, or everything for "".
func (i intent) stop(service string) intent {
	if service == "" {
		return intent{All: true}
	}
	if i.stopped(service) {
		return i
	}
	services := append(slices.Clone(i.Services), service)
	slices.Sort(services)
	return intent{Services: services}
}

// start lets service up again and, for a stack that is all down, it alone; everything for "".
func (i intent) start(service string, all []string) intent {
	if service == "" {
		return intent{}
	}
	services := i.Services
	if i.All {
		services = all
	}
	return intent{Services: slices.DeleteFunc(slices.Clone(services), func(s string) bool { return s == service })}
}
