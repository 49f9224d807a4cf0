package supervisor

import (
	"fmt"
	"testing"
	"time"
)

// layered is a project of n services in ten layers: each needs three of the layer before it to be healthy.
func layered(n int) Wanted {
	w := Wanted{Services: map[string]Service{}}
	width := n / 10
	name := func(layer, i int) string { return fmt.Sprintf("s%02d-%05d", layer, i%width) }
	for layer := range 10 {
		for i := range width {
			s := Service{Name: name(layer, i), Healthcheck: true, Secrets: true}
			for d := range min(layer, 1) * 3 {
				s.DependsOn = append(s.DependsOn, Dependency{Service: name(layer-1, i+d), Condition: Healthy, Required: true, Restart: d == 0})
			}
			w.Services[s.Name] = s
		}
	}
	return w
}

// giant is a world of a layered project in which every action succeeds at once.
type giant struct {
	p      *policy
	st     state
	wanted Wanted
	seen   Seen
	now    time.Time
	runs   int
}

func newGiant(n int) *giant {
	g := &giant{p: &policy{Options{}.withDefaults()}, st: state{services: map[string]*record{}}, wanted: layered(n),
		seen: Seen{Fed: true, Containers: make(map[string]Container, n)}, now: time.Unix(1e9, 0)}
	for name := range g.wanted.Services {
		g.seen.Containers[name] = Container{ID: name, Name: name}
	}
	return g
}

// turn decides once, and carries everything out.
func (g *giant) turn() []Action {
	g.now = g.now.Add(time.Second)
	st, actions, _ := g.p.decide(g.st, g.wanted, g.seen, g.now)
	summarize(st, g.wanted, g.seen, g.now)
	for _, a := range actions {
		g.runs++
		g.seen.Containers[a.Service] = Container{ID: a.Service, Name: a.Service, Running: true, Health: HealthHealthy, StartedAt: g.now,
			Instance: fmt.Sprint(a.Service, "@", g.runs)}
		r := *st.services[a.Service]
		r.busy, r.up = nil, true // as finish, which copies all of the state
		if r.pending != nil {
			r.against = r.pending
		}
		st.services[a.Service] = &r
	}
	g.st = st
	return actions
}

// up starts everything, and returns how many services each turn started.
func (g *giant) up(t testing.TB) []int {
	t.Helper()
	var layers []int
	for range 12 {
		if n := len(g.turn()); n > 0 {
			layers = append(layers, n)
		}
	}
	return layers
}

// Ten thousand services start in the order of their layers, and one that is sick is healed alone, with its followers after it.
func TestTenThousandServices(t *testing.T) {
	g := newGiant(10_000)
	layers := g.up(t)
	if len(layers) != 10 {
		t.Fatalf("started in turns of %v", layers)
	}
	for i, n := range layers {
		if n != 1000 {
			t.Errorf("turn %d started %d services", i, n)
		}
	}
	g.now = g.now.Add(time.Hour)
	g.turn()
	const sick = "s09-00007" // nobody depends on it
	c := g.seen.Containers[sick]
	c.Health = HealthUnhealthy
	g.seen.Containers[sick] = c
	actions := g.turn()
	if len(actions) != 1 || actions[0].Service != sick || actions[0].Kind != ActionRestart || !actions[0].Heal {
		t.Errorf("%+v", actions)
	}
	if actions := g.turn(); len(actions) != 0 {
		t.Errorf("afterwards: %+v", actions)
	}
}

// The cost of a turn grows no faster than the number of services, whether all is well or everything waits for something. The
// bound is loose: ten times the services may take forty times as long on a busy machine.
func TestCostOfATurn(t *testing.T) {
	for name, prepare := range map[string]func(*giant){
		"healthy": func(g *giant) { g.up(t) },
		"waiting": func(g *giant) { // everything waits for what a person stopped
			for name, s := range g.wanted.Services {
				s.Stopped = name < "s01"
				g.wanted.Services[name] = s
			}
		},
		"stopping": func(g *giant) {
			g.up(t)
			for name, s := range g.wanted.Services {
				s.Stopped = true
				g.wanted.Services[name] = s
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			giants := [...]*giant{newGiant(300), newGiant(3000)}
			best := [...]time.Duration{time.Hour, time.Hour}
			for _, g := range giants {
				prepare(g)
			}
			for round := 0; round < 5 || best[1] > 40*best[0] && round < 100; round++ { // more where others keep the machine busy
				for i, g := range giants {
					st, began := g.st, time.Now()
					g.p.decide(st, g.wanted, g.seen, g.now)
					best[i] = min(best[i], time.Since(began))
				}
			}
			if best[1] > 40*best[0] {
				t.Errorf("a turn for 300 services takes %v, for 3,000 %v", best[0], best[1])
			}
		})
	}
}

// BenchmarkTurn is one look's worth of policy and status for healthy services, and for services that all wait.
func BenchmarkTurn(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("healthy/%d", n), func(b *testing.B) {
			g := newGiant(n)
			g.up(b)
			b.ReportAllocs()
			for b.Loop() {
				g.turn()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/service")
		})
		b.Run(fmt.Sprintf("waiting/%d", n), func(b *testing.B) {
			g := newGiant(n)
			g.seen.Fed = false
			b.ReportAllocs()
			for b.Loop() {
				g.p.decide(g.st, g.wanted, g.seen, g.now)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/service")
		})
	}
}
