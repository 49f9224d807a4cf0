package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"minibot/secrets"
)

// SecretRows makes one row of each required and each stored name, ordered by name. Slots other than current are no
// rows of their own. entries is what [secrets.Store.List] returned, receipts what was changed, newest last; ages are
// those of now. A user's name that changes together with its password is no row.
func SecretRows(required []secrets.Requirement, entries []secrets.Entry, receipts []Receipt, now time.Time) []Secret {
	rows := map[secrets.Name]*Secret{}
	declared := map[secrets.Name]secrets.Requirement{}
	companions := map[secrets.Name]bool{}
	for _, r := range required {
		companions[r.Rotate.UserName] = true
	}
	for _, r := range required {
		if companions[r.Name] {
			continue
		}
		declared[r.Name] = r
		rows[r.Name] = &Secret{Name: string(r.Name), UsedBy: append([]string{}, r.UsedBy...), State: "missing", Description: r.Description,
			Generate: r.Generate != nil, RevokeURL: r.RevokeURL, MaxAge: ageText(r.MaxAge)}
	}
	for _, e := range entries { // by name and slot: current comes before pending, and that before previous
		if companions[e.Name] {
			continue
		}
		row := rows[e.Name]
		if e.Slot == secrets.Previous {
			if row != nil {
				row.Previous = true
			}
			continue
		}
		if row == nil {
			row = &Secret{Name: string(e.Name), UsedBy: []string{}}
			rows[e.Name] = row
		}
		row.Changed = &e.Changed
		requirement, wanted := declared[e.Name]
		switch {
		case e.Slot == secrets.Pending:
			row.State = "pending"
			continue
		case wanted:
			row.Set, row.State = true, "current"
		default:
			row.Set, row.State = true, "unused"
		}
		row.Due, row.Age = ageOf(e.Changed, requirement.MaxAge, now)
	}
	list := make([]Secret, 0, len(rows))
	for _, row := range rows {
		row.Failed = failureOf(*row, receipts)
		list = append(list, *row)
	}
	slices.SortFunc(list, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// What Secret.Age can be beside "".
const (
	AgeOK      = "ok"
	AgeDue     = "due"
	AgeOverdue = "overdue"
)

// grace is how long after it is due a secret is overdue.
const grace = 7 * 24 * time.Hour

// ageOf says when a value that was set at changed is due, and what it is now. Without a limit there is no answer.
func ageOf(changed time.Time, limit time.Duration, now time.Time) (due *time.Time, age string) {
	if limit <= 0 {
		return nil, ""
	}
	at := changed.Add(limit)
	switch {
	case now.Before(at):
		return &at, AgeOK
	case now.Before(at.Add(grace)):
		return &at, AgeDue
	}
	return &at, AgeOverdue
}

// ageText is how a compose file would say it: "90d", "14d12h"; "" for no limit.
func ageText(limit time.Duration) string {
	const day = 24 * time.Hour
	if limit <= 0 {
		return ""
	}
	text := ""
	if days := limit / day; days > 0 {
		text = fmt.Sprintf("%dd", days)
	}
	rest := (limit % day).String() // like 12h0m0s
	if limit%day == 0 {
		return text
	}
	for _, zero := range []string{"m0s", "h0m"} {
		if cut, ok := strings.CutSuffix(rest, zero); ok {
			rest = cut + zero[:1]
		}
	}
	return text + rest
}

// dateGrain is how coarse the dates of a store are, with something to spare.
const dateGrain = 2 * time.Second

// failureOf returns why the last change of a secret was rolled back, or "" where the last one was not, where it was
// set anew since without a receipt, or is set no more.
func failureOf(row Secret, receipts []Receipt) string {
	if row.Changed == nil {
		return ""
	}
	for _, r := range slices.Backward(receipts) {
		if r.Kind == KindRehearse || !slices.Contains(r.Secrets, row.Name) {
			continue
		}
		if r.Outcome != OutcomeRolledBack || row.Changed.After(r.Ended.Add(dateGrain)) {
			return ""
		}
		return cmp.Or(r.Reason, "it was rolled back")
	}
	return ""
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
