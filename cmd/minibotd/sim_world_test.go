package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/database"
	"minibot/rotation"
	"minibot/rotation/databasetest"
	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

// simCompose has one service of each kind. VERSION stands for the second definition of some of them.
const simCompose = `name: sim
x-common: &common { image: "sim:1", healthcheck: { test: ["CMD", "true"], interval: 10s } }
services:
  db: { <<: *common, container_name: sim-db, secrets: [DB_PASSWORD], x-minibot: { on_change: none } }
  cache: { <<: *common, container_name: sim-cache, secrets: [CACHE_PASSWORD], x-minibot: { on_change: none } }
  migrate:
    image: "sim:1"
    container_name: sim-migrate
    secrets: [DB_PASSWORD]
    depends_on: { db: { condition: service_healthy } }
  app:
    <<: *common
    image: "sim:VERSION"
    container_name: sim-app
    secrets: [DB_PASSWORD, CACHE_PASSWORD, API_TOKEN]
    depends_on:
      db: { condition: service_healthy, restart: true }
      cache: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
  worker:
    <<: *common
    container_name: sim-worker
    secrets: [API_TOKEN]
    depends_on: { app: { condition: service_healthy } }
    x-minibot: { on_change: exec, exec: [take] }
  hook:
    <<: *common
    image: "sim:VERSION"
    container_name: sim-hook
    secrets: [API_TOKEN, SIGN_KEY]
    depends_on: { cache: { condition: service_healthy, required: false } }
    x-minibot: { on_change: signal, signal: SIGHUP }
  side: { image: "sim:1", container_name: sim-side, depends_on: { app: { condition: service_started } } }
secrets:
  DB_PASSWORD: { environment: DB_PASSWORD, x-minibot: { generate: { length: 24 }, rotate: { driver: postgres, service: db, user: sim, database: sim } } }
  CACHE_PASSWORD: { environment: CACHE_PASSWORD, x-minibot: { generate: { length: 24 }, rotate: { driver: redis, service: cache } } }
  API_TOKEN: { environment: API_TOKEN, x-minibot: { generate: { length: 24 } } }
  SIGN_KEY: { environment: SIGN_KEY }
`

var simSecrets = []secrets.Name{"API_TOKEN", "CACHE_PASSWORD", "DB_PASSWORD", "SIGN_KEY"}

// sim is one simulated machine with everything on it, and the daemon of the moment.
type sim struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand // of the one goroutine that harms
	m     *simMachine
	law   *simLaw
	store *secrets.Memory
	dbs   map[string]*databasetest.Fake // by service
	dir   string
	began time.Time
	parse simParse

	orders sync.WaitGroup

	mu      sync.Mutex
	rolls   map[string]uint64
	lines   []simLine // what happened, the last of it
	log     bytes.Buffer
	sleeps  time.Duration // how far the wall's clock is ahead
	asked   []*simOrder
	daemon  *simDaemon
	tell    func() // tells the daemon of a changed record of a lockdown
	homes   int
	version string
}

// simDaemon is a daemon, and what it takes with it when it dies.
type simDaemon struct {
	*daemon
	*mortal
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Serve and close; to be read once it has ended
}

// simLoader is stack.Load that reads each text once: it takes 25 ms.
func simLoader() simParse {
	var mu sync.Mutex
	known := map[[sha256.Size]byte]*stack.Project{}
	return func(ctx context.Context, o stack.LoadOptions) (*stack.Project, error) {
		text, err := os.ReadFile(o.File)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		p := known[sha256.Sum256(text)]
		if p == nil {
			if p, err = stack.Load(ctx, o); err != nil {
				return nil, err
			}
			known[sha256.Sum256(text)] = p
		}
		return p, nil
	}
}

// simParse is stack.Load, or what stands in for it.
type simParse = func(context.Context, stack.LoadOptions) (*stack.Project, error)

