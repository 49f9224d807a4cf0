package supervisor

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000, 0)

func up(health Health) Container {
	return Container{ID: "i", Running: true, Health: health, Instance: "i@1", StartedAt: epoch}
}

// off takes a container off its network.
func off(c Container) Container {
	c.Detached = "n"
	return c
}

type decideCase struct {
	services   map[string]Service
	containers map[string]Container
	want       string // actions
	reason     string // of service a
}

func decideCases() map[string]decideCase {
	exited := Container{ID: "i", ExitCode: 1, Instance: "i@1", StartedAt: epoch}
	done := Container{ID: "i", Instance: "i@1", StartedAt: epoch}
	optional := []Dependency{{Service: "b", Condition: Healthy}}
	required := []Dependency{{Service: "b", Condition: Healthy, Required: true}}
	return map[string]decideCase{

		"nothing wanted": {nil, map[string]Container{"x": exited}, "", ""},
		"orphans are left alone": {map[string]Service{"a": {}},
			map[string]Container{"a": up(HealthNone), "x": exited}, "", ""},
		"unknown dependency": {map[string]Service{"a": {DependsOn: required}},
			map[string]Container{"a": {}}, "", "depends on an unknown service: b"},
		"cycle": {map[string]Service{"a": {DependsOn: required}, "b": {DependsOn: []Dependency{{Service: "a", Required: true}}}},
			map[string]Container{"a": {}, "b": {}}, "", "dependency cycle through b"},
		"self": {map[string]Service{"a": {DependsOn: []Dependency{{Service: "a", Required: true}}}},
			map[string]Container{"a": {}}, "", "dependency cycle through a"},
		"optional and progressing": {map[string]Service{"a": {DependsOn: optional}, "b": {Healthcheck: true}},
			map[string]Container{"a": {}, "b": up(HealthStarting)}, "", "waits for b to be healthy"},
		"optional and stopped": {map[string]Service{"a": {DependsOn: optional}, "b": {Stopped: true}},
			map[string]Container{"a": {}, "b": exited}, "start a", "not started yet"},
		"optional and unknown": {map[string]Service{"a": {DependsOn: optional}},
			map[string]Container{"a": {}}, "start a", "not started yet"},
		"optional and lacking a secret": {map[string]Service{"a": {DependsOn: optional}, "b": {Missing: []string{"X"}}},
			map[string]Container{"a": {}, "b": {}}, "start a", "not started yet"},
		"one-shot is done": {map[string]Service{"a": {Completes: true}}, map[string]Container{"a": done}, "", "completed"},
		"waits for the health of what is done": {map[string]Service{"a": {DependsOn: required}, "b": {Completes: true}},
			map[string]Container{"a": {}, "b": done}, "", "waits for b to be healthy"},
		"optional and done": {map[string]Service{"a": {DependsOn: optional}, "b": {Completes: true}},
			map[string]Container{"a": {}, "b": done}, "start a", "not started yet"},
		"exit 0 of a server is a death": {map[string]Service{"a": {}}, map[string]Container{"a": done}, "start a", "exited with 0"},
		"the last health of a dead one does not count": {
			map[string]Service{"a": {DependsOn: required}, "b": {Healthcheck: true, Missing: []string{"X"}}},
			map[string]Container{"a": {}, "b": {Health: HealthHealthy, StartedAt: epoch}}, "", "waits for b to be healthy"},
		"a deaf one stays stale": {map[string]Service{"a": {Adopt: AdoptNothing}},
			map[string]Container{"a": {Running: true, Stale: true}}, "", ""},
		"a signal": {map[string]Service{"a": {Adopt: AdoptBySignal}},
			map[string]Container{"a": {Running: true, Stale: true}}, "adopt a", "secret changed"},
		"without a secret": {map[string]Service{"a": {Missing: []string{"X"}}},
			map[string]Container{"a": exited}, "", "not set: X"},
		"off its network": {map[string]Service{"a": {}}, map[string]Container{"a": off(up(HealthNone))}, "connect a", "not in network n"},
		"off its network and unhealthy": {map[string]Service{"a": {Healthcheck: true}},
			map[string]Container{"a": off(up(HealthUnhealthy))}, "connect a", "not in network n"},
		"off its network and down": {map[string]Service{"a": {}}, map[string]Container{"a": off(exited)}, "start a", "exited with 1"},
		"off its network and paused": {map[string]Service{"a": {}},
			map[string]Container{"a": off(Container{Running: true, Paused: true})}, "", "paused"},
		"off its network and wanted down": {map[string]Service{"a": {Stopped: true}}, map[string]Container{"a": off(exited)}, "withdraw", "stopped on request"},
		"off its network and not healed":  {map[string]Service{"a": {NoHeal: true}}, map[string]Container{"a": off(up(HealthNone))}, "", ""},
		"off its network and maintained": {map[string]Service{"a": {Maintenance: epoch.Add(time.Hour)}},
			map[string]Container{"a": off(up(HealthNone))}, "", maintained(epoch.Add(time.Hour))},
		"off its network and waiting": {map[string]Service{"a": {DependsOn: required}, "b": {Healthcheck: true}},
			map[string]Container{"a": off(up(HealthNone)), "b": up(HealthStarting)}, "", "not in network n; waits for b to be healthy"},
		"made by hand and running": {map[string]Service{"a": {}},
			map[string]Container{"a": {Running: true, Foreign: true}}, "create", ""},
		"made by hand and down": {map[string]Service{"a": {}},
			map[string]Container{"a": {Foreign: true}}, "create", "its container was made by hand, or it has two: that is mended"},
		"made by hand and wanted down": {map[string]Service{"a": {Stopped: true}},
			map[string]Container{"a": {Running: true, Foreign: true}}, "stop a", "stopping"},
	}
}

func TestDecide(t *testing.T) {
	for name, tt := range decideCases() {
		t.Run(name, func(t *testing.T) {
			p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
			before := state{services: map[string]*record{}}
			st, actions, _ := p.decide(before, named(Wanted{Services: tt.services}), Seen{Containers: tt.containers}, epoch)
			var got []string
			for _, a := range actions {
				got = append(got, strings.TrimSpace(a.Kind.String()+" "+a.Service))
			}
			if strings.Join(got, ",") != tt.want {
				t.Errorf("actions %q, want %q", got, tt.want)
			}
			if a := st.services["a"]; a != nil && a.view.reason != tt.reason {
				t.Errorf("reason %q, want %q", a.view.reason, tt.reason)
			}
			if len(before.services) != 0 {
				t.Error("decide changed the state it was given")
			}
		})
	}
}

func TestDecideIsPure(t *testing.T) {
	p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
	w := named(stack())
	seen := Seen{Fed: true, Containers: map[string]Container{"db": up(HealthUnhealthy), "cache": up(HealthNone), "app": up(HealthHealthy)}}
	first, _, _ := p.decide(state{services: map[string]*record{}}, w, seen, epoch)
	kept := first.clone()
	a, actionsA, nextA := p.decide(first, w, seen, epoch.Add(time.Second))
	b, actionsB, nextB := p.decide(first, w, seen, epoch.Add(time.Second))
	if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(actionsA, actionsB) || !nextA.Equal(nextB) {
		t.Error("the same input gave another result")
	}
	if !reflect.DeepEqual(first.clone(), kept) {
		t.Error("decide changed the state it was given")
	}
}

func TestDelay(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 6: 32, 7: 60, 100: 60} {
		p := &policy{Options{Rand: func() float64 { return 0 }}.withDefaults()}
		if got := p.delay(0, tries, false); got != want*time.Second {
			t.Errorf("after %d tries: %v", tries, got)
		}
		p.options.Rand = func() float64 { return 0.999 }
		if got := p.delay(0, tries, false); got <= want*time.Second || got > want*time.Second*5/4 {
			t.Errorf("after %d tries with jitter: %v", tries, got)
		}
	}
}
