// Package notify tells others how the stack stands: a program, a webhook, and a service that expects a call while all is well.
//
// It owns what was told to whom, in one file. It guarantees that nobody who reports to it waits, that a message holds no
// secret and no line of a log, that each attempt ends by a deadline, and that memory is bounded by the number of services.
// There is no queue of messages: it compares how each service stands with what was told last, so that a flapping service is
// told at most twice in half an hour, and however long a way was blocked, how things stand in the end is told. A URL is shown by its scheme and host alone.
//
// It never decides how the stack stands, never follows a redirect, and never talks plain HTTP to another machine.
package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
)

// The kinds of conditions, beside those of [config.NotifyKinds].
const (
	Well              = ""        // as it should be
	Unknown           = "unknown" // not to be told from what it was: starting, say
	Degraded          = "degraded"
	GaveUp            = "gave-up"
	Flapping          = "flapping"
	EngineUnreachable = "engine-unreachable"
	LockedDown        = "locked-down"

	recovered = "recovered" // what is told of Well
	tested    = "test"      // of a message that Test sends
)

// Condition is how a service, or the stack, stands.
type Condition struct {
	Kind         string
	Reason, Hint string
	Seq          uint64 // the newest event when it was seen
}

// Picture is how all stands at one moment.
type Picture struct {
	Phase   string
	Healthy bool // the phase is healthy: the heartbeat goes on
	// Conditions are by service; "" is the stack. Of a service that is not in it, what was told is forgotten, if Whole is set.
	Conditions map[string]Condition
	Whole      bool
}

// Message is what is told, as JSON.
type Message struct {
	Event   string    `json:"event"`
	Service string    `json:"service"` // "" is the stack
	Reason  string    `json:"reason"`
	Hint    string    `json:"hint"` // what to do about it
	Host    string    `json:"host"`
	Time    time.Time `json:"time"` // when it was noticed
	Phase   string    `json:"phase"`
	Seq     uint64    `json:"seq"`  // of the newest event then
	Text    string    `json:"text"` // the others in a line, for who shows nothing else
}

// worded is m with its text.
func (m Message) worded() Message {
	m.Text = cmp.Or(m.Service, "the stack") + ": " + m.Event
	if m.Host != "" {
		m.Text = m.Host + ": " + m.Text
	}
	if m.Reason != "" {
		m.Text += ": " + m.Reason
	}
	if m.Hint != "" {
		m.Text += " (" + m.Hint + ")"
	}
	return m
}

// Options are what a Notifier is made of. Config is a valid one.
type Options struct {
	Config config.Notify
	File   string // where it keeps what was told
	Host   string
	Home   string // MINIBOT_HOME of the command
	User   string // HOME of the command
	Logger *slog.Logger
	Redact *secrets.Redaction
	// Secret reads a secret that holds a URL, within its context.
	Secret func(context.Context, secrets.Name) (secrets.Value, error)
}

// Notifier tells. Its methods are safe for concurrent use.
type Notifier struct {
	o             Options
	every, repeat time.Duration
	ways          []*way
	heartbeat     func(context.Context) error // nil where there is none
	most          time.Duration               // one run of the command takes

	mu      sync.Mutex
	picture Picture
	since   map[string]noticed // by subject
	told    map[string]book    // by way
	unsaved bool               // the file could not be written
}

type noticed struct {
	kind string
	at   time.Time
}

// way is one way to tell. What is not its goroutine's alone is under the notifier's mu.
type way struct {
	name string
	// try makes one attempt; send makes as many as are due.
	try, send func(context.Context, Message) error
	wake      chan struct{}
	recent    []time.Time // of the last messages: the bound of all subjects together
	pause     time.Time   // after a failure
	failures  int         // in a row
}

