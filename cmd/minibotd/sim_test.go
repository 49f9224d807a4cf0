package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/control"
	"minibot/database"
	"minibot/secrets"
)

const (
	simHarm    = 20 * time.Minute // how long a seed's machine is harmed
	simMend    = 25 * time.Minute // how long the stack may take to be well after that: two waits of finishChanges, and a backoff
	simQuiet   = 5 * time.Minute  // how long it is watched then
	simShown   = 200              // lines of a failed seed's history
	simDefault = 500
)

// simFolder is on a file system in memory where there is one: syncing costs nothing there.
func simFolder(t testing.TB) string {
	t.Helper()
	root := "/dev/shm"
	if _, err := os.Stat(root); err != nil {
		root = ""
	}
	dir, err := os.MkdirTemp(root, "minibot-sim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of this test alone
	return dir
}

// The whole daemon against a machine that is harmed at random for a while, then left alone: see simHarms for what happens,
// simLaw for what must never, and settled for how it must end. MINIBOT_SIM_SEEDS is how many seeds, or one as "=SEED".
func TestSim(t *testing.T) {
	parse, seeds := simLoader(), simSeeds(t)
	workers := min(runtime.GOMAXPROCS(0), len(seeds))
	for w := range workers {
		t.Run(fmt.Sprint("worker ", w), func(t *testing.T) {
			t.Parallel()
			failed := 0
			for i := w; i < len(seeds); i += workers {
				if faults, history := simulate(t, seeds[i], parse); len(faults) > 0 {
					failed++
					t.Errorf("seed %d: %s", seeds[i], strings.Join(faults, "\n"))
					if failed == 1 { // one history is enough to read
						shown := len(history)
						if len(seeds) > 1 {
							shown = min(shown, simShown)
						}
						t.Logf("%sto repeat it: GOMAXPROCS=1 MINIBOT_SIM_SEEDS==%d go test -count=1 -run 'TestSim$' ./cmd/minibotd; keep it in testdata/sim/seeds",
							written(history[len(history)-shown:]), seeds[i])
					}
				}
			}
		})
	}
}

func written(history []simLine) string {
	var b strings.Builder
	for _, l := range history {
		fmt.Fprintln(&b, l)
	}
	return b.String()
}

// simSeeds are those that failed once, and then as many as are asked for.
func simSeeds(t *testing.T) []uint64 {
	t.Helper()
	text := os.Getenv("MINIBOT_SIM_SEEDS")
	if one, only := strings.CutPrefix(text, "="); only {
		seed, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	kept, err := os.ReadFile("testdata/sim/seeds")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for line := range strings.Lines(string(kept)) {
		field, _, _ := strings.Cut(line, "#")
		if field = strings.TrimSpace(field); field != "" {
			seed, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			seeds = append(seeds, seed)
		}
	}
	count := simDefault
	if text != "" {
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range uint64(count) {
		seeds = append(seeds, seed)
	}
	return seeds
}

// simulate runs one seed, and returns what was wrong and what happened.
func simulate(t *testing.T, seed uint64, parse simParse) (faults []string, history []simLine) {
	t.Helper()
	dir := filepath.Join(simFolder(t), fmt.Sprint(seed))
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, seed, dir, parse)
		s.live()
		faults, history = s.law.faults, s.lines
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return faults, history
}

// live is one seed's history.
func (s *sim) live() {
	s.boot(s.home())
	s.well(simMend)
	s.m.mu.Lock()
	s.m.harmful = true
	s.m.mu.Unlock()
	for end := time.Now().Add(simHarm); time.Now().Before(end) && len(s.law.faults) == 0; {
		s.rest(time.Duration(s.rng.ExpFloat64() * float64(15*time.Second)))
		s.harm()
		s.look()
	}
	s.mend()
	s.rest(2 * time.Minute) // what was asked for shows, and what it brings
	s.well(simMend)
	s.settled()
	s.end()
	s.orders.Wait()
	s.searched()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.down(false) // ends what is still to happen to a container
}

// over ends the simulation, and tells which laws were broken.
func (s *sim) over(t *testing.T) {
	s.end()
	for _, fault := range s.law.faults {
		t.Error(fault)
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.down(false) // ends what is still to happen to a container
}

// mend ends the harm, and what only a person can end.
func (s *sim) mend() {
	s.say("--- the harm ends")
	s.store.Unlock()
	s.store.Deny(false)
	s.m.mu.Lock()
	s.m.harmful = false
	clear(s.m.modes)
	s.m.back()
	s.m.mu.Unlock()
	s.everyone(func(c *simContainer) { s.m.hold(c, false) })
	s.law.excuse()
	s.order("unlock, reload, start", func(ctx context.Context, d *daemon) error {
		return errors.Join(s.operation(control.VerbUnlock, "")(ctx, d), s.operation(control.VerbReload, "")(ctx, d),
			s.operation(control.VerbStart, "")(ctx, d))
	})
}

// well waits for a healthy stack, and for the end of everything that was asked for.
func (s *sim) well(most time.Duration) {
	for end := time.Now().Add(most); ; s.rest(10 * time.Second) {
		status := s.look()
		if status.Phase == control.PhaseHealthy && s.atRest() {
			return
		}
		if status.Phase == control.PhaseLockedDown { // by an order that came late
			s.order("unlock", s.operation(control.VerbUnlock, ""))
		} else if s.intent().All || len(s.intent().Services) > 0 {
			s.order("start", s.operation(control.VerbStart, ""))
		}
		if time.Now().After(end) {
			s.law.broken("after %v: %s: %s; waiting: %v", most, status.Phase, status.Reason, !s.atRest())
			return
		}
	}
}

// atRest tells whether nothing waits in the store or in the journal.
func (s *sim) atRest() bool {
	entries, err := s.store.List(s.t.Context())
	waiting := slices.ContainsFunc(entries, func(e secrets.Entry) bool { return e.Slot == secrets.Pending })
	return err == nil && !waiting && len(s.daemon.rotator.Open()) == 0
}

// settled is what must hold once the harm has ended and the stack is healthy: nothing is done any more, and store, databases,
// deliveries and services agree.
func (s *sim) settled() {
	s.rest(time.Minute)
	runs := s.runs()
	s.rest(simQuiet)
	if now := s.runs(); !maps.Equal(runs, now) {
		s.law.broken("something is done although all is well: %v, then %v", runs, now)
	}
	project, values := s.project(), map[secrets.Name]secrets.Value{}
	for _, name := range simSecrets {
		item, err := s.store.Get(s.t.Context(), name, secrets.Current)
		if err != nil {
			s.law.broken("at the end: %v", err)
			return
		}
		values[name] = item.Value
	}
	for service, name := range simDatabases {
		if !s.dbs[service].Lets(database.Credential{Password: values[name]}) {
			s.law.broken("%s refuses the %s of the store", service, name)
		}
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for name, service := range project.Services {
		list := s.m.of(name)
		if len(list) != 1 || project.Unfinished(list[0].inspect()) || list[0].foreign { // a person may have renamed it
			s.law.broken("%s has %d containers", name, len(list))
			continue
		}
		if list[0].astray && list[0].running {
			s.law.broken("%s is not in its network", name)
		}
		if list[0].image != service.Image {
			s.law.broken("%s has the image %s, not %s", name, list[0].image, service.Image)
		}
		want := pick(values, service.Secrets)
		if v := s.m.volumes[name]; len(want) > 0 && (v == nil || v.open || !maps.EqualFunc(v.values, want, secrets.Value.Equal)) {
			s.law.broken("%s has other secrets delivered than the store holds", name)
		}
		if list[0].running && service.OnChange != "none" && !maps.EqualFunc(list[0].taken, want, secrets.Value.Equal) {
			s.law.broken("%s has other secrets than the store holds", name)
		}
	}
	s.judgeOrders(values)
}

// judgeOrders makes sure that each change is in force as a whole or not at all, as far as no later one shows.
func (s *sim) judgeOrders(values map[secrets.Name]secrets.Value) {
	for i, o := range s.asked {
		inForce := func(name secrets.Name) int {
			if values[name].Equal(s.canary(o.n, name)) {
				return o.n
			}
			return 0
		}
		later := func(name secrets.Name) bool {
			return slices.ContainsFunc(s.asked, func(other *simOrder) bool {
				return other != o && slices.Contains(other.names, name) && (other.n > o.n || i > 0 && other.n == o.n-1)
			})
		}
		if err := o.outcome(inForce, later); err != nil {
			s.law.broken("%v", err)
		}
	}
}

// runs tells which run of a container each service has.
func (s *sim) runs() map[string]string {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	runs := map[string]string{}
	for _, c := range s.m.all {
		runs[c.name] = c.instance
	}
	return runs
}

// searched makes sure that no value is in the daemons' log or in a file of the state.
func (s *sim) searched() {
	s.conceals("the log", s.log.Bytes())
	files, err := filepath.Glob(filepath.Join(s.dir, "*", "state", "*"))
	s.must(err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		s.must(err)
		s.conceals(name, data)
	}
}
