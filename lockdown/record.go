// Package lockdown keeps a stack down after a suspected compromise: the record of it on disk, and what a lockdown does to
// containers and secrets, for the daemon and for commands that work without one.
//
// It owns state/lockdown.json, which is there from before the first container is killed until the stack may be up again,
// and state/compromised.json, which outlives it. It guarantees that whoever finds the record, or cannot read it, knows that
// nothing may be started. It never holds a value, only names of secrets.
package lockdown

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// ErrNone means that the stack is not locked down.
var ErrNone = errors.New("not locked down")

// State is how far a secret on the list of compromised ones is.
type State string

// The states. From awaiting on, a repeated Replace goes on where it was cut short; a skipped one is as good as done.
const (
	Awaiting State = "awaiting" // the compromised value is current still
	Cleared  State = "cleared"  // likewise, and its previous and pending values are erased
	Replaced State = "replaced" // a new value is current
	Skipped  State = "skipped"  // the compromised value stays, by a person's word
)

// Record is a lockdown.
type Record struct {
	Version int                    `json:"version"`
	Since   time.Time              `json:"since"`
	Reason  string                 `json:"reason,omitempty"` // a person's words
	Secrets map[secrets.Name]State `json:"secrets,omitempty"`
	// Unlocking: a person has ended the lockdown, and the databases are to have their stored passwords before anything
	// else is started.
	Unlocking bool `json:"unlocking,omitempty"`

	// Damaged says why the file could not be read: then all else is zero, and nothing may be started.
	Damaged error `json:"-"`
}

const version = 1

// Locked reports whether nothing may be started. It holds for a nil Record: no.
func (r *Record) Locked() bool { return r != nil && !r.Unlocking }

// Awaiting returns the names whose compromised value has neither been replaced nor skipped, sorted.
func (r *Record) Awaiting() []secrets.Name {
	return r.in(Awaiting, Cleared)
}

func (r *Record) in(states ...State) []secrets.Name {
	if r == nil {
		return nil
	}
	var names []secrets.Name
	for _, name := range slices.Sorted(maps.Keys(r.Secrets)) {
		if slices.Contains(states, r.Secrets[name]) {
			names = append(names, name)
		}
	}
	return names
}

// Listed reports whether name is on the list of compromised secrets.
func (r *Record) Listed(name secrets.Name) bool {
	return r != nil && r.Secrets[name] != ""
}

// list puts names on the list; one that was replaced stays so.
func (r *Record) list(names []secrets.Name) {
	for _, name := range names {
		if state := r.Secrets[name]; state == "" || state == Skipped {
			r.set(name, Awaiting)
		}
	}
}

// skip takes a person's word for names on the list; one that was replaced stays so.
func (r *Record) skip(names []secrets.Name) error {
	for _, name := range names {
		switch r.Secrets[name] {
		case "":
			return hint.Wrap(fmt.Errorf("%w: %s is not among the compromised secrets", control.ErrUsage, name), "minibotd status shows those that wait")
		case Replaced:
		default:
			r.set(name, Skipped)
		}
	}
	return nil
}

func (r *Record) set(name secrets.Name, state State) {
	if r.Secrets == nil {
		r.Secrets = map[secrets.Name]State{}
	}
	r.Secrets[name] = state
}

// Err is what whoever wants to start something is told, or nil when that is allowed. It wraps control.ErrLockedDown.
func (r *Record) Err() error {
	if !r.Locked() {
		return nil
	}
	return hint.Wrap(fmt.Errorf("%w: %s", control.ErrLockedDown, r.Text()), "minibotd unlock")
}

// Text says in a line why nothing is started.
func (r *Record) Text() string {
	if r.Damaged != nil {
		return "the record of the lockdown cannot be read: " + r.Damaged.Error()
	}
	text := "since " + r.Since.Local().Format(time.DateTime)
	if why := r.Why(); why != "" {
		text += ": " + why
	}
	return text
}

// Why is the person's reason, and what waits to be replaced; it may be empty.
func (r *Record) Why() string {
	if r.Damaged != nil {
		return r.Text()
	}
	parts := slices.DeleteFunc([]string{r.Reason}, func(s string) bool { return s == "" })
	if names := r.Awaiting(); len(names) > 0 {
		parts = append(parts, "not replaced yet: "+join(names))
	}
	return strings.Join(parts, "; ")
}

// Unreplaced is why a lockdown cannot end yet, or nil.
func (r *Record) Unreplaced() error {
	if r.Damaged != nil {
		return hint.Wrap(fmt.Errorf("%w: %s", control.ErrLockedDown, r.Text()),
			"minibotd unlock --skip-all, once it is certain that no compromised secret waits to be replaced")
	}
	var errs []error
	for _, name := range r.Awaiting() {
		errs = append(errs, fmt.Errorf("%w: %s is still the compromised one", control.ErrLockedDown, name))
	}
	if len(errs) == 0 {
		return nil
	}
	names := r.Awaiting()
	var skips []string
	for _, name := range names {
		skips = append(skips, "--skip "+string(name))
	}
	return hint.Wrap(oneLine(errs), "mb-secrets rotate --compromised %s, or minibotd unlock %s",
		strings.ReplaceAll(join(names), ",", ""), strings.Join(skips, " "))
}

