package plan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// composeFile has a service of each kind; proxy follows web, which depends on both databases.
const composeFile = `
name: planned
services:
  web:
    image: x
    secrets: [PG, RD, TOKEN]
    depends_on: { zdb: { condition: service_healthy }, cache: { condition: service_healthy } }
    x-minibot: { on_change: restart }
  proxy:
    image: x
    depends_on: { web: { condition: service_started, restart: true } }
  audit:
    image: x
    depends_on: { proxy: { condition: service_started } }
  zdb:
    image: x
    secrets: [PG]
    x-minibot: { on_change: none }
  cache:
    image: x
    secrets: [RD]
    x-minibot: { on_change: signal, signal: SIGHUP }
secrets:
  PG: { environment: PG, x-minibot: { generate: {}, rotate: { driver: postgres, service: zdb } } }
  RD: { environment: RD, x-minibot: { generate: {}, rotate: { driver: redis, service: cache } } }
  TOKEN: { environment: TOKEN, x-minibot: { generate: {}, max_age: never } }
  KEY: { environment: KEY, x-minibot: { revoke_url: "https://example.com/k" } }
  NEW: { environment: NEW, x-minibot: { generate: {} } }
`

var day0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func sample(t *testing.T, now time.Time) (*stack.Project, []control.Secret) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(composeFile), 0o600); err != nil {
		t.Fatal(err)
	}
	project, err := stack.Load(t.Context(), stack.LoadOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	var entries []secrets.Entry
	for _, name := range []secrets.Name{"KEY", "PG", "RD", "SPARE", "TOKEN"} {
		entries = append(entries, secrets.Entry{Name: name, Slot: secrets.Current, Changed: day0})
	}
	entries = append(entries, secrets.Entry{Name: "PG", Slot: secrets.Previous, Changed: day0})
	return project, control.SecretRows(project.Requirements, entries, nil, now)
}

func TestPlanIsInTheOrderInWhichThingsHappen(t *testing.T) {
	project, rows := sample(t, day0)
	choice, err := Choose(project.Requirements, rows, control.Rotation{Names: []secrets.Name{"TOKEN", "RD", "PG"}})
	if err != nil {
		t.Fatal(err)
	}
	p := Make(project, rows, choice, nil)
	var steps []string
	for _, s := range p.Steps {
		steps = append(steps, strings.Join([]string{s.Step, s.Secret, s.Service}, " "))
		if s.Effect == "" || s.LastMS != 0 {
			t.Errorf("%+v", s)
		}
	}
	want := "stage PG |stage RD |stage TOKEN |accept RD cache|prove RD cache|prepare  |promote PG |promote RD |promote TOKEN |switch  |verify PG zdb|" +
		"adopt  cache|adopt  zdb|adopt  web|adopt  proxy|see PG zdb|see RD cache|retire PG zdb|retire RD cache"
	if got := strings.Join(steps, "|"); got != want {
		t.Errorf("steps\n got %s\nwant %s", got, want)
	}
	if got, want := fmt.Sprint(p.Services), "[{cache signal [RD]} {zdb none [PG]} {web restart [PG RD TOKEN]} {proxy restart []}]"; got != want {
		t.Errorf("services\n got %s\nwant %s", got, want)
	}
	if s := p.Secrets; len(s) != 3 || s[0].Name != "PG" || s[0].Overlaps || !s[1].Overlaps || s[1].Service != "cache" || s[2].Due != nil || !s[0].Due.Equal(day0.Add(90*24*time.Hour)) {
		t.Errorf("secrets %+v", s)
	}
	if len(p.Notes) > 0 || p.LastTookMS != 0 {
		t.Errorf("notes %v, last %v", p.Notes, p.LastTookMS)
	}
	// A secret that its users merely read has none of a database's steps.
	p = Make(project, rows, Choice{Names: []secrets.Name{"TOKEN"}}, nil)
	steps = nil
	for _, s := range p.Steps {
		steps = append(steps, s.Step+s.Service)
	}
	if got := strings.Join(steps, " "); got != "stage prepare promote switch adoptweb adoptproxy" {
		t.Error(got)
	}
}

func TestStepsArePartOfRotation(t *testing.T) {
	known := map[string]int{}
	for i, s := range rotation.Steps() {
		known[string(s)] = i
	}
	project, rows := sample(t, day0)
	p, last := Make(project, rows, Choice{Names: []secrets.Name{"PG", "RD", "TOKEN"}}, nil), 0
	for _, s := range p.Steps {
		at, ok := known[s.Step]
		if !ok || at < last {
			t.Errorf("%s does not stand there in the order of package rotation", s.Step)
		}
		last = at
	}
}