// newSim is to be called in a bubble.
func newSim(t *testing.T, seed uint64, dir string, parse simParse) *sim {
	s := &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), store: secrets.NewMemory(), dir: dir, began: time.Now(), parse: parse,
		rolls: map[string]uint64{}, version: "1", dbs: map[string]*databasetest.Fake{}}
	second := time.Second
	s.m = newSimMachine(map[string]simApp{
		stack.KeeperService: {boot: second, stops: second / 10},
		"db":                {check: true, boot: 3 * second, stops: second, comes: s.comes},
		"cache":             {check: true, boot: 2 * second, stops: second, comes: s.comes},
		"migrate":           {once: true, boot: 4 * second, stops: second, comes: s.comes},
		"app":               {check: true, boot: 9 * second, stops: 5 * second, comes: s.comes},
		"worker":            {check: true, boot: 2 * second, stops: second, comes: s.comes},
		"hook":              {check: true, boot: 2 * second, stops: second, comes: s.comes},
		"side":              {boot: second, stops: 10 * second},
	})
	s.m.say, s.m.roll = s.say, s.roll
	s.m.started, s.m.ended = s.started, s.ended
	s.law = newSimLaw(s.m, s.project, s.intent)
	s.m.law = s.law
	for service, name := range simDatabases {
		kind := map[string]databasetest.Kind{"db": databasetest.Single, "cache": databasetest.Overlap}[service]
		s.dbs[service] = databasetest.NewFake(kind, database.Credential{Password: s.canary(0, name)})
	}
	for _, name := range simSecrets {
		s.must(s.store.Put(t.Context(), name, secrets.Current, s.canary(0, name)))
	}
	return s
}

func (s *sim) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// canary is the value of a secret that the nth order sets.
func (s *sim) canary(n int, name secrets.Name) secrets.Value {
	v, err := secrets.NewValue(fmt.Appendf(nil, "canary-%d-%s", n, name))
	if err != nil {
		panic(err) // it is made up here
	}
	return v
}

// simLine is written out only when somebody has to read it. What args point to must not change.
type simLine struct {
	at     time.Duration // since the simulation began
	format string
	args   []any
}

func (l simLine) String() string {
	return fmt.Sprintf("%12v  ", l.at.Round(time.Millisecond)) + fmt.Sprintf(l.format, l.args...)
}

// say keeps a line of what happens, with the simulated time.
func (s *sim) say(format string, args ...any) {
	line := simLine{time.Since(s.began), format, args}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines = append(s.lines, line); len(s.lines) > 2000 {
		s.lines = append(s.lines[:0], s.lines[len(s.lines)-1000:]...)
	}
}

// roll is a number of the seed's: the nth of its kind is the same, in whatever order others are asked for.
func (s *sim) roll(what string) float64 {
	s.mu.Lock()
	s.rolls[what]++
	n := s.rolls[what]
	s.mu.Unlock()
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte(what), s.seed), n)) // a hash never fails
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11) / (1 << 53)
}

// started and ended are what databases have of their containers' life; comes is how a service finds its secrets once it is up.
func (s *sim) started(c *simContainer) {
	if db := s.dbs[c.service]; db != nil {
		for _, v := range c.taken { // it has one
			db.Restart(database.Credential{Password: v})
		}
	}
}

func (s *sim) ended(c *simContainer) {
	if db := s.dbs[c.service]; db != nil {
		db.Crash()
	}
}

// comes returns the exit code with which a service refuses to come up, or 0.
func (s *sim) comes(c *simContainer) int {
	for _, name := range s.project().Services[c.service].Secrets {
		v := c.taken[name]
		if v.IsZero() {
			return 9
		}
		for service, secret := range simDatabases {
			if on := s.m.one(service, "sim-"+service); secret == name && service != c.service &&
				(on == nil || !on.running || !s.dbs[service].Lets(database.Credential{Password: v})) {
				return 1
			}
		}
	}
	return 0
}

// project is the one that is wanted now, as far as its services' names, secrets and dependencies go.
func (s *sim) project() *stack.Project {
	if p := s.now().loaded(); p != nil {
		return p
	}
	return &stack.Project{}
}

// now is the daemon of the moment.
func (s *sim) now() *simDaemon {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.daemon
}

func (s *sim) intent() intent {
	i, err := readIntent(s.now().paths.Intent)
	if err != nil {
		s.law.broken("%v", err)
	}
	return i
}