// lines is several errors in one line, with their common kind said once.
type lines struct{ errs []error }

func oneLine(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &lines{errs}
}

func (l *lines) Unwrap() []error { return l.errs }

func (l *lines) Error() string {
	text := l.errs[0].Error()
	for _, err := range l.errs[1:] {
		text += "; " + strings.TrimPrefix(err.Error(), control.ErrLockedDown.Error()+": ")
	}
	return text
}

func join(names []secrets.Name) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, ", ")
}

// File is where the record of an installation lies. Its methods may be called by several processes at once.
type File struct {
	path, lock, past, project string
}

// In returns the file of an installation.
func In(paths config.Paths) File {
	return File{
		path: filepath.Join(paths.StateDir, "lockdown.json"), past: filepath.Join(paths.StateDir, "compromised.json"),
		project: filepath.Join(paths.StateDir, "project"), lock: filepath.Join(paths.RunDir, "lockdown.lock"),
	}
}

// Path is where the record is while there is one. It is replaced as a whole.
func (f File) Path() string { return f.path }

// Read returns the record, nil where the stack is not locked down. One that cannot be read is Damaged, not absent.
func (f File) Read() *Record {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r := &Record{}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err == nil && r.Version != version {
		err = fmt.Errorf("it has version %d, this program knows %d", r.Version, version)
	}
	if err != nil {
		return &Record{Damaged: fmt.Errorf("%s: %w", f.path, err)}
	}
	return r
}

// patience is how long Begin waits for another command that changes the record: an emergency does not wait for one that hangs.
const patience = time.Second

// Begin records a lockdown, on disk when it returns, before anything is killed. One that goes on stays as it is, its list, its
// reason and its time; one that was ending goes on.
func (f File) Begin(ctx context.Context, reason string) (*Record, error) {
	begin := func() (*Record, error) {
		r := f.Read()
		switch {
		case r == nil, r.Damaged != nil:
			r = &Record{Version: version, Since: time.Now().UTC().Truncate(time.Second), Reason: reason}
		case r.Unlocking:
			r.Since, r.Reason, r.Unlocking = time.Now().UTC().Truncate(time.Second), reason, false
		default:
			return r, nil
		}
		return r, f.write(r)
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var r *Record
	entered := false
	err := control.WithLock(bounded, f.lock, func() (err error) {
		entered = true
		r, err = begin()
		return err
	})
	if !entered && ctx.Err() == nil {
		return begin()
	}
	return r, err
}

// Update changes the record of a lockdown that goes on or is ending; ErrNone when there is none. An error of change leaves it as it is.
func (f File) Update(ctx context.Context, change func(*Record) error) error {
	return control.WithLock(ctx, f.lock, func() error {
		r := f.Read()
		switch {
		case r == nil:
			return ErrNone
		case r.Damaged != nil:
			return r.Unreplaced()
		}
		if err := change(r); err != nil {
			return err
		}
		return f.write(r)
	})
}

// Unlock takes a person's word for the skipped names, or all, and notes that the stack may be up again once its databases
// have their stored passwords: see End. It fails while compromised secrets are not replaced, and is ErrNone without a lockdown.
func (f File) Unlock(ctx context.Context, skip []secrets.Name, all bool) error {
	if r := f.Read(); r != nil && r.Damaged != nil && all {
		return control.WithLock(ctx, f.lock, func() error {
			return f.write(&Record{Version: version, Since: time.Now().UTC(), Unlocking: true})
		})
	}
	return f.Update(ctx, func(r *Record) error {
		if all {
			skip = r.Awaiting()
		}
		if err := r.skip(skip); err != nil {
			return err
		}
		if err := r.Unreplaced(); err != nil {
			if written := f.write(r); written != nil { // what was skipped stays so
				return errors.Join(err, written)
			}
			return err
		}
		r.Unlocking = true
		return nil
	})
}

// Skip takes a person's word that names, on the list from now on, may stay as they are.
func (f File) Skip(ctx context.Context, names []secrets.Name) error {
	return f.Update(ctx, func(r *Record) error {
		r.list(names)
		return r.skip(names)
	})
}

// End removes the record of a lockdown that is ending, and keeps the names of its list for RefuseRollback. A lockdown that
// began anew meanwhile stays, and is control.ErrLockedDown.
func (f File) End(ctx context.Context) error {
	return control.WithLock(ctx, f.lock, func() error {
		r := f.Read()
		if r == nil {
			return nil
		}
		if err := r.Err(); err != nil {
			return err
		}
		if err := f.keep(r); err != nil {
			return err
		}
		if err := os.Remove(f.path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(f.path))
	})
}

func (f File) write(r *Record) error {
	data, err := json.Marshal(r)
	if err == nil {
		err = config.ReplaceFile(f.path, append(data, '\n'))
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("record the lockdown: %w", err), "look at the disk space and the owner of %s", filepath.Dir(f.path))
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