// New makes a notifier. Without a way it does nothing. A file that cannot be read is told to the log and begun anew.
func New(o Options) *Notifier {
	n := &Notifier{o: o, most: deadline, since: map[string]noticed{}, told: map[string]book{}}
	n.every, n.repeat = o.Config.Durations()
	if text, err := os.ReadFile(o.File); err == nil {
		err = json.Unmarshal(text, &n.told)
		if err != nil || n.told == nil {
			o.Logger.Warn("what was told is not known any more", "file", o.File)
			n.told = map[string]book{}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		o.Logger.Warn("what was told is not known", "err", err)
	}
	add := func(name string, try, send func(context.Context, Message) error) {
		n.ways = append(n.ways, &way{name: name, try: try, send: send, wake: make(chan struct{}, 1)})
		if n.told[name] == nil {
			n.told[name] = book{}
		}
	}
	if len(o.Config.Command) > 0 {
		add("command", n.command, n.command)
	}
	if o.Config.Webhook != "" {
		hook := n.endpoint("webhook", o.Config.Webhook)
		add(hook.what, hook.post, func(ctx context.Context, m Message) error {
			return persevere(ctx, func(ctx context.Context) error { return hook.post(ctx, m) })
		})
	}
	if o.Config.HeartbeatURL != "" {
		n.heartbeat = n.endpoint("heartbeat", o.Config.HeartbeatURL).get
	}
	return n
}

// Active tells whether there is anything to do.
func (n *Notifier) Active() bool { return len(n.ways) > 0 || n.heartbeat != nil }

// See takes in how all stands now. It never blocks.
func (n *Notifier) See(p Picture) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.picture = p
	for subject, c := range p.Conditions {
		if was, known := n.since[subject]; c.Kind != Unknown && (!known || was.kind != c.Kind) {
			n.since[subject] = noticed{c.Kind, time.Now()}
		}
	}
	if p.Whole {
		gone := func(subject string) bool { _, there := p.Conditions[subject]; return !there }
		maps.DeleteFunc(n.since, func(subject string, _ noticed) bool { return gone(subject) })
		for _, b := range n.told {
			maps.DeleteFunc(b, func(subject string, _ entry) bool { return gone(subject) })
		}
	}
	for _, w := range n.ways {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Serve tells until ctx ends; what it is about then is broken off, and told at the next start.
func (n *Notifier) Serve(ctx context.Context) {
	var group sync.WaitGroup
	for _, w := range n.ways {
		group.Go(func() { n.serve(ctx, w) })
	}
	if n.heartbeat != nil {
		group.Go(func() { n.beat(ctx) })
	}
	group.Wait()
}

func (n *Notifier) serve(ctx context.Context, w *way) {
	for ctx.Err() == nil {
		message, wait := n.next(w, time.Now())
		if message == nil {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-w.wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		err := w.send(ctx, *message)
		if ctx.Err() != nil {
			return
		}
		n.sent(w, *message, err, time.Now())
	}
}

// The bounds of one way.
const (
	window       = 30 * time.Minute
	perSubject   = 2               // messages in a window about one service
	perWay       = 30              // and about all of them
	afterFailure = 5 * time.Minute // doubles with each further one
	mostPause    = time.Hour       // and at once where it was refused: a URL that is wrong, say
	idle         = time.Hour       // the longest wait without a reason
)

// next returns what is to be told now, or how long there is nothing.
func (n *Notifier) next(w *way, now time.Time) (*Message, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w.recent = slices.DeleteFunc(w.recent, func(t time.Time) bool { return now.Sub(t) >= window || t.After(now) })
	wait := idle
	switch {
	case w.pause.After(now) && w.pause.Sub(now) <= mostPause: // a clock that was set back ends it
		return nil, w.pause.Sub(now)
	case len(w.recent) >= perWay:
		return nil, w.recent[0].Add(window).Sub(now)
	}
	b := n.told[w.name]
	for _, subject := range slices.Sorted(maps.Keys(n.picture.Conditions)) {
		c := n.picture.Conditions[subject]
		event, later := b.due(subject, n.asTold(c.Kind), slices.Contains(n.o.Config.On, recovered), n.repeat, now)
		if event == "" {
			wait = min(wait, later)
			continue
		}
		message := Message{Event: event, Service: subject, Reason: n.short(c.Reason), Hint: n.short(c.Hint), Host: n.o.Host,
			Time: n.since[subject].at, Phase: n.picture.Phase, Seq: c.Seq}.worded()
		return &message, 0
	}
	return nil, wait
}

// asTold is a kind as far as it is to be told: one that is given up is degraded where the word is not asked for, a flapping one that
// runs is well, and of others nothing is known.
func (n *Notifier) asTold(kind string) string {
	switch {
	case kind == Well || kind == Unknown || slices.Contains(n.o.Config.On, kind):
		return kind
	case kind == Flapping:
		return Well
	case kind == GaveUp && slices.Contains(n.o.Config.On, Degraded):
		return Degraded
	}
	return Unknown
}

// maxText bounds a reason and a hint, in bytes.
const maxText = 2000

func (n *Notifier) short(text string) string { return hint.Cut(n.o.Redact.Text(text), maxText) }

// sent takes in what came of a message, and keeps it.
func (n *Notifier) sent(w *way, m Message, err error, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		w.pause = now.Add(min(afterFailure<<min(w.failures, 9), mostPause))
		if errors.Is(err, errRefused) {
			w.pause = now.Add(mostPause)
		}
		if w.failures == 0 {
			n.o.Logger.Warn("a message was not sent; it is tried again", "way", w.name, "event", m.Event, "service", m.Service, "err", err, "hint", hint.Of(err))
		}
		w.failures++
		return
	}
	if w.failures > 0 {
		n.o.Logger.Info("messages are sent again", "way", w.name)
	}
	w.failures = 0
	w.recent = append(w.recent, now)
	n.told[w.name].note(m.Service, m.Event, now)
	text, err := json.Marshal(n.told)
	if err == nil {
		err = config.ReplaceFile(n.o.File, text)
	}
	if err != nil && !n.unsaved {
		n.o.Logger.Warn("what was told is not kept over a restart", "err", err)
	}
	n.unsaved = err != nil
}

// beat calls the heartbeat while the stack is healthy.
func (n *Notifier) beat(ctx context.Context) {
	tick := time.NewTicker(n.every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n.mu.Lock()
		healthy := n.picture.Healthy
		n.mu.Unlock()
		if !healthy {
			continue
		}
		switch err := n.heartbeat(ctx); {
		case ctx.Err() != nil:
			return
		case err == nil && failing:
			n.o.Logger.Info("the heartbeat is heard again")
			failing = false
		case err != nil && !failing:
			n.o.Logger.Warn("the heartbeat is not heard", "err", err, "hint", hint.Of(err))
			failing = true
		}
	}
}

// Result is what came of one way in a test.
type Result struct {
	Way string
	Err error
}

// Test sends one message through each way, and the heartbeat, once each, and says what came of it.
func (n *Notifier) Test(ctx context.Context) []Result {
	n.mu.Lock()
	phase := n.picture.Phase
	n.mu.Unlock()
	m := Message{Event: tested, Reason: "minibotd notify --test was typed", Host: n.o.Host, Time: time.Now(), Phase: phase}.worded()
	var results []Result
	for _, w := range n.ways {
		results = append(results, Result{w.name, w.try(ctx, m)})
	}
	if n.heartbeat != nil {
		results = append(results, Result{"heartbeat", n.heartbeat(ctx)})
	}
	return results
}

// errRefused is what failures are that another attempt would not change.
var errRefused = errors.New("refused")

type refusal struct{ error }

func (r *refusal) Unwrap() error      { return r.error }
func (*refusal) Is(target error) bool { return target == errRefused }

func refused(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }
