package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

func TestRotationOverTheWire(t *testing.T) {
	f := newFake(t)
	f.values["A"], f.values["B"] = "canary-a", "canary-b"
	c, _ := serve(t, &Server{Backend: f})
	ctx := t.Context()
	var got []Progress
	r := Rotation{Names: []secrets.Name{"A", "B"}, Rollback: true, Order: Order{By: "ops (ssh)", NoWait: true}}
	if err := c.Rotate(ctx, r, func(p Progress) { got = append(got, p) }); err != nil {
		t.Fatal(err)
	}
	asked := `{"names":["A","B"],"rollback":true,"by":"ops (ssh)","no_wait":true}`
	if len(got) != 3 || got[0].Step != "accept" || got[1].Secret != "B" || got[1].Service != "redis" || got[2].Message != asked {
		t.Errorf("progress %+v", got)
	}
	if f.values["B"] != "canary-rotated" {
		t.Error("nothing rotated")
	}
	if err := c.Rotate(ctx, Rotation{Names: []secrets.Name{"C"}}, nil); !errors.Is(err, secrets.ErrNotFound) || ExitCode(err) != 3 {
		t.Errorf("an unknown name: %v", err)
	}
	if err := c.Rotate(ctx, Rotation{All: true, Due: true}, nil); !errors.Is(err, ErrUsage) || ExitCode(err) != 2 {
		t.Errorf("all and due: %v", err)
	}
	for query, want := range map[string]Rotation{
		`{"names":["A","B"],"rollback":true}`: r,
		`{"all":true}`:                        {All: true, Rehearse: true},
		`{"due":true}`:                        {Due: true},
	} {
		plan, err := c.Plan(ctx, want)
		if err != nil || fmt.Sprint(plan.Notes) != "["+query+"]" || plan.LastTookMS != 1.5 || plan.Secrets[0].Changed == nil || plan.Steps[0].Service != "redis" {
			t.Errorf("plan %+v, %v", plan, err)
		}
	}
	if _, err := c.Plan(ctx, Rotation{Names: []secrets.Name{"a b&all=true"}}); !errors.Is(err, secrets.ErrInvalidName) {
		t.Errorf("a bad name: %v", err)
	}
	receipts, err := c.History(ctx, "A")
	if err != nil || len(receipts) != 1 || receipts[0].Secrets[0] != "A" || receipts[0].Steps[0].TookMS != 12.5 {
		t.Errorf("history %+v, %v", receipts, err)
	}
	if receipts, err = c.History(ctx, "NONE"); err != nil || receipts == nil || len(receipts) != 0 {
		t.Errorf("no history: %v, %v", receipts, err)
	}
	if receipts, err = c.History(ctx, ""); err != nil || len(receipts) != 1 {
		t.Errorf("all of it: %v, %v", receipts, err)
	}
}