func TestChoose(t *testing.T) {
	for after, want := range map[time.Duration]string{0: "{[] [] []}", 90 * 24 * time.Hour: "{[PG RD] [KEY] []}", 900 * 24 * time.Hour: "{[PG RD] [KEY] []}"} {
		project, rows := sample(t, day0.Add(after))
		choice, err := Choose(project.Requirements, rows, control.Rotation{Due: true})
		if got := fmt.Sprint(choice); err != nil || got != want {
			t.Errorf("due after %v: %s, %v, want %s", after, got, err, want)
		}
	}
	project, rows := sample(t, day0)
	choice, err := Choose(project.Requirements, rows, control.Rotation{All: true})
	if got := fmt.Sprint(choice); err != nil || got != "{[PG RD TOKEN] [KEY] [NEW]}" {
		t.Errorf("all: %s, %v", got, err)
	}
	notes := Notes(rows, choice)
	if want := "[KEY must be set by hand: mb-secrets set KEY (revoke at https://example.com/k) NEW is not set: mb-secrets generate NEW]"; fmt.Sprint(notes) != want {
		t.Errorf("notes %v", notes)
	}
	p := Make(project, rows, choice, nil)
	if len(p.Secrets) != 4 || p.Secrets[0].Name != "KEY" || p.Secrets[0].Generated || p.Secrets[0].RevokeURL == "" || len(p.Notes) != 2 {
		t.Errorf("%+v", p)
	}
	if p := Make(project, rows, Choice{ByHand: []secrets.Name{"KEY"}}, nil); p.Steps == nil || len(p.Steps) > 0 || len(p.Services) > 0 {
		t.Errorf("nothing to do: %+v", p)
	}
	// Who names a user changes with the password, and is nothing to remind a person of.
	required := project.Requirements
	for i := range required {
		if required[i].Name == "PG" {
			required[i].Rotate.UserName = "KEY"
		}
	}
	if choice, err := Choose(required, rows, control.Rotation{All: true}); err != nil || len(choice.ByHand) > 0 {
		t.Errorf("a companion: %+v, %v", choice, err)
	}
}

func TestChooseNames(t *testing.T) {
	project, rows := sample(t, day0)
	for _, test := range []struct {
		name     secrets.Name
		rollback bool
		exit     int
		hint     string
	}{
		{"PG", false, 0, ""},
		{"PG", true, 0, ""},
		{"KEY", false, 2, "mb-secrets set KEY (revoke at https://example.com/k)"},
		{"SPARE", false, 2, "mb-secrets set SPARE"},
		{"NEW", false, 3, "mb-secrets generate NEW"},
		{"NONE", false, 3, "mb-secrets list shows the secrets there are"},
		{"RD", true, 3, "mb-secrets set RD"},
		{"NONE", true, 3, "mb-secrets list shows the secrets there are"},
	} {
		choice, err := Choose(project.Requirements, rows, control.Rotation{Names: []secrets.Name{test.name}, Rollback: test.rollback})
		if control.ExitCode(err) != test.exit || hint.Of(err) != test.hint || err == nil && fmt.Sprint(choice.Names) != "["+string(test.name)+"]" {
			t.Errorf("%s, rollback %v: %v, %v, hint %q", test.name, test.rollback, choice, err, hint.Of(err))
		}
	}
	_, err := Choose(project.Requirements, rows, control.Rotation{Names: []secrets.Name{"NONE", "KEY"}})
	if !errors.Is(err, control.ErrUsage) || !errors.Is(err, secrets.ErrNotFound) || !strings.Contains(err.Error(), "KEY") {
		t.Errorf("two faults: %v", err)
	}
}

