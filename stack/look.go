package stack

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
)

const (
	// fullLook is how long something may stay unnoticed that no event told of and no list shows, such as the time of a restart.
	fullLook = 5 * time.Minute
	// lookedAtOnce is how many containers one look inspects only because of an event: a storm of events must not hold up the look at
	// what a list shows to be different.
	lookedAtOnce = 8
	// vainRest is how long a container is not inspected again for an event's sake after one that told nothing new. What the list shows to be different does not wait:
	// only a container that is told of over and over does, and nothing but a restart within a second of its start could hide.
	vainRest = time.Second
	// askedAtOnce is how many calls one look, or one delivery, has under way at the same time.
	askedAtOnce = 8
)

// memory is what is known of the containers of one project, for as long as a subscription tells of their changes.
type memory struct {
	looking gate // one look at a time

	mu      sync.Mutex
	watches int                // subscriptions that stand; without one nothing is remembered
	full    time.Time          // when everything was inspected last; zero: it has to be
	touched map[string]bool    // by id: we acted on it, which not every event and list tells of
	told    queue              // ids that had an event
	known   map[string]another // by id
}

// another is one container as listed, and as inspected after that.
type another struct {
	listed listed
	seen   Container
	vain   time.Time // when it was last inspected for an event's sake and was as before
}

// memory returns what is known of a project.
func (e *Engine) memory(project string) *memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.memories[project]
	if m == nil {
		m = &memory{looking: newGate(1), touched: map[string]bool{}}
		e.memories[project] = m
	}
	return m
}

// watch begins a subscription: what happened before it is not known. It returns its end.
func (m *memory) watch() (end func()) {
	m.change(1)
	return func() { m.change(-1) }
}

func (m *memory) change(watches int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watches += watches
	m.full = time.Time{}
}

// tell notes that a container had an event.
func (m *memory) tell(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told.add(id)
}

// service is the one whose container was last seen to have an id, or "".
func (m *memory) service(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[id].listed.Service
}

// queue holds each id once, in the order of coming.
type queue struct {
	ids []string
	in  map[string]bool
}

func (q *queue) add(id string) {
	if q.in[id] {
		return
	}
	if q.in == nil {
		q.in = map[string]bool{}
	}
	q.in[id], q.ids = true, append(q.ids, id)
}

// touch notes that we did something to a container: also a start that fails leaves a trace, of which nothing else tells.
func (e *Engine) touch(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.memories {
		m.mu.Lock()
		m.touched[id] = true
		m.mu.Unlock()
	}
}

// Look is [Engine.Containers] for who looks again and again while Watch runs. It lists every container and inspects those that are listed
// otherwise than before, had an event, were acted on through this Engine, or are unhealthy (a list tells neither why nor since when); all
// of them without a Watch, at the first look after its start or after a failed look, and every 5 minutes. Of many that had an event it inspects
// some and returns more: look again soon. What it returns of the others is older than their events, never than the last action.
func (e *Engine) Look(ctx context.Context, p *Project) (seen map[string]Container, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m := e.memory(p.Name)
	if err := m.looking.lock(ctx); err != nil {
		return nil, false, wrap(err, "look at the containers of project %s", p.Name)
	}
	defer m.looking.unlock()
	before := m.take(time.Now())
	list, err := e.list(ctx, p)
	if err != nil {
		m.forget()
		return nil, false, wrap(err, "list the containers of project %s", p.Name)
	}
	chosen := before.choose(list)
	inspected, err := e.inspectAll(ctx, chosen)
	if err != nil {
		m.forget()
		return nil, false, err
	}
	fresh := make(map[string]Container, len(chosen))
	for _, c := range inspected {
		fresh[c.ID] = c
	}
	known, all := make(map[string]another, len(list)), make([]Container, 0, len(list))
	for _, c := range list {
		now, ok := fresh[c.ID]
		if !ok && !before.chosen[c.ID] {
			now, ok = before.known[c.ID].seen, true
		}
		if ok { // else it went between the two calls
			known[c.ID] = before.another(c, now)
			all = append(all, now)
		}
	}
	m.learn(known, before)
	return p.byService(all), len(before.later.ids) > 0, nil
}

// forEach asks the engine about each of a list, some at once, until one fails.
func forEach[T any](ctx context.Context, list []T, ask func(ctx context.Context, i int, one T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askedAtOnce)
	for i, one := range list {
		group.Go(func() error { return ask(ctx, i, one) })
	}
	return group.Wait()
}

