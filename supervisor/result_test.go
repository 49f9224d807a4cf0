package supervisor

import (
	"fmt"
	"testing"
	"time"
)

// Who waits for a one-shot does not start on the result of before while it is started again; one that runs again is as good as any.
func TestAResultOfBeforeDoesNotCountWhileItIsStartedAgain(t *testing.T) {
	done := Container{ID: "i", Instance: "i@1", StartedAt: epoch, FinishedAt: epoch.Add(time.Second)}
	again := Container{ID: "i", Instance: "i@2", StartedAt: epoch.Add(time.Minute), Running: true}
	for _, test := range []struct {
		name      string
		condition Condition
		busy      *Action
		once      Container
		starts    bool
	}{
		{"nothing in flight, for its end", Completed, nil, done, true},
		{"nothing in flight, for its start", Started, nil, done, true},
		{"a start in flight, for its end", Completed, &Action{Kind: ActionStart, Service: "once"}, done, false},
		{"a start in flight, for its start", Started, &Action{Kind: ActionStart, Service: "once"}, done, false},
		{"it runs again, for its end", Completed, &Action{Kind: ActionStart, Service: "once"}, again, false},
		{"it runs again, for its start", Started, &Action{Kind: ActionStart, Service: "once"}, again, true},
		{"a restart in flight", Started, &Action{Kind: ActionRestart, Service: "once"}, again, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
			w := named(Wanted{Services: map[string]Service{"once": {Completes: true},
				"user": {DependsOn: []Dependency{{Service: "once", Condition: test.condition, Required: true}}}}})
			seen := Seen{Containers: map[string]Container{"once": done, "user": {ID: "u"}}}
			w.Services["user"] = Service{Name: "user", DependsOn: w.Services["user"].DependsOn, Stopped: true}
			st, _, _ := p.decide(state{services: map[string]*record{}}, w, seen, epoch)
			st.services["once"].busy = test.busy
			w.Services["user"] = Service{Name: "user", DependsOn: w.Services["user"].DependsOn}
			seen.Containers["once"] = test.once
			_, actions, _ := p.decide(st, w, seen, epoch.Add(time.Minute))
			want := "[]"
			if test.starts {
				want = "[start user]"
			}
			var got []string
			for _, a := range actions {
				got = append(got, a.Kind.String()+" "+a.Service)
			}
			if fmt.Sprint(got) != want {
				t.Errorf("%v, want %s", got, want)
			}
		})
	}
}
