package lockdown

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// past is compromised.json: what became of the secrets of former lockdowns.
type past struct {
	Version int                     `json:"version"`
	Secrets map[secrets.Name]former `json:"secrets"`
}

// former is one secret that was once compromised.
type former struct {
	Since time.Time `json:"since"`          // of the lockdown
	Kept  bool      `json:"kept,omitempty"` // the compromised value was skipped and stays, or is the previous one
}

func (f File) readPast() (past, error) {
	p := past{Version: version, Secrets: map[secrets.Name]former{}}
	data, err := os.ReadFile(f.past)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return p, hint.Wrap(fmt.Errorf("read which secrets were compromised: %w", err), "look at %s", f.past)
	}
	if p.Secrets == nil { // the file says null
		p.Secrets = map[secrets.Name]former{}
	}
	return p, nil
}

func (f File) writePast(p past) error {
	data, err := json.Marshal(p)
	if err == nil {
		err = config.ReplaceFile(f.past, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record which secrets were compromised: %w", err)
	}
	return nil
}

// keep moves the list of a lockdown into the past.
func (f File) keep(r *Record) error {
	if len(r.Secrets) == 0 {
		return nil
	}
	p, err := f.readPast()
	if err != nil {
		return err
	}
	for name, state := range r.Secrets {
		p.Secrets[name] = former{Since: r.Since, Kept: state != Replaced}
	}
	return f.writePast(p)
}

// RefuseRollback is why the previous value of name may not be in force again, or nil: it is, or was and is erased, a
// compromised one. previous tells whether the store has a previous value.
func (f File) RefuseRollback(name secrets.Name, previous bool) error {
	if r := f.Read(); r.Listed(name) {
		return hint.Wrap(fmt.Errorf("%s: its former values are compromised", name), "mb-secrets rotate --compromised %s", name)
	}
	p, err := f.readPast()
	if err != nil {
		return err
	}
	was, listed := p.Secrets[name]
	if !listed || previous && !was.Kept {
		return nil
	}
	text := "and are erased"
	if was.Kept {
		text = "and it was not replaced then"
	}
	return hint.Wrap(fmt.Errorf("%s: its former values count as compromised since %s, %s", name, was.Since.Local().Format(time.DateTime), text),
		"mb-secrets rotate %s, or mb-secrets set %s, makes a new one", name, name)
}

// RefuseRollbacks is why one of names may not get its previous value back, or nil. rows tells which have one.
func (f File) RefuseRollbacks(rows []control.Secret, names []secrets.Name) error {
	for _, name := range names {
		i := slices.IndexFunc(rows, func(s control.Secret) bool { return s.Name == string(name) })
		if err := f.RefuseRollback(name, i >= 0 && rows[i].Previous); err != nil {
			return err
		}
	}
	return nil
}

// Changed erases the previous values of those names whose compromised value was skipped in a former lockdown and has been
// replaced now. Call it after every change that succeeded; until it has, RefuseRollback refuses.
func (f File) Changed(ctx context.Context, store secrets.Store, names []secrets.Name) error {
	p, err := f.readPast()
	if err != nil {
		return err
	}
	done := false
	for _, name := range names {
		was := p.Secrets[name]
		if !was.Kept {
			continue
		}
		if waits, err := anyOf(ctx, store, name, secrets.Pending); err != nil {
			return err
		} else if waits { // the compromised one is current still
			continue
		}
		if err := erase(ctx, store, name, secrets.Previous); err != nil {
			return err
		}
		was.Kept, done = false, true
		p.Secrets[name] = was
	}
	if !done {
		return nil
	}
	return control.WithLock(ctx, f.lock, func() error { return f.writePast(p) })
}

// erase empties a slot; one that is empty is fine.
func erase(ctx context.Context, store secrets.Store, name secrets.Name, slot secrets.Slot) error {
	if err := store.Delete(ctx, name, slot); err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return fmt.Errorf("erase the %s value of %s: %w", slot, name, err)
	}
	return nil
}
