package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/hint"
	"minibot/secrets"
	"minibot/supervisor"
)

// fakeRuntime is a world of containers that are healthy from the moment they are started.
type fakeRuntime struct {
	seen   supervisor.Seen
	create error
	takes  time.Duration // of a create
}

func (f *fakeRuntime) Observe(context.Context) (supervisor.Seen, error) { return f.seen, nil }

func (f *fakeRuntime) Watch(ctx context.Context, ready func(), _ func(string, time.Time)) error {
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeRuntime) Do(_ context.Context, action supervisor.Action) error {
	if action.Kind == supervisor.ActionCreate {
		<-time.After(f.takes)
		return f.create
	}
	return nil
}

func TestSettle(t *testing.T) {
	running := supervisor.Container{ID: "1", Running: true, Health: supervisor.HealthHealthy, Instance: "1@1", StartedAt: time.Unix(1, 0)}
	noImage := hint.Wrap(errors.New("image is not on the engine: x"), "docker pull x")
	for _, test := range []struct {
		name    string
		runtime fakeRuntime
		service supervisor.Service
		want    string // of the error; "" is none
		hint    string
		told    string
	}{
		{"healthy", fakeRuntime{seen: supervisor.Seen{Fed: true, Containers: map[string]supervisor.Container{"a": running}}}, supervisor.Service{}, "", "", "a: healthy"},
		{"held back", fakeRuntime{seen: supervisor.Seen{Containers: map[string]supervisor.Container{"a": {ID: "1"}}}}, supervisor.Service{Secrets: true, Missing: []string{"K"}}, "", "", "a: waiting: not set: K"},
		{"the old container stays, the new one cannot be made",
			fakeRuntime{seen: supervisor.Seen{Fed: true, Containers: map[string]supervisor.Container{"a": running}}, create: noImage},
			supervisor.Service{}, "create failed: image is not on the engine: x", "docker pull x", ": create failed: image is not on the engine: x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := testDaemon(t, func(context.Context, string) (secrets.Store, error) { return secrets.NewMemory(), nil })
				d.supervisor = supervisor.New(&test.runtime, supervisor.Options{})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- d.supervisor.Serve(ctx) }()
				ticket := d.supervisor.Apply(supervisor.Wanted{Create: 1, Services: map[string]supervisor.Service{"a": test.service}})
				var told []string
				bounded, stop := context.WithTimeout(ctx, changeTimeout)
				defer stop()
				err := d.settle(bounded, ticket, map[string]bool{"a": true}, func(service, message string) {
					told = append(told, service+": "+message)
				})
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) || hint.Of(err) != test.hint {
					t.Errorf("got %v (%s), want %q (%s)", err, hint.Of(err), test.want, test.hint)
				}
				if !strings.Contains(strings.Join(told, "\n"), test.told) {
					t.Errorf("told %q, want %q", told, test.told)
				}
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if err := d.settle(t.Context(), ticket+1, map[string]bool{}, func(string, string) {}); !errors.Is(err, supervisor.ErrEnded) {
					t.Error(fmt.Errorf("after the end: %w", err))
				}
			})
		})
	}
}
