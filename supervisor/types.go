// Package supervisor keeps a set of services up: it starts them in dependency order, heals them, and restarts what
// has not taken a changed secret.
//
// It owns the healing state and the policy. The policy is a pure function of what is wanted, what is seen and the
// time; one goroutine runs it, wakes on events, and hands the actions to a Runtime. It never talks to Docker or to a
// store itself, and never starts anything that needs secrets unless the runtime says that delivery is complete.
package supervisor

import (
	"context"
	"time"
)

// Condition is what a service waits for in another one; compose's depends_on conditions.
type Condition uint8

// The conditions.
const (
	Started Condition = iota
	Healthy
	Completed // ended with exit code 0
)

// Dependency is one entry of depends_on.
type Dependency struct {
	Service   string
	Condition Condition
	Required  bool // false: a missing or failed dependency does not hold the service back
	Restart   bool // restart the dependent after the dependency was restarted
}

// Adoption is how a service takes a changed secret.
type Adoption uint8

// The ways of x-minibot.on_change. Exec and Signal leave the container running.
const (
	AdoptByRestart Adoption = iota
	AdoptByRecreate
	AdoptBySignal
	AdoptByExec
	AdoptNothing
)

// Remedy is what becomes of a service that is unhealthy.
type Remedy uint8

// The remedies.
const (
	RemedyUsual    Remedy = iota // it is restarted; once that was in vain three times its container is made anew, once
	RemedyRestart                // it is restarted
	RemedyRecreate               // its container is made anew
	RemedyStop                   // it is stopped, and stays down until a person acts
	RemedyIgnore                 // it is only reported
)

// Heal is how a service is healed. The zero value: an unhealthy one is restarted at once, and nothing is given up.
type Heal struct {
	Unhealthy   Remedy
	StartGrace  time.Duration // since its start was seen: so long an unhealthy one is left alone
	Backoff     time.Duration // after the first failed attempt, doubling up to the longer of itself and Options.BackoffCap; 0: Options.BackoffFirst
	MaxAttempts int           // failed ones in a row after which it is given up until a person acts or something changes; 0: never
	StopTimeout time.Duration // what a heal gives it to stop; 0: its stop_grace_period
}

// Service is what is wanted of one service.
type Service struct {
	Name        string
	DependsOn   []Dependency
	Healthcheck bool     // without one, running is as good as healthy
	Secrets     bool     // has secrets: starts only while the world is Fed
	Missing     []string // names of its secrets that are not set; it is held back while there are any
	Adopt       Adoption
	Completes   bool // some service waits for this one to end well; exit 0 is its goal and it is not started again
	NoHeal      bool // report that it died or is unhealthy, but start it only at first and when a person asks
	Heal        Heal
	// Maintenance is until when the service is not healed, by the wall's clock; zero or past: it is. What a person asks,
	// and changed secrets, happen all the same.
	Maintenance time.Time
	Stopped     bool // a person's intent: keep it down
	// Held, when not empty, says why the service is not started or restarted for now. With HeldHint only a person can end that.
	Held, HeldHint string
	// Revision changes when what the service is given does, such as a secret: its failures are forgotten, and it is
	// tried again at once.
	Revision uint64
}

// Wanted is the whole desired state. A new one is given to Supervisor.Apply.
type Wanted struct {
	Services map[string]Service
	// Create counts the reasons to run ActionCreate although no container is missing: it rises when the compose
	// definition changed. The supervisor creates once for each new value; zero is no reason.
	Create uint64
	// Halted: nothing is created, and what is wanted down is killed, all at once and without regard to who depends on whom.
	Halted bool
}

// Health is a container's health; it counts only while the container runs.
type Health uint8

// The healths.
const (
	HealthNone Health = iota // no healthcheck, or not running
	HealthStarting
	HealthHealthy
	HealthUnhealthy
)

// Container is what is seen of one service's container. Instance changes with every start.
type Container struct {
	ID, Name  string
	Running   bool
	Paused    bool
	Health    Health
	ExitCode  int
	OOMKilled bool
	// MemoryLimit is in bytes; 0: none, or not known.
	MemoryLimit int64
	Instance    string // id and StartedAt: identifies one run of the container
	StartedAt   time.Time
	FinishedAt  time.Time
	Stale       bool // runs with secrets older than those delivered
	Foreign     bool // was made by someone else, as by hand, or is one of two: nothing is started then, and the next ActionCreate mends it
	// Detached names the networks that it is to be in and is not; "" is none. A start or a restart brings it back into them.
	Detached string
	// Checked is when the last healthcheck that has ended began, by the engine's clock; zero where that is not known.
	Checked time.Time
	Error   string // the engine's own words when the last start failed
}

// Seen is the world as the runtime sees it.
type Seen struct {
	Containers map[string]Container // by service; absent: there is no container
	Fed        bool                 // the keeper runs and every wanted file is delivered
	More       bool                 // some of it is older than the events of it: look again soon
}

// ActionKind is what is to be done.
type ActionKind uint8

// The kinds. Create, Feed and Withdraw concern the whole project, the others one service.
const (
	ActionCreate   ActionKind = iota // create missing containers, recreate diverged ones
	ActionFeed                       // run the keeper and deliver
	ActionWithdraw                   // everything is stopped: take the keeper and its files away
	ActionStart
	ActionRestart  // honours Action.StopTimeout
	ActionStop     // likewise
	ActionAdopt    // signal or exec, so that the service takes what was delivered
	ActionRecreate // stop, remove, create and start one service's container; likewise
	ActionKill     // at once
	ActionConnect  // bring a running container back into its networks; where that is not possible, make it anew, without starting it
)

// String returns the action's verb.
func (k ActionKind) String() string {
	verbs := [...]string{"create", "feed", "withdraw", "start", "restart", "stop", "adopt", "recreate", "kill", "connect"}
	if int(k) < len(verbs) {
		return verbs[k]
	}
	return "unknown"
}

// Action is one order of the policy to the runtime.
type Action struct {
	Kind    ActionKind
	Service string
	Reason  string // for events and logs: "unhealthy", "exited with 137", "secret changed", …
	Heal    bool   // counts as an attempt to heal
	// StopTimeout is what the service gets to stop before it is killed; 0: its stop_grace_period.
	StopTimeout time.Duration
}

// Runtime is the world that the supervisor acts on. Its methods are called concurrently, and return soon after their
// context ends.
type Runtime interface {
	// Observe returns how everything is, no older than the end of the last Do; see Seen.More.
	Observe(ctx context.Context) (Seen, error)
	// Watch subscribes, calls ready once the subscription stands, then wake for each event, and returns when the
	// stream ends. The service is "" when the event concerns the keeper or the whole project; at is the engine's time.
	Watch(ctx context.Context, ready func(), wake func(service string, at time.Time)) error
	// Do carries out one action and returns when the engine has. It bounds its own time, and does not retry: whether
	// the action is still needed shows in what is observed next.
	Do(ctx context.Context, action Action) error
}