// inspectAll inspects containers, some at once; those that went meanwhile are left out.
func (e *Engine) inspectAll(ctx context.Context, list []listed) ([]Container, error) {
	inspected := make([]Container, len(list))
	err := forEach(ctx, list, func(ctx context.Context, i int, c listed) error {
		seen, err := e.inspect(ctx, c.ID)
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		inspected[i] = seen
		return wrap(err, "inspect container %s", c.Name)
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(inspected, func(c Container) bool { return c.ID == "" }), nil
}

// byService picks each service's container: of two, as an interrupted replacement leaves them, the one that has its name. That one is
// Foreign as long as Compose knows of another: Create takes one of them away.
func (p *Project) byService(all []Container) map[string]Container {
	seen, composed := map[string]Container{}, map[string]int{}
	for _, c := range all {
		if c.composed {
			composed[c.Service]++
		}
		if other, twice := seen[c.Service]; twice && other.Name == p.container(c.Service) {
			continue
		}
		seen[c.Service] = c
	}
	for name, c := range seen {
		c.Detached = c.detachedFrom(p)
		c.Foreign = c.Foreign || composed[name] > 1
		seen[name] = c
	}
	return seen
}

// taken is what a look begins with.
type taken struct {
	whole   bool
	touched map[string]bool
	told    queue
	later   queue // of told: those that have to wait for another look
	known   map[string]another
	chosen  map[string]bool // to be inspected
	heard   map[string]bool // of those: the ones that only an event tells of
	now     time.Time
}

// take hands over what was noted since the last look: what comes from now on is for the next one.
func (m *memory) take(now time.Time) *taken {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &taken{whole: m.watches == 0 || m.full.IsZero() || now.Sub(m.full) >= fullLook, touched: m.touched, told: m.told, known: m.known,
		chosen: map[string]bool{}, heard: map[string]bool{}, now: now}
	if t.whole {
		m.full = now
	}
	m.touched, m.told = map[string]bool{}, queue{}
	return t
}

// forget makes the next look inspect everything.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full, m.known = time.Time{}, nil
}

func (m *memory) learn(known map[string]another, t *taken) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = known
	came := m.told.ids
	m.told = t.later
	for _, id := range came {
		m.told.add(id)
	}
}

// choose returns what has to be inspected now.
func (t *taken) choose(list []listed) []listed {
	var now []listed
	waiting := map[string]listed{}
	for _, c := range list {
		old, there := t.known[c.ID]
		switch {
		case t.whole, !there, t.touched[c.ID], strings.Contains(c.state, "(unhealthy)"), c.differs(old.listed):
			now, t.chosen[c.ID] = append(now, c), true
		case t.told.in[c.ID]:
			waiting[c.ID] = c
		}
	}
	room := lookedAtOnce
	for _, id := range t.told.ids {
		c, there := waiting[id]
		switch {
		case !there:
		case room == 0, t.now.Sub(t.known[id].vain) < vainRest:
			t.later.add(id)
		default:
			now, t.chosen[id], t.heard[id] = append(now, c), true, true
			room--
		}
	}
	return now
}

// another is what is remembered of a container after the look.
func (t *taken) another(c listed, seen Container) another {
	old := t.known[c.ID]
	if t.chosen[c.ID] {
		before := old.seen
		before.Checked = seen.Checked
		if old.vain = (time.Time{}); t.heard[c.ID] && before == seen {
			old.vain = t.now
		}
	}
	return another{c, seen, old.vain}
}

// listed is what a list says of a container.
type listed struct {
	ID, Name, Service string
	composed          bool   // Compose knows it for its own
	state             string // with its health or exit code
	age               string // of the state, as in "3 minutes"
	networks          string // with the connection to each
}

// remark is the part of a container's status that says more than the time: (healthy), (137), (Paused).
var remark = regexp.MustCompile(`\(.*\)`)

// summary reads the two words on a container's state in a list.
func summary(state, status string) listed {
	return listed{state: state + " " + remark.FindString(status), age: remark.ReplaceAllString(status, "")}
}

// ended tells whether a container does not run, as far as is known for sure.
func (c listed) ended() bool {
	return strings.HasPrefix(c.state, container.StateCreated+" ") || strings.HasPrefix(c.state, container.StateExited+" ")
}

// differs tells whether a container has changed since it was listed as old, or may have been started anew.
func (c listed) differs(old listed) bool {
	if c.Name != old.Name || c.state != old.state || c.networks != old.networks {
		return true
	}
	now, ok1 := ageRank(c.age)
	before, ok2 := ageRank(old.age)
	return now < before || ok1 != ok2
}

// ageUnits are the words of the engine for times, ascending, as far as their first letters tell them apart.
var ageUnits = []string{"sec", "min", "hour", "day", "week", "mon", "year"}

// ageRank orders the engine's words for ages: "Less than a second", "5 seconds", "About a minute", "2 hours". ok is false where there is none.
func ageRank(age string) (rank int, ok bool) {
	number := 1 // about a minute, about an hour
	for _, word := range strings.Fields(age) {
		if n, err := strconv.Atoi(word); err == nil {
			number = n
		}
		if word == "Less" {
			number = 0
		}
		for i, unit := range ageUnits {
			if strings.HasPrefix(word, unit) {
				return i*1000 + number, true
			}
		}
	}
	return 0, false
}
