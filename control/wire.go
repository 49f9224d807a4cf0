// Package control is how a person's commands reach the daemon: HTTP and JSON over a unix socket.
//
// It owns the wire types, the server and the client, and declares the Backend that the server serves. It guarantees
// that only the socket owner's uid is served, that a client speaks to nobody else's socket, that who says nothing keeps
// nobody waiting, and that an operation goes on when its caller leaves. A value leaves through one call only, GET
// /v1/secrets/NAME: not too often for each name, and not before the event log has who asked. It never touches a store, an
// engine or a service itself.
//
// The uid is the kernel's, of who connected. A process of the same user that passes a connection on to somebody else is out
// of reach, as is everything that this user's own programs do.
package control

import (
	"context"
	"io"
	"time"

	"minibot/secrets"
)

// Phase is the daemon's overall state.
type Phase string

// The phases of D8.
const (
	PhaseWaitingForStore  Phase = "waiting-for-store"
	PhaseWaitingForEngine Phase = "waiting-for-engine"
	PhaseConverging       Phase = "converging"
	PhaseHealthy          Phase = "healthy"
	PhaseDegraded         Phase = "degraded"
	PhaseRotating         Phase = "rotating"
	PhaseStopped          Phase = "stopped"
	PhaseLockedDown       Phase = "locked-down"
)

// Status is the answer of GET /v1/status.
type Status struct {
	Phase    Phase     `json:"phase"`
	Since    time.Time `json:"since"`            // when Phase began
	Reason   string    `json:"reason,omitempty"` // what it waits for or what failed
	Hint     string    `json:"hint,omitempty"`   // what to do about it
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Project  string    `json:"project,omitempty"`
	Engine   Engine    `json:"engine"`
	Store    Store     `json:"store"`
	Services []Service `json:"services"` // ordered by name
	Secrets  []Secret  `json:"secrets"`  // ordered by name
	Exposed  []Exposed `json:"exposed,omitempty"`
	// NewVolumes are the data volumes that are others than before, ordered by name, until a person has started a service of theirs, or for 7 days.
	NewVolumes []NewVolume `json:"new_volumes,omitempty"`
}

// NewVolume is a data volume that was made anew, empty, because the one before it was gone.
type NewVolume struct {
	Name     string    `json:"name"`
	Services []string  `json:"services"` // that mount it, sorted
	Since    time.Time `json:"since"`    // when it was noticed
	Hint     string    `json:"hint"`
}

// Exposed is a place at which the compose file passes a secret on in the clear.
type Exposed struct {
	Secret  string `json:"secret"`
	Service string `json:"service"` // "" outside of services
	Path    string `json:"path"`    // such as services.web.environment.PASSWORD
	File    string `json:"file"`
	Line    int    `json:"line"` // 0 where it cannot be told
}

// Engine is the Docker engine as last seen.
type Engine struct {
	Version string `json:"version"`
	API     string `json:"api"`
	Host    string `json:"host,omitempty"`   // the socket in use
	Reason  string `json:"reason,omitempty"` // why it is this one
}

// Store is the secret store. State is "open", "locked", "denied", "unavailable", "missing" or "error".
type Store struct {
	Kind  string `json:"kind"`
	State string `json:"state"`
}

// Service is one service of the compose project.
type Service struct {
	Name        string     `json:"name"`
	Container   string     `json:"container"`             // the container's name
	State       string     `json:"state"`                 // running, starting, waiting, stopped, exited, healing, degraded, maintenance, missing, paused
	Health      string     `json:"health"`                // healthy, unhealthy, starting, or "" without a healthcheck or while not running
	Restarts    int        `json:"restarts"`              // heals since the daemon started
	Since       time.Time  `json:"since"`                 // when the container started, or when State began
	Secrets     []string   `json:"secrets" redact:"name"` // names, sorted
	Reason      string     `json:"reason,omitempty"`
	Maintenance *time.Time `json:"maintenance,omitempty"` // until when its healing is paused
	LastLog     []string   `json:"last_log,omitempty"`    // of a run that failed, until it was well for 10 min: its last lines, redacted
}

// Secret is what may be shown of a secret. State is "current", "pending", "missing" or "unused".
type Secret struct {
	Name        string     `json:"name" redact:"name"`
	Set         bool       `json:"set"`
	Changed     *time.Time `json:"changed"` // nil when not set
	UsedBy      []string   `json:"used_by"`
	State       string     `json:"state"`
	Description string     `json:"description,omitempty"`
	Generate    bool       `json:"generate,omitempty"`   // minibot can make a value
	Previous    bool       `json:"previous,omitempty"`   // there is a value to roll back to
	RevokeURL   string     `json:"revoke_url,omitempty"` // where a person revokes it
	MaxAge      string     `json:"max_age,omitempty"`    // like "90d"; "" is no limit
	Due         *time.Time `json:"due,omitempty"`        // when the current value is MaxAge old
	Age         string     `json:"age,omitempty"`        // "ok", "due" or "overdue"; "" when not set or without MaxAge
	Failed      string     `json:"failed,omitempty"`     // why the last change of it was rolled back, until the next one
}

// Event is one line of the event log.
type Event struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"` // phase, start, healthy, unhealthy, exit, heal, stop, deliver, secret, age, error, …
	Service string    `json:"service,omitempty"`
	Secret  string    `json:"secret,omitempty" redact:"name"`
	Message string    `json:"message"`
	// LatencyMS is, in milliseconds, how long an action was issued after the engine event that caused it had arrived.
	LatencyMS float64 `json:"latency_ms,omitempty"`
}