func (s *sim) wall() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.sleeps)
}

// Write takes the daemons' log.
func (s *sim) Write(p []byte) (int, error) {
	s.say("log: %s", strings.TrimSpace(string(p)))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

// home makes the next home, with a copy of the files of the last one: a dead daemon can write no more into it.
func (s *sim) home() config.Paths {
	s.homes++
	paths, err := config.NewPaths(filepath.Join(s.dir, fmt.Sprint(s.homes)))
	s.must(err)
	s.must(config.EnsureHome(paths))
	if s.daemon == nil {
		return paths
	}
	files, err := os.ReadDir(s.daemon.paths.StateDir)
	s.must(err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(s.daemon.paths.StateDir, f.Name()))
		if errors.Is(err, fs.ErrNotExist) { // a temporary one
			continue
		}
		s.must(err)
		s.must(os.WriteFile(filepath.Join(paths.StateDir, f.Name()), data, 0o600))
	}
	return paths
}

// describe writes the compose file.
func (s *sim) describe(paths config.Paths) {
	s.must(os.WriteFile(paths.Compose, []byte(strings.ReplaceAll(simCompose, "VERSION", s.version)), 0o600))
}

// boot starts a daemon.
func (s *sim) boot(paths config.Paths) {
	s.describe(paths)
	events, err := control.OpenEventLog(paths.Events)
	s.must(err)
	redact := &secrets.Redaction{}
	events.Redact = redact
	journal, err := openJournal(paths.Rotation, events)
	s.must(err)
	owner := newMortal()
	log := slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	d, err := newDaemon(config.Default(), paths, log, events, redact, func(ctx context.Context, _ string) (secrets.Store, error) {
		return simStore{s, owner}, s.reach(ctx, owner, "store open", func() error { return nil })
	}, journal)
	s.must(err)
	d.parse, d.watch = s.parse, s.watch
	d.shrink = func() {} // of the whole process
	d.world.dial = func(ctx context.Context, _ string) (engine, error) { return s.m.dial(ctx, owner) }
	d.supervisor = supervisor.New(d.world, supervisor.Options{Logger: log, OnEvent: d.onSupervisorEvent, OnWake: d.world.forget,
		Wall: s.wall, Rand: func() float64 { return s.roll("jitter") }})
	d.rotator = rotation.New(d.store, journal, d.requirements, s.database(owner), d, log)
	d.rotator.Redact = redact.Text
	ctx, cancel := context.WithCancel(s.t.Context())
	now := &simDaemon{daemon: d, mortal: owner, cancel: cancel, ended: make(chan struct{})}
	s.mu.Lock()
	s.daemon = now
	s.mu.Unlock()
	s.law.excuse()
	s.say("minibotd starts")
	go func() {
		defer close(now.ended)
		now.err = errors.Join(d.Serve(ctx, make(chan struct{})), d.close(), events.Close(), journal.Close())
	}()
}

// watch is watchFile: what is told here is told by the one who writes the file, see harm.
func (s *sim) watch(ctx context.Context, _ string, tell func()) error {
	s.mu.Lock()
	s.tell = tell
	s.mu.Unlock()
	<-ctx.Done()
	return nil
}

// telling is how the present daemon is told of a changed record, nil before it listens.
func (s *sim) telling() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tell
}

// kill ends the daemon as SIGKILL does, and starts another.
func (s *sim) kill() {
	s.say("minibotd is killed")
	s.daemon.die()
	for _, db := range s.dbs {
		db.Crash()
	}
	left := s.home()
	s.end()
	s.boot(left)
}

// restart ends the daemon as SIGTERM does, and starts another.
func (s *sim) restart() {
	s.say("minibotd is stopped")
	s.end()
	s.daemon.die()
	s.boot(s.home())
}

// end returns when the daemon and all it has begun have.
func (s *sim) end() {
	s.daemon.cancel()
	<-s.daemon.ended
	if err := s.daemon.err; err != nil && !s.daemon.isDead() {
		s.law.broken("minibotd ended: %v", err)
	}
}