func TestNoWait(t *testing.T) {
	f := newFake(t)
	f.busy = true
	c, _ := serve(t, &Server{Backend: f})
	order := ChangeOrder{Changes: []Change{{Name: "A", Generate: true}}, Order: Order{By: "ops"}}
	if err := c.Change(t.Context(), order, nil); err != nil || f.by != "ops" {
		t.Errorf("one that waits: %v, by %q", err, f.by)
	}
	order.NoWait = true
	err := c.Change(t.Context(), order, nil)
	if !errors.Is(err, ErrBusy) || ExitCode(err) != 1 || hint.Of(err) != "mb-secrets history" {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestAges(t *testing.T) {
	const day = 24 * time.Hour
	changed := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	required := []secrets.Requirement{
		{Name: "A", UsedBy: []string{"a"}, MaxAge: 90 * day, Generate: &secrets.Recipe{Length: 32}, RevokeURL: "https://example.com"},
		{Name: "B", MaxAge: 0}, {Name: "C", MaxAge: 90 * day},
	}
	entries := []secrets.Entry{{Name: "A", Slot: secrets.Current, Changed: changed}, {Name: "A", Slot: secrets.Pending, Changed: changed.Add(80 * day)},
		{Name: "A", Slot: secrets.Previous, Changed: changed}, {Name: "B", Slot: secrets.Current, Changed: changed}, {Name: "D", Slot: secrets.Current, Changed: changed}}
	for after, want := range map[time.Duration]string{
		-day: AgeOK, 90*day - 1: AgeOK, 90 * day: AgeDue, 97*day - 1: AgeDue, 97 * day: AgeOverdue, 900 * day: AgeOverdue,
	} {
		rows := SecretRows(required, entries, nil, changed.Add(after))
		a := rows[0]
		if a.Age != want || a.MaxAge != "90d" || !a.Due.Equal(changed.Add(90*day)) || a.State != "pending" || !a.Previous || a.RevokeURL == "" {
			t.Errorf("after %v: %+v, want %s", after, a, want)
		}
		for _, row := range rows[1:] { // no limit, not set, not required
			if row.Age != "" || row.Due != nil || row.Previous || row.Failed != "" {
				t.Errorf("after %v: %+v", after, row)
			}
		}
	}
	for limit, want := range map[time.Duration]string{
		0: "", -1: "", day: "1d", 12 * time.Hour: "12h", 14*day + 12*time.Hour: "14d12h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s",
		10 * time.Hour: "10h", 10 * time.Minute: "10m", 20 * time.Second: "20s",
	} {
		if got := ageText(limit); got != want {
			t.Errorf("%v is %q, want %q", limit, got, want)
		}
	}
}

func TestFailedUntilTheNextChange(t *testing.T) {
	changed := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	receipt := func(kind, outcome string, minutes time.Duration, names ...string) Receipt {
		return Receipt{Kind: kind, Outcome: outcome, Reason: kind + " failed", Secrets: names, Ended: changed.Add(minutes * time.Minute)}
	}
	failed := receipt(KindRotate, OutcomeRolledBack, 1, "A", "B")
	silent := failed
	silent.Reason = ""
	for name, test := range map[string]struct {
		receipts []Receipt
		want     string
	}{
		"no receipt":                  {nil, ""},
		"failed":                      {[]Receipt{receipt(KindSet, OutcomeDone, 0, "A"), failed}, "rotate failed"},
		"without a reason":            {[]Receipt{silent}, "it was rolled back"},
		"of another":                  {[]Receipt{failed, receipt(KindSet, OutcomeDone, 2, "B")}, "rotate failed"},
		"done since":                  {[]Receipt{failed, receipt(KindSet, OutcomeDone, 2, "A")}, ""},
		"under way":                   {[]Receipt{failed, receipt(KindSet, OutcomeUnfinished, 2, "A")}, ""},
		"rehearsed since":             {[]Receipt{failed, receipt(KindRehearse, OutcomeDone, 2, "A")}, "rotate failed"},
		"a failed rehearsal":          {[]Receipt{receipt(KindRehearse, OutcomeRolledBack, 2, "A")}, ""},
		"set without a receipt since": {[]Receipt{receipt(KindSet, OutcomeRolledBack, -1, "A")}, ""},
	} {
		entries := []secrets.Entry{{Name: "A", Slot: secrets.Current, Changed: changed}}
		if got := SecretRows(nil, entries, test.receipts, changed)[0].Failed; got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	rows := SecretRows([]secrets.Requirement{{Name: "A"}}, nil, []Receipt{failed}, changed) // deleted
	if len(rows) != 1 || rows[0].Failed != "" {
		t.Errorf("after delete: %+v", rows)
	}
}

func TestQueryOfAPlan(t *testing.T) {
	q := Rotation{Names: []secrets.Name{"B", "A"}, Rehearse: true, Order: Order{By: "canary", NoWait: true}}.query()
	if got := q.Encode(); got != "all=false&due=false&name=B&name=A&rollback=false" || strings.Contains(got, "canary") {
		t.Error(got)
	}
	if !slices.Equal(q["name"], []string{"B", "A"}) {
		t.Error(q)
	}
}

// A user's name goes with its password, and is nothing to a person.
func TestSecretRowsWithoutUsersNames(t *testing.T) {
	required := []secrets.Requirement{
		{Name: "APP_DB", Rotate: secrets.Rotation{Driver: "postgres", UserName: "APP_DB_USER"}}, {Name: "APP_DB_USER", Initial: "app_a"},
	}
	for _, entries := range [][]secrets.Entry{nil, {{Name: "APP_DB"}, {Name: "APP_DB_USER"}, {Name: "APP_DB_USER", Slot: secrets.Pending}}} {
		if rows := SecretRows(required, entries, nil, time.Now()); len(rows) != 1 || rows[0].Name != "APP_DB" {
			t.Errorf("%+v", rows)
		}
	}
}
