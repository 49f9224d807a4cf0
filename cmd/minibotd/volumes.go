package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/stack"
)

// anewAge is how long status tells of a volume that was made anew: whoever lives with it for a week knows.
const anewAge = 7 * 24 * time.Hour

// dataVolume is what is remembered of a data volume. Nothing of it is forgotten: one that the compose file has again is known.
type dataVolume struct {
	Born     string    `json:"born,omitempty"`
	Services []string  `json:"services,omitempty"`
	Anew     time.Time `json:"anew,omitzero"` // when it was found to be another one than before, until a person starts a service of it
}

// dataVolumes remembers which data volumes the stack had, so that one that is made anew, and thus empty, is not taken for the one before.
// Safe for concurrent use.
type dataVolumes struct {
	path string

	mu    sync.Mutex
	known map[string]dataVolume // by name
}

// readVolumes reads the record. One that cannot be read is none: what is seen next is seen for the first time.
func readVolumes(path string) (*dataVolumes, error) {
	v := &dataVolumes{path: path, known: map[string]dataVolume{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &v.known)
	}
	if err != nil || v.known == nil {
		v.known = map[string]dataVolume{}
	}
	if err != nil {
		err = fmt.Errorf("read which volumes there were from %s: %w", path, err)
	}
	return v, err
}

// see takes in which volumes there are, and returns those that are others than before, by their names.
func (v *dataVolumes) see(list []stack.DataVolume, now time.Time) (anew []stack.DataVolume, err error) {
	return anew, v.change(func(known map[string]dataVolume) {
		for _, seen := range list {
			old, there := known[seen.Name]
			if there && old.Born != seen.Born {
				old.Anew = now
				anew = append(anew, seen)
			}
			old.Born, old.Services = seen.Born, seen.Services
			known[seen.Name] = old
		}
	})
}

// heed forgets what was told of the volumes of a service, or of all for "": a person has started it.
func (v *dataVolumes) heed(service string) error {
	return v.change(func(known map[string]dataVolume) {
		for name, seen := range known {
			if service == "" || slices.Contains(seen.Services, service) {
				seen.Anew = time.Time{}
				known[name] = seen
			}
		}
	})
}

// change keeps what is known on disk where it changes.
func (v *dataVolumes) change(how func(known map[string]dataVolume)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := maps.Clone(v.known)
	how(next)
	if maps.EqualFunc(next, v.known, func(a, b dataVolume) bool {
		return a.Born == b.Born && a.Anew.Equal(b.Anew) && slices.Equal(a.Services, b.Services)
	}) {
		return nil
	}
	v.known = next
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return config.ReplaceFile(v.path, append(data, '\n'))
}

// show is what status tells of them.
func (v *dataVolumes) show(now time.Time) []control.NewVolume {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []control.NewVolume
	for _, name := range slices.Sorted(maps.Keys(v.known)) {
		if seen := v.known[name]; !seen.Anew.IsZero() && now.Sub(seen.Anew) < anewAge {
			list = append(list, control.NewVolume{Name: name, Services: seen.Services, Since: seen.Anew,
				Hint: fmt.Sprintf("if you have a backup of it, put it back (docs/supervision.md); then, or if nothing is missing, `minibotd start %s` ends this warning", seen.Services[0])})
		}
	}
	return list
}

// volumesMade looks which data volumes there are after a create. That this fails is no failure of the create.
func (d *daemon) volumesMade(ctx context.Context, engine engine, project *stack.Project) {
	list, err := engine.DataVolumes(ctx, project)
	if err == nil {
		var anew []stack.DataVolume
		anew, err = d.volumes.see(list, time.Now().Round(0))
		for _, v := range anew {
			d.log.Warn("a data volume was made anew", "volume", v.Name, keyService, strings.Join(v.Services, ", "))
			d.record(control.Event{Kind: "volume", Service: v.Services[0], Message: "volume " + v.Name + " was made anew, empty: the one before is gone"})
		}
	}
	if err != nil {
		d.log.Warn("it is not known which data volumes were made anew", keyError, err)
	}
}
