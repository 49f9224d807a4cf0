package plan

import (
	"fmt"
	"time"

	"minibot/control"
	"minibot/secrets"
)

// Due says in words when a secret is due: "in 90 days", "due today", "overdue for 9 days"; "-" for one that never is.
func Due(s control.Secret, now time.Time) string {
	const day = 24 * time.Hour
	if s.Due == nil {
		return "-"
	}
	if s.Age == control.AgeOK {
		return "in " + days((s.Due.Sub(now)+day-1)/day)
	}
	if late := now.Sub(*s.Due) / day; late > 0 {
		return s.Age + " for " + days(late)
	}
	return s.Age + " today"
}

func days(n time.Duration) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// Remedy is the command that gives a secret a new value.
func Remedy(s control.Secret) string {
	if s.Generate {
		return "mb-secrets rotate " + s.Name
	}
	return byHand([]control.Secret{s}, secrets.Name(s.Name))
}