// Progress is one line of a long operation's answer. The last line has Done set, and Error when it failed.
type Progress struct {
	Time    time.Time `json:"time"`
	Step    string    `json:"step,omitempty"` // of a rotation
	Secret  string    `json:"secret,omitempty" redact:"name"`
	Service string    `json:"service,omitempty"`
	Message string    `json:"message,omitempty"`
	Done    bool      `json:"done,omitempty"`
	Error   *Error    `json:"error,omitempty"`
}

// Verb is an operation on the stack.
type Verb string

// The verbs. Reload and notify take no service; restart, pause and resume want one; for start and stop, none means all. Those about a lockdown take none.
const (
	VerbReload     Verb = "reload"
	VerbRestart    Verb = "restart"
	VerbStart      Verb = "start"
	VerbStop       Verb = "stop"
	VerbNotify     Verb = "notify"     // a message is sent to each that config.toml names, as a test
	VerbPause      Verb = "pause"      // a service is not healed for Seconds
	VerbResume     Verb = "resume"     // it is healed again
	VerbLockdown   Verb = "lockdown"   // Reason
	VerbUnlock     Verb = "unlock"     // Names are skipped, or All
	VerbCompromise Verb = "compromise" // during a lockdown: Names are compromised, or All that are declared; what can be generated is replaced
)

// Operation is the body of POST /v1/operations.
type Operation struct {
	Verb    Verb           `json:"verb"`
	Service string         `json:"service,omitempty"`
	Reason  string         `json:"reason,omitempty"`  // one line of a person's; with lockdown
	Seconds int64          `json:"seconds,omitempty"` // with pause: 1 to MaxPause
	Names   []secrets.Name `json:"names,omitempty"`   // with unlock and compromise
	All     bool           `json:"all,omitempty"`     // likewise
}

// MaxPause is the longest pause of a service's healing. Nobody remembers a longer one.
const MaxPause = 7 * 24 * time.Hour

// Migration is the body of POST /v1/migrations: a move of all secrets to another kind of store.
type Migration struct {
	To        string `json:"to"`                  // the kind
	Remove    bool   `json:"remove,omitempty"`    // remove the old items once the configuration is switched
	Overwrite bool   `json:"overwrite,omitempty"` // replace what the other store holds
}

// eventLine is one line of GET /v1/events: an event, or the error that ended the stream.
type eventLine struct {
	Event
	Error *Error `json:"error,omitempty"`
}

// Change sets one secret, to Value or, with Generate, to a value that the daemon makes.
type Change struct {
	Name     secrets.Name `json:"name"`
	Value    []byte       `json:"value,omitempty"` // base64 on the wire, by encoding/json
	Generate bool         `json:"generate,omitempty"`
}

// wipe clears the values that came in, once whoever took them has copies of their own.
func (o ChangeOrder) wipe() {
	for _, c := range o.Changes {
		clear(c.Value)
	}
}

// Backend is what the server serves: the daemon. Methods are called concurrently. Errors are turned into [Error] by
// what they wrap (secrets.ErrNotFound, secrets.ErrLocked, …) and their hint.
type Backend interface {
	StackBackend
	SecretsBackend
	HistoryBackend
	AuditBackend
}

// StackBackend shows and drives the stack.
type StackBackend interface {
	Status(ctx context.Context) (Status, error)
	// Operate carries out op and reports on the way. The server gives it a context that outlives the caller and ends
	// when the daemon does. report never blocks and may be called concurrently; Done and Error are the server's to set.
	Operate(ctx context.Context, op Operation, report func(Progress)) error
}

// SecretsBackend shows and changes secrets.
type SecretsBackend interface {
	Secrets(ctx context.Context) ([]Secret, error)
	Reveal(ctx context.Context, name secrets.Name) (secrets.Value, error)
	// Change stores all changes, then brings them into force; context and report are as in Operate. The server has
	// checked that names are valid and distinct and that each change has either a valid value or Generate. It clears the
	// values in order when Change returns.
	Change(ctx context.Context, order ChangeOrder, report func(Progress)) error
	// Rotate makes new values and brings them into force as Change does, or the previous ones with Rollback. The server
	// has checked r.
	Rotate(ctx context.Context, r Rotation, report func(Progress)) error
	// Plan says what Rotate would do. It changes nothing.
	Plan(ctx context.Context, r Rotation) (Plan, error)
	// History returns the receipts of what was changed, newest last; of one secret unless name is "".
	History(ctx context.Context, name secrets.Name) ([]Receipt, error)
	// Delete's context outlives the caller.
	Delete(ctx context.Context, name secrets.Name) error
	// Migrate moves all secrets to another store and uses that from then on; context and report are as in Operate.
	Migrate(ctx context.Context, m Migration, report func(Progress)) error
}

// HistoryBackend shows what happened.
type HistoryBackend interface {
	// Events calls yield for the kept events that q asks for, and with Follow for new ones until ctx ends or yield fails. A
	// service and a kind that nothing was ever called are an error.
	Events(ctx context.Context, q EventQuery, yield func(Event) error) error
	// Logs writes a service's log (all services for ""), redacted, each line once; with follow until ctx ends. It begins
	// with the last tail lines of each service, or with everything kept when tail is 0 or negative.
	Logs(ctx context.Context, service string, follow bool, tail int, w io.Writer) error
}
