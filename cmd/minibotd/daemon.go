package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/lockdown"
	"minibot/notify"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

// Keys of log records.
const (
	keyError   = "err"
	keyService = "service"
	keyPhase   = "phase"
	keySecret  = "secret"
)

const (
	storeTimeout  = 20 * time.Second // one call to the store; a keychain dialog that nobody answers ends here
	waitFirst     = time.Second      // between two attempts to open the store or load the compose file
	waitMost      = 10 * time.Second
	waitDenied    = 5 * time.Minute  // where somebody said no, and asking again shows another dialog
	finishRounds  = 10               // changes that may be rolled back in one of these attempts
	changeTimeout = 10 * time.Minute // an operation that has not settled by then is reported as failed
)

// daemon ties the store, the stack and the supervisor together, and is what the control socket serves.
type daemon struct {
	config config.Config
	paths  config.Paths
	log    *slog.Logger
	events *control.EventLog
	unkept atomic.Bool        // the last event found no place
	redact *secrets.Redaction // all that leaves the daemon passes it
	open   opener
	parse  func(context.Context, stack.LoadOptions) (*stack.Project, error) // [stack.Load]
	watch  func(ctx context.Context, path string, tell func()) error        // watchFile
	shrink func()                                                           // gives memory back to the system, see shrink

	world      *world
	supervisor *supervisor.Supervisor
	rotator    *rotation.Rotator
	store      *lateStore
	notifier   *notify.Notifier

	again   chan chan error // asks until to try its step at once, and wants the outcome
	started chan struct{}   // closed once the stack is loaded and supervised

	failures   chan failure  // runs whose last lines are to be kept
	unfinished chan struct{} // holds one token when a change was left unfinished
	refreshing turn          // one refresh at a time
	promoting  turn          // held from a promotion until what it brought is read: it is no change by hand
	opening    turn          // one opening of the store, or move to another, at a time
	auditing   turn          // one audit at a time
	lock       lock          // what is known of a lockdown

	mu        sync.Mutex
	phase     control.Phase // of the daemon's own making; "" once the supervisor knows better
	reason    error
	shown     control.Phase // as last announced
	shownAt   time.Time
	kind      string // of the store, as configured
	project   *stack.Project
	values    map[secrets.Name]secrets.Value
	dates     dates                      // of the store's items, as of the last time values were read
	refused   map[secrets.Name]time.Time // items that may not be read, by their dates
	revisions map[string]uint64          // by service: how often its secrets changed
	intent    intent
	creates   uint64 // how often the definition changed
	defined   string // the hash of the project that was counted last
	changes   int    // operations that change secrets now
	doubt     bool   // a database may have another password than the store
	lastLines map[string][]string
	volumes   *dataVolumes
	passedOn  map[secrets.Name]secrets.Value // what the project was last made of, where it holds values
}

func newDaemon(cfg config.Config, paths config.Paths, log *slog.Logger, events *control.EventLog, redact *secrets.Redaction,
	open opener, journal *rotation.Journal,
) (*daemon, error) {
	stopped, err := readIntent(paths.Intent)
	if err != nil {
		return nil, hint.Wrap(err, "look at the file, or remove it to start everything")
	}
	d := &daemon{
		config: cfg, kind: cfg.Store, paths: paths, log: log, events: events, redact: redact, open: open, parse: stack.Load, watch: watchFile, shrink: shrink, intent: stopped,
		store: newLateStore(), lastLines: map[string][]string{}, refused: map[secrets.Name]time.Time{},
		again: make(chan chan error), started: make(chan struct{}), unfinished: make(chan struct{}, 1),
		failures: make(chan failure, 64), revisions: map[string]uint64{},
		refreshing: newTurn(), promoting: newTurn(), opening: newTurn(), auditing: newTurn(),
	}
	d.lock.file, d.lock.nudge = lockdown.In(paths), make(chan struct{}, 1)
	d.lock.heeding, d.lock.killing = newTurn(), newTurn()
	d.lock.record = d.lock.file.Read()
	d.world = &world{host: cfg.DockerHost, dial: dial, log: log, refuse: d.forbidden, feeding: make(chan struct{}, 1), onChange: func(service, message string) {
		d.record(control.Event{Kind: "progress", Service: service, Message: message})
	}}
	d.world.reload, d.world.created = d.reloadGateway, d.volumesMade
	if d.volumes, err = readVolumes(paths.Volumes); err != nil {
		log.Warn("the record of the volumes begins anew", keyError, err)
	}
	d.supervisor = supervisor.New(d.world, supervisor.Options{Logger: log, OnEvent: d.onSupervisorEvent, OnWake: d.world.forget})
	d.rotator = rotation.New(d.store, journal, d.requirements, d.database, d, log)
	d.rotator.At, d.rotator.Redact = crashPoint(), redact.Text
	d.store.learn = d.learn
	d.notifier = d.newNotifier()
	d.setPhase(control.PhaseWaitingForStore, nil)
	return d, nil
}

// Serve runs until ctx ends; the stack stays up. hangup asks for a reload.
func (d *daemon) Serve(ctx context.Context, hangup <-chan struct{}) error {
	watching, cancel := context.WithCancel(ctx)
	var always sync.WaitGroup // whatever the store and the compose file are like
	always.Go(func() { d.enforce(watching) })
	always.Go(func() { d.notice(watching) })
	always.Go(func() { d.notify(watching) })
	defer always.Wait()
	defer cancel()
	return d.serve(ctx, hangup)
}

