package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"minibot/secrets"
)

// SecretRows makes one row of each required and each stored name, ordered by name. Slots other than current are no
// rows of their own. entries is what [secrets.Store.List] returned.
func SecretRows(required []secrets.Requirement, entries []secrets.Entry) []Secret {
	rows := map[secrets.Name]*Secret{}
	declared := map[secrets.Name]bool{}
	for _, r := range required {
		declared[r.Name] = true
		rows[r.Name] = &Secret{Name: string(r.Name), UsedBy: append([]string{}, r.UsedBy...), State: "missing", Description: r.Description, Generate: r.Generate != nil}
	}
	for _, e := range entries { // by name and slot: current comes before pending
		if e.Slot == secrets.Previous {
			continue
		}
		row := rows[e.Name]
		if row == nil {
			row = &Secret{Name: string(e.Name), UsedBy: []string{}}
			rows[e.Name] = row
		}
		row.Changed = &e.Changed
		switch {
		case e.Slot == secrets.Pending:
			row.State = "pending"
		case declared[e.Name]:
			row.Set, row.State = true, "current"
		default:
			row.Set, row.State = true, "unused"
		}
	}
	list := make([]Secret, 0, len(rows))
	for _, row := range rows {
		list = append(list, *row)
	}
	slices.SortFunc(list, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// DeleteSecret empties every slot of name, current last, so that whoever is interrupted finds it still there and can
// repeat. A name with nothing but a previous value is secrets.ErrNotFound.
func DeleteSecret(ctx context.Context, store secrets.Store, name secrets.Name) error {
	found := false
	for _, slot := range []secrets.Slot{secrets.Previous, secrets.Pending, secrets.Current} {
		switch err := store.Delete(ctx, name, slot); {
		case err == nil:
			found = found || slot != secrets.Previous
		case !errors.Is(err, secrets.ErrNotFound):
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s: %w", name, secrets.ErrNotFound)
	}
	return nil
}
