package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"minibot/config"
)

// intent is what a person asked to keep down, or to leave alone for a while. It outlives the daemon and the machine's restarts.
type intent struct {
	All         bool                 `json:"all,omitempty"`
	Services    []string             `json:"services,omitempty"`    // sorted
	Maintenance map[string]time.Time `json:"maintenance,omitempty"` // by service: until when it is not healed
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
		return intent{All: true, Maintenance: i.Maintenance}
	}
	if i.stopped(service) {
		return i
	}
	services := append(slices.Clone(i.Services), service)
	slices.Sort(services)
	return intent{Services: services, Maintenance: i.Maintenance}
}

// start lets service up again and, for a stack that is all down, it alone; everything for "".
func (i intent) start(service string, all []string) intent {
	if service == "" {
		return intent{Maintenance: i.Maintenance}
	}
	services := i.Services
	if i.All {
		services = all
	}
	return intent{Services: slices.DeleteFunc(slices.Clone(services), func(s string) bool { return s == service }), Maintenance: i.Maintenance}
}

// pause leaves service alone until then; the zero time ends that. What is over at now is forgotten.
func (i intent) pause(service string, until, now time.Time) intent {
	maintenance := maps.Clone(i.Maintenance)
	if maintenance == nil {
		maintenance = map[string]time.Time{}
	}
	maintenance[service] = until
	maps.DeleteFunc(maintenance, func(_ string, until time.Time) bool { return !now.Before(until) })
	return intent{All: i.All, Services: i.Services, Maintenance: maintenance}
}