func TestReceiptsAndLastTimes(t *testing.T) {
	at := func(seconds float64) time.Time { return day0.Add(time.Duration(seconds * float64(time.Second))) }
	receipts := Receipts([]rotation.Receipt{
		{ID: "1", Kind: rotation.KindSet, By: "ops", Secrets: []secrets.Name{"PG"}, Began: at(0), Ended: at(1.5), Outcome: rotation.OutcomeDone,
			Steps: []rotation.StepTaken{{Step: rotation.StepStage, Secret: "PG", Began: at(0), Took: 20 * time.Millisecond},
				{Step: rotation.StepSwitch, Began: at(1), Took: 30 * time.Millisecond}, {Step: rotation.StepAdopt, Began: at(1), Took: time.Second}}},
		{ID: "2", Kind: rotation.KindRotate, Secrets: []secrets.Name{"PG"}, Began: at(9), Ended: at(8), Outcome: rotation.OutcomeUnfinished},
		{ID: "3", Kind: rotation.KindRehearse, Secrets: []secrets.Name{"PG"}, Began: at(10), Ended: at(11), Outcome: rotation.OutcomeDone,
			Steps: []rotation.StepTaken{{Step: rotation.StepStage, Secret: "PG", Took: time.Hour}}},
		{ID: "4", Kind: rotation.KindRotate, Secrets: []secrets.Name{"PG"}, Began: at(10), Ended: at(11), Outcome: rotation.OutcomeRolledBack, Reason: "why"},
	})
	r := receipts[0]
	if r.TookMS != 1500 || r.By != "ops" || r.Steps[0].TookMS != 20 || r.Steps[0].Secret != "PG" || r.Hint != "" || r.Outcome != control.OutcomeDone {
		t.Errorf("%+v", r)
	}
	if r := receipts[1]; r.TookMS != 0 || r.Hint == "" || r.Steps == nil {
		t.Errorf("with a clock that was set back: %+v", r)
	}
	if receipts[3].Reason != "why" || receipts[3].Outcome != control.OutcomeRolledBack {
		t.Errorf("%+v", receipts[3])
	}
	project, rows := sample(t, day0)
	last := func(p control.Plan, step, secret string) float64 {
		for _, s := range p.Steps {
			if s.Step == step && s.Secret == secret {
				return s.LastMS
			}
		}
		t.Errorf("no step %s %s", step, secret)
		return 0
	}
	p := Make(project, rows, Choice{Names: []secrets.Name{"PG"}}, receipts)
	if p.LastTookMS != 1500 || last(p, "stage", "PG") != 20 || last(p, "switch", "") != 30 || last(p, "promote", "PG") != 0 {
		t.Errorf("%+v", p)
	}
	if last(p, "adopt", "") != 0 { // of three services: nobody knows which
		t.Errorf("%+v", p.Steps)
	}
	p = Make(project, rows, Choice{Names: []secrets.Name{"PG", "RD"}}, receipts)
	if p.LastTookMS != 0 || last(p, "stage", "PG") != 20 || last(p, "stage", "RD") != 0 {
		t.Errorf("%+v", p)
	}
	for name, want := range map[secrets.Name]int{"": 4, "PG": 4, "RD": 0} {
		if got := Of(receipts, name); len(got) != want {
			t.Errorf("%q: %d receipts", name, len(got))
		}
	}
}

func TestDueInWords(t *testing.T) {
	const day = 24 * time.Hour
	for after, want := range map[time.Duration]string{
		0: "in 90 days", time.Second: "in 90 days", 89*day - 1: "in 2 days", 89 * day: "in 1 day", 90*day - 1: "in 1 day", 90 * day: "due today",
		91 * day: "due for 1 day", 92 * day: "due for 2 days", 97 * day: "overdue for 7 days", -day: "in 91 days",
	} {
		_, rows := sample(t, day0.Add(after))
		if got := Due(rows[2], day0.Add(after)); got != want {
			t.Errorf("%s after %v: %q, want %q", rows[2].Name, after, got, want)
		}
	}
	_, rows := sample(t, day0)
	for name, want := range map[secrets.Name]string{"PG": "mb-secrets rotate PG", "KEY": "mb-secrets set KEY (revoke at https://example.com/k)"} {
		row, _ := find(rows, name)
		if got := Remedy(row); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if row, _ := find(rows, "TOKEN"); Due(row, day0) != "-" {
		t.Error("one without a limit is due")
	}
}

// A plan says of a command what the rotation does with it: only one that is declared so holds two values at once.
func TestACommandHoldsTwoValuesOnlyWhereItSaysSo(t *testing.T) {
	for _, overlaps := range []bool{false, true} {
		k := kindOf(secrets.Rotation{Driver: "exec", Overlaps: overlaps})
		if k.overlaps != overlaps || k.switches == overlaps || (k.accept != "") != overlaps {
			t.Errorf("overlaps %v: %+v", overlaps, k)
		}
	}
}
