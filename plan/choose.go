package plan

import (
	"errors"
	"fmt"
	"slices"

	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// Choice is what a rotation is about, by name.
type Choice struct {
	Names  []secrets.Name // to be rotated
	ByHand []secrets.Name // nothing here can make a value of: a person has to set them
	Unset  []secrets.Name // have no value yet
}

// Choose finds out which secrets r is about. A name that was given and cannot be rotated, or rolled back, is an error;
// every such fault is in it: [control.ErrUsage] for one that minibot cannot make a value for, [secrets.ErrNotFound]
// for one that is not set, not known, or has no previous value. Each carries a hint. With All and Due such secrets are listed
// instead. Who names the user of another secret changes together with that, and is never chosen for itself.
func Choose(required []secrets.Requirement, rows []control.Secret, r control.Rotation) (Choice, error) {
	if len(r.Names) > 0 {
		return chooseNames(rows, r)
	}
	companions := map[string]bool{}
	for _, requirement := range required {
		companions[string(requirement.Rotate.UserName)] = true
	}
	var c Choice
	for _, row := range rows {
		name := secrets.Name(row.Name)
		switch {
		case row.State == "unused", companions[row.Name], r.Due && row.Age != control.AgeDue && row.Age != control.AgeOverdue:
		case !row.Generate:
			c.ByHand = append(c.ByHand, name)
		case !row.Set:
			c.Unset = append(c.Unset, name)
		default:
			c.Names = append(c.Names, name)
		}
	}
	return c, nil
}

func chooseNames(rows []control.Secret, r control.Rotation) (Choice, error) {
	var faults []error
	for _, name := range r.Names {
		row, known := find(rows, name)
		switch {
		case !known:
			faults = append(faults, hint.Wrap(fmt.Errorf("%s: %w", name, secrets.ErrNotFound), "mb-secrets list shows the secrets there are"))
		case r.Rollback && !row.Previous:
			err := fmt.Errorf("%s has no value before the current one: %w", name, secrets.ErrNotFound)
			faults = append(faults, hint.Wrap(err, "mb-secrets set %s", name))
		case r.Rollback:
		case !row.Generate:
			faults = append(faults, &control.Error{Code: control.CodeUsage, Message: fmt.Sprintf("minibot cannot make a value for %s", name),
				HintMsg: byHand(rows, name)})
		case !row.Set:
			faults = append(faults, hint.Wrap(fmt.Errorf("%s is not set: %w", name, secrets.ErrNotFound), "mb-secrets generate %s", name))
		}
	}
	return Choice{Names: slices.Sorted(slices.Values(r.Names))}, errors.Join(faults...)
}
