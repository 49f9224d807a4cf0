package main

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/secrets"
	"minibot/stack"
)

func TestPauseIsKeptBeforeItCounts(t *testing.T) {
	d := testDaemon(t, func(context.Context, string) (secrets.Store, error) { return secrets.NewMemory(), nil })
	d.project = &stack.Project{Services: map[string]stack.Service{"a": {Name: "a"}, "b": {Name: "b"}}}
	rest := func(op control.Operation) (said string) {
		t.Helper()
		if err := d.rest(op, func(_, message string) { said += message }); err != nil {
			t.Fatal(err)
		}
		return said
	}
	before := time.Now()
	if said := rest(control.Operation{Verb: control.VerbPause, Service: "a", Seconds: 90}); !strings.HasPrefix(said, "healing is paused until 20") {
		t.Error(said)
	}
	kept, err := readIntent(d.paths.Intent)
	if err != nil || len(kept.Maintenance) != 1 || !kept.Maintenance["a"].Equal(d.intent.Maintenance["a"]) {
		t.Errorf("kept %+v, %v; in force %+v", kept, err, d.intent)
	}
	w := d.wanted()
	if until := w.Services["a"].Maintenance; until.Before(before.Add(90*time.Second)) || until.After(time.Now().Add(90*time.Second)) || !w.Services["b"].Maintenance.IsZero() {
		t.Errorf("%+v", w.Services)
	}
	if said := rest(control.Operation{Verb: control.VerbResume, Service: "b"}); said != "its healing is not paused" {
		t.Error(said)
	}
	if said := rest(control.Operation{Verb: control.VerbResume, Service: "a"}); said != "healing goes on" || len(d.intent.Maintenance) != 0 {
		t.Errorf("%s, %+v", said, d.intent)
	}
	if err := os.RemoveAll(d.paths.StateDir); err != nil {
		t.Fatal(err)
	}
	err = d.rest(control.Operation{Verb: control.VerbPause, Service: "a", Seconds: 90}, func(_, message string) { t.Error(message) })
	if err == nil || len(d.intent.Maintenance) != 0 {
		t.Errorf("without a folder to keep it in: %v, %+v", err, d.intent)
	}
}

// A start also tries again what was given up, of the services that it names.
func TestStartIsAReasonToTryAgain(t *testing.T) {
	d := testDaemon(t, func(context.Context, string) (secrets.Store, error) { return secrets.NewMemory(), nil })
	d.project = &stack.Project{Services: map[string]stack.Service{"a": {Name: "a"}, "b": {Name: "b"}}}
	for _, test := range []struct {
		op   control.Operation
		want map[string]uint64
	}{
		{control.Operation{Verb: control.VerbStop}, map[string]uint64{}},
		{control.Operation{Verb: control.VerbStart, Service: "a"}, map[string]uint64{"a": 1}},
		{control.Operation{Verb: control.VerbStart}, map[string]uint64{"a": 2, "b": 1}},
	} {
		if _, err := d.intend(test.op); err != nil || !reflect.DeepEqual(d.revisions, test.want) {
			t.Errorf("%+v: %v, %v", test.op, d.revisions, err)
		}
	}
}
