package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"minibot/control"
	"minibot/plan"
	"minibot/secrets"
)

const (
	ageInterval = time.Hour      // how often the ages are looked at
	ageRepeat   = 24 * time.Hour // how often one secret is reminded of
)

// ages reminds of secrets that are due, each once a day. Its fields are fixed once it serves.
type ages struct {
	rows   func(context.Context) ([]control.Secret, error)
	record func(control.Event)
	log    *slog.Logger
	now    func() time.Time

	told map[string]time.Time // when each was reminded of
}

func newAges(d *daemon) *ages {
	return &ages{rows: d.rows, record: d.record, log: d.log, now: wallClock}
}

// wallClock reads the clock without its monotonic part, which stands still while the machine sleeps: a day is a day.
func wallClock() time.Time { return time.Now().Round(0) }

// serve looks at the ages at once and then at every tick until ctx ends. What it reminded of is forgotten with it: a
// start of the daemon reminds anew.
func (a *ages) serve(ctx context.Context) {
	a.told = map[string]time.Time{}
	tick := time.NewTicker(ageInterval)
	defer tick.Stop()
	for {
		a.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look reminds of what is due and was not reminded of within a day. A store that does not answer is the next look's: the
// status says what is wrong with it.
func (a *ages) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rows, err := a.rows(ctx)
	if err != nil {
		a.log.Debug("the ages of the secrets are not known now", keyError, err)
		return
	}
	now := a.now()
	for _, s := range rows {
		if s.Age != control.AgeDue && s.Age != control.AgeOverdue {
			delete(a.told, s.Name) // a new value that gets old is news
			continue
		}
		if at, told := a.told[s.Name]; told && now.Sub(at).Abs() < ageRepeat { // the clock may have been set back
			continue
		}
		a.told[s.Name] = now
		text := fmt.Sprintf("is %s (max_age %s): %s", plan.Due(s, now), s.MaxAge, plan.Remedy(s))
		a.log.Warn("a secret is due", keySecret, secrets.Name(s.Name), "age", s.Age, "remedy", plan.Remedy(s))
		a.record(control.Event{Kind: "age", Secret: s.Name, Message: text})
	}
}