func (d *daemon) serve(ctx context.Context, hangup <-chan struct{}) error {
	if !d.until(ctx, hangup, control.PhaseWaitingForStore, d.openStore) || !d.until(ctx, hangup, control.PhaseDegraded, d.start) {
		return nil
	}
	d.setPhase("", nil)
	close(d.started)
	var group errgroup.Group
	group.Go(func() error { return d.supervisor.Serve(ctx) })
	group.Go(func() error { d.finishChanges(ctx); return nil })
	group.Go(func() error { d.announce(ctx); return nil })
	group.Go(func() error { d.excerpts(ctx); return nil })
	group.Go(func() error { d.onHangup(ctx, hangup); return nil })
	group.Go(func() error { d.watchStore(ctx); return nil })
	group.Go(func() error { newAges(d).serve(ctx); return nil })
	group.Go(func() error { d.startEngine(ctx); return nil })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// close lets go of the engine and the store, once Serve has returned and nobody asks any more.
func (d *daemon) close() error { return errors.Join(d.world.close(), d.store.close()) }

// until repeats step with a growing delay until it succeeds, showing phase and the reason meanwhile; a reload, by
// command or by hangup, ends a delay. It reports whether the step succeeded; only the end of ctx keeps it from that.
func (d *daemon) until(ctx context.Context, hangup <-chan struct{}, phase control.Phase, step func(context.Context) error) bool {
	asked := make(chan error, 1) // by nobody
	for delay := waitFirst; ; delay = min(2*delay, waitMost) {
		err := step(ctx)
		asked <- err
		asked = make(chan error, 1)
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		d.setPhase(phaseOf(err, phase), err)
		pause := delay
		if d.asks() && saidNo(err) {
			pause = waitDenied
		}
		select {
		case <-time.After(pause):
		case <-hangup:
		case asked = <-d.again:
		case <-ctx.Done():
			return false
		}
	}
}

// saidNo tells whether somebody, or a rule, said no. A dialog that nobody answered is none of that: the next one may have somebody before it,
// and a keychain that was unlocked meanwhile shows none.
func saidNo(err error) bool {
	return errors.Is(err, secrets.ErrDenied) && !errors.Is(err, context.DeadlineExceeded)
}

// tryAgain has what the start waits for tried at once, and returns nil once the stack is loaded, or what is in the way.
func (d *daemon) tryAgain(ctx context.Context) error {
	for {
		outcome := make(chan error, 1)
		select {
		case <-d.started:
			return nil
		case d.again <- outcome:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-outcome:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start loads the project and the secrets for the first time.
func (d *daemon) start(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		return err
	}
	if err := d.rotator.BeforeDelivery(ctx); err != nil { // on a full disk, say: what is in force can be delivered all the same
		d.log.Error("new values stay in pending", keyError, err)
		d.record(control.Event{Kind: "error", Message: "new values stay in pending: " + err.Error()})
	}
	_, _, err := d.refresh(ctx)
	return err
}

// load reads the compose file alone.
func (d *daemon) load(ctx context.Context) error {
	project, err := d.loadProject(ctx, nil)
	if err != nil {
		return err
	}
	d.warnExposed(project)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.project != nil && d.project.Name != project.Name {
		return hint.Wrap(fmt.Errorf("%s: the project's name changed from %s to %s", d.paths.Compose, d.project.Name, project.Name),
			"run `minibotd stop`, then restart minibotd")
	}
	if err := d.lock.file.NoteProject(project.Name); err != nil { // a lockdown finds the containers without it, too
		d.log.Warn("the project's name is not noted", keyError, err)
	}
	d.adopt(project)
	return nil
}

// adopt makes project the one that is wanted. The caller holds mu.
func (d *daemon) adopt(project *stack.Project) {
	d.project = project
}

// refresh reads the compose file and the store, and hands what is wanted to the supervisor. It reports whether
// something changed, and the ticket of the supervisor's look at it; it makes no call to the engine itself. A fault
// leaves the stack as it is.
func (d *daemon) refresh(ctx context.Context) (changed bool, ticket uint64, err error) {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.load(ctx); err != nil {
		return false, 0, err
	}
	return d.apply(ctx)
}

// update is refresh for who is about something else than the compose file: one that cannot be loaded is reported,
// and what was loaded before stays in force.
func (d *daemon) update(ctx context.Context) (ticket uint64, err error) {
	d.refreshing.Lock()
	defer d.refreshing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := d.load(ctx); err != nil {
		d.log.Warn("the compose file stays as it was loaded before", keyError, err)
		d.record(control.Event{Kind: "error", Message: "the compose file stays as it was loaded before: " + err.Error()})
	}
	_, ticket, err = d.apply(ctx)
	return ticket, err
}

// apply reads the store and hands what is wanted to the supervisor. The caller holds refreshing.
func (d *daemon) apply(ctx context.Context) (changed bool, ticket uint64, err error) {
	values, err := d.readValues(ctx)
	if err != nil {
		return false, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	changed, ticket = d.want(values)
	return changed, ticket, nil
}

// want hands what is wanted to the supervisor. The caller holds mu.
func (d *daemon) want(values map[secrets.Name]secrets.Value) (changed bool, ticket uint64) {
	for name, service := range d.project.Services {
		if slices.ContainsFunc(needs(service), func(s secrets.Name) bool { return !values[s].Equal(d.values[s]) }) {
			d.revisions[name]++
		}
	}
	d.values = values
	if hash := d.project.Hash(); hash != d.defined { // not when it was loaded: until now the one before would be created
		d.defined = hash
		d.creates++
	}
	changed = d.world.set(d.project, values)
	return changed, d.supervisor.Apply(d.wanted())
}

func (d *daemon) requirements() []secrets.Requirement {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.project == nil {
		return nil
	}
	return d.project.Requirements
}
