package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/control"
	"minibot/secrets"
)

// TestAgesAreToldOnceADay lives through a month with one secret that gets due, one that is replaced, one without a limit and
// one that a person has to set.
func TestAgesAreToldOnceADay(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		set := map[secrets.Name]time.Time{"KEY": begin.Add(-100 * day), "MADE": begin.Add(-89*day - 12*time.Hour), "NEVER": begin.Add(-900 * day), "UNSET": {}}
		required := []secrets.Requirement{{Name: "KEY", MaxAge: 90 * day, RevokeURL: "https://example.com/k"},
			{Name: "MADE", MaxAge: 90 * day, Generate: &secrets.Recipe{Length: 32}}, {Name: "NEVER"}, {Name: "UNSET", MaxAge: 90 * day}}
		locked, asked := false, 0
		var events []string
		log := &logBuffer{}
		a := &ages{log: slog.New(slog.NewTextHandler(log, nil)), now: time.Now,
			record: func(e control.Event) {
				events = append(events, fmt.Sprintf("%v %s %s %s", time.Since(begin).Hours(), e.Kind, e.Secret, e.Message))
			},
			rows: func(context.Context) ([]control.Secret, error) {
				asked++
				if locked {
					return nil, secrets.ErrLocked
				}
				var entries []secrets.Entry
				for _, name := range []secrets.Name{"KEY", "MADE", "NEVER"} {
					entries = append(entries, secrets.Entry{Name: name, Slot: secrets.Current, Changed: set[name]})
				}
				return control.SecretRows(required, entries, nil, time.Now()), nil
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.serve(ctx); close(done) }()
		until := func(hours time.Duration, want ...string) {
			t.Helper()
			<-time.After(hours*time.Hour + time.Minute - time.Since(begin))
			synctest.Wait()
			if got := strings.Join(events, "\n"); got != strings.Join(want, "\n") {
				t.Errorf("until %d h:\n got %s\nwant %s", hours, got, strings.Join(want, "\n"))
			}
			events = nil
		}
		key := " (max_age 90d): mb-secrets set KEY (revoke at https://example.com/k)"
		until(0, "0 age KEY is overdue for 10 days"+key)
		until(11)
		until(12, "12 age MADE is due today (max_age 90d): mb-secrets rotate MADE")
		until(24, "24 age KEY is overdue for 11 days"+key)
		until(36, "36 age MADE is due for 1 day (max_age 90d): mb-secrets rotate MADE")
		locked = true
		until(58) // for a night nobody can look
		locked = false
		set["KEY"] = time.Now()
		until(60, "60 age MADE is due for 2 days (max_age 90d): mb-secrets rotate MADE")
		set["MADE"] = time.Now().Add(-97 * day) // as if it had been restored from somewhere
		until(83)
		until(84, "84 age MADE is overdue for 7 days (max_age 90d): mb-secrets rotate MADE")
		set["MADE"] = time.Now()
		until(200)
		if asked != 201 {
			t.Errorf("asked %d times", asked)
		}
		cancel()
		<-done
		if text := log.String(); strings.Count(text, "level=WARN") != 6 || !strings.Contains(text, `msg="a secret is due" secret=MADE age=due remedy="mb-secrets rotate MADE"`) {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// A clock that jumps neither silences a reminder nor repeats it: a day is a day of the wall's clock, in both directions.
func TestAgesAfterClockJumps(t *testing.T) {
	now, told := time.Now(), 0
	a := &ages{log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }, told: map[string]time.Time{},
		record: func(control.Event) { told++ },
		rows: func(context.Context) ([]control.Secret, error) {
			return []control.Secret{{Name: "KEY", Age: control.AgeDue, Due: &now, MaxAge: "90d"}}, nil
		}}
	for i, step := range []struct {
		jump time.Duration
		want int
	}{{0, 1}, {time.Hour, 1}, {30 * time.Hour, 2}, {-time.Hour, 2}, {-72 * time.Hour, 3}} {
		now = now.Add(step.jump)
		if a.look(t.Context()); told != step.want {
			t.Errorf("step %d: told %d times, want %d", i, told, step.want)
		}
	}
	if strings.Contains(newAges(&daemon{}).now().String(), "m=") { // the monotonic part
		t.Error("the clock of the reminders stands still during a sleep")
	}
}
