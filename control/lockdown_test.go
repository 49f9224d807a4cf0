package control

import (
	"errors"
	"strings"
	"testing"

	"minibot/secrets"
)

func TestOperationsAboutAPause(t *testing.T) {
	const most = 7 * 24 * 60 * 60
	for _, test := range []struct {
		op   Operation
		want error
	}{
		{Operation{Verb: VerbPause, Service: "a", Seconds: 1}, nil},
		{Operation{Verb: VerbPause, Service: "a", Seconds: most}, nil},
		{Operation{Verb: VerbPause, Service: "a", Seconds: most + 1}, ErrUsage},
		{Operation{Verb: VerbPause, Service: "a", Seconds: -1}, ErrUsage},
		{Operation{Verb: VerbPause, Service: "a"}, ErrUsage},
		{Operation{Verb: VerbPause, Seconds: 1}, ErrUsage},
		{Operation{Verb: VerbPause, Service: "a\n", Seconds: 1}, ErrUsage},
		{Operation{Verb: VerbPause, Service: "a", Seconds: 1, All: true}, ErrUsage},
		{Operation{Verb: VerbResume, Service: "a"}, nil},
		{Operation{Verb: VerbResume}, ErrUsage},
		{Operation{Verb: VerbResume, Service: "a", Seconds: 1}, ErrUsage},
		{Operation{Verb: VerbRestart, Service: "a", Seconds: 1}, ErrUsage},
		{Operation{Verb: VerbUnlock, Seconds: 1}, ErrUsage},
	} {
		if err := test.op.check(); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%+v: %v, want %v", test.op, err, test.want)
		}
	}
}

func TestOperationsAboutALockdown(t *testing.T) {
	for _, test := range []struct {
		op   Operation
		want error
	}{
		{Operation{Verb: VerbLockdown}, nil},
		{Operation{Verb: VerbLockdown, Reason: "key seen in a log"}, nil},
		{Operation{Verb: VerbLockdown, Reason: "two\nlines"}, ErrUsage},
		{Operation{Verb: VerbLockdown, Reason: "\x1b[31m"}, ErrUsage},
		{Operation{Verb: VerbLockdown, Reason: "\xff"}, ErrUsage},
		{Operation{Verb: VerbLockdown, Reason: strings.Repeat("x", maxReason+1)}, ErrUsage},
		{Operation{Verb: VerbLockdown, Service: "a"}, ErrUsage},
		{Operation{Verb: VerbLockdown, All: true}, ErrUsage},
		{Operation{Verb: VerbUnlock}, nil},
		{Operation{Verb: VerbUnlock, Names: []secrets.Name{"A"}}, nil},
		{Operation{Verb: VerbUnlock, All: true}, nil},
		{Operation{Verb: VerbUnlock, Reason: "x"}, ErrUsage},
		{Operation{Verb: VerbUnlock, Names: []secrets.Name{"low"}}, secrets.ErrInvalidName},
		{Operation{Verb: VerbCompromise}, ErrUsage},
		{Operation{Verb: VerbCompromise, All: true}, nil},
		{Operation{Verb: VerbCompromise, Names: []secrets.Name{"A"}}, nil},
		{Operation{Verb: VerbCompromise, Names: []secrets.Name{"A"}, All: true}, ErrUsage},
		{Operation{Verb: VerbReload, All: true}, ErrUsage},
		{Operation{Verb: VerbStop, Reason: "x"}, ErrUsage},
		{Operation{Verb: VerbStart, Names: []secrets.Name{"A"}}, ErrUsage},
	} {
		if err := test.op.check(); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%+v: %v, want %v", test.op, err, test.want)
		}
	}
}
