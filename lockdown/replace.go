package lockdown

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
)

// ErrCompromised means that a value that is to replace a compromised one is that one.
var ErrCompromised = errors.New("this is the compromised value")

// Set stores a value while the stack is locked down, and says what became of it: it is current at once, because no database
// runs that could have another. Of a compromised secret nothing former is kept, and its current value is refused with
// ErrCompromised; of another one the former value becomes the previous one. req is what the compose file declares of it,
// its name at least. The caller is the only one who writes to the store.
func (f File) Set(ctx context.Context, store secrets.Store, req secrets.Requirement, value secrets.Value) (string, error) {
	if err := rotation.Check(req, value); err != nil {
		return "", err
	}
	if f.Read().Listed(req.Name) {
		same, err := f.replace(ctx, store, req.Name, value)
		switch {
		case err != nil:
			return "", err
		case same:
			return fmt.Sprintf("%s has this value already; nothing changes", req.Name), nil
		}
		return fmt.Sprintf("%s is replaced, its former values are erased; it takes effect after minibotd unlock", req.Name), nil
	}
	if err := store.Put(ctx, req.Name, secrets.Pending, value); err != nil {
		return "", fmt.Errorf("store %s: %w", req.Name, err)
	}
	if err := secrets.Promote(ctx, store, req.Name); err != nil {
		return "", fmt.Errorf("store %s: %w", req.Name, err)
	}
	return fmt.Sprintf("%s is changed; it takes effect after minibotd unlock", req.Name), nil
}

// Compromise puts names on the list and replaces by new values all of them that can be generated; those that were replaced in
// this lockdown already stay. required has a requirement for each name. Killed or failed at any point it can be repeated.
// The caller is the only one who writes to the store.
func (f File) Compromise(ctx context.Context, store secrets.Store, required []secrets.Requirement, names []secrets.Name, report func(string)) error {
	for _, name := range names {
		if !slices.ContainsFunc(required, func(r secrets.Requirement) bool { return r.Name == name }) {
			return hint.Wrap(fmt.Errorf("%s: %w: the compose file declares no such secret", name, secrets.ErrNotFound),
				"mb-secrets list shows those it declares; mb-secrets delete %s removes another one", name)
		}
	}
	if err := f.Update(ctx, func(r *Record) error {
		if err := r.Err(); err == nil {
			return ErrNone
		}
		r.list(names)
		return nil
	}); err != nil {
		return err
	}
	for _, name := range names {
		if err := f.clear(ctx, store, name); err != nil {
			return err
		}
	}
	for _, req := range required {
		if !slices.Contains(names, req.Name) || !slices.Contains(f.Read().Awaiting(), req.Name) || req.Generate == nil {
			continue
		}
		value, err := req.Generate.Generate()
		if err != nil {
			return fmt.Errorf("generate %s: %w", req.Name, err)
		}
		if err := rotation.Check(req, value); err != nil {
			return err
		}
		if _, err := f.replace(ctx, store, req.Name, value); err != nil {
			return err
		}
		report(fmt.Sprintf("%s is replaced by a new value, its former ones are erased", req.Name))
	}
	return nil
}

// Replaceable returns the names of all secrets that can be compromised; the name of a database's role is none.
func Replaceable(required []secrets.Requirement) []secrets.Name {
	var names []secrets.Name
	for _, r := range required {
		if r.Initial == "" {
			names = append(names, r.Name)
		}
	}
	return names
}

// clear brings one name of the list as far as it goes without a new value: it finishes what was cut short, and erases
// what is neither current nor to become so.
func (f File) clear(ctx context.Context, store secrets.Store, name secrets.Name) error {
	switch f.Read().state(name) {
	case Awaiting:
		for _, slot := range []secrets.Slot{secrets.Pending, secrets.Previous} {
			if err := erase(ctx, store, name, slot); err != nil {
				return err
			}
		}
		return f.mark(ctx, name, Cleared)
	case Cleared: // what is pending or previous now is there because of replace
		began, err := anyOf(ctx, store, name, secrets.Pending, secrets.Previous)
		if err != nil || !began {
			return err
		}
		return f.promote(ctx, store, name)
	case Replaced:
		return erase(ctx, store, name, secrets.Previous)
	}
	return nil
}

// replace brings a new value of a name on the list into the store, and erases the one before. It reports whether the
// value is one that has replaced the compromised one already.
func (f File) replace(ctx context.Context, store secrets.Store, name secrets.Name, value secrets.Value) (same bool, err error) {
	if err := f.clear(ctx, store, name); err != nil {
		return false, err
	}
	item, err := store.Get(ctx, name, secrets.Current)
	if err != nil && !errors.Is(err, secrets.ErrNotFound) {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	state := f.Read().state(name)
	if item.Value.Equal(value) {
		if state == Replaced {
			return true, nil
		}
		return false, compromised(name)
	}
	if state == Skipped {
		if err := f.mark(ctx, name, Awaiting); err != nil {
			return false, err
		}
		if err := f.clear(ctx, store, name); err != nil {
			return false, err
		}
	}
	if err := store.Put(ctx, name, secrets.Pending, value); err != nil {
		return false, fmt.Errorf("store %s: %w", name, err)
	}
	return false, f.promote(ctx, store, name)
}

// promote brings the pending value of a cleared name into force. The name is marked before what was current is erased: until
// then the previous slot tells that current is the new one.
func (f File) promote(ctx context.Context, store secrets.Store, name secrets.Name) error {
	if err := secrets.Promote(ctx, store, name); err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	if err := f.mark(ctx, name, Replaced); err != nil {
		return err
	}
	return erase(ctx, store, name, secrets.Previous)
}

// Finish erases what a lockdown that is ending must not leave in the store. Call it before End.
func (f File) Finish(ctx context.Context, store secrets.Store) error {
	for _, name := range f.Read().in(Replaced) {
		if err := erase(ctx, store, name, secrets.Previous); err != nil {
			return err
		}
	}
	return nil
}

func (f File) mark(ctx context.Context, name secrets.Name, state State) error {
	return f.Update(ctx, func(r *Record) error {
		r.set(name, state)
		return nil
	})
}

func (r *Record) state(name secrets.Name) State {
	if r == nil {
		return ""
	}
	return r.Secrets[name]
}

func anyOf(ctx context.Context, store secrets.Store, name secrets.Name, slots ...secrets.Slot) (bool, error) {
	for _, slot := range slots {
		_, err := store.Get(ctx, name, slot)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, secrets.ErrNotFound) {
			return false, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return false, nil
}

// Locked is the record when nothing may be started, or nil.
func (f File) Locked() *Record {
	if r := f.Read(); r.Locked() {
		return r
	}
	return nil
}

// Refuse is ErrCompromised when value is the current one of a compromised secret that is not replaced yet.
func (f File) Refuse(name secrets.Name, current, value secrets.Value) error {
	if r := f.Locked(); r == nil || !slices.Contains([]State{Awaiting, Cleared, Skipped}, r.state(name)) || !current.Equal(value) {
		return nil
	}
	return compromised(name)
}

func compromised(name secrets.Name) error {
	return hint.Wrap(fmt.Errorf("%s: %w", name, ErrCompromised), "revoke it where it was made, and make a new one there")
}
