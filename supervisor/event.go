package supervisor

import (
	"context"
	"log/slog"
	"time"
)

// EventKind says what an Event reports.
type EventKind string

// The kinds. An action that is issued is reported with its verb ("start", "restart", "stop", "adopt", "recreate", "connect",
// "create", "feed", "withdraw") or as a heal, and once more when it is done or has failed.
const (
	EventHeal        EventKind = "heal"
	EventDone        EventKind = "done"   // an action was carried out; Action tells which, Latency how long it took
	EventFailed      EventKind = "failed" // an action failed; Reason and Hint tell why
	EventHealthy     EventKind = "healthy"
	EventUnhealthy   EventKind = "unhealthy"
	EventExit        EventKind = "exit"
	EventMissing     EventKind = "missing"
	EventDegraded    EventKind = "degraded"
	EventGaveUp      EventKind = "gave-up"     // heal.max_attempts have failed: it goes on only when a person acts
	EventRecovered   EventKind = "recovered"   // Latency: since the trouble was noticed
	EventFlapping    EventKind = "flapping"    // healed again and again, though each heal helped; told once until 6 hours were calm
	EventMaintenance EventKind = "maintenance" // healing is paused, or goes on, as Reason says
	EventUnreachable EventKind = "unreachable"
	EventReconnected EventKind = "reconnected"
	EventWoke        EventKind = "woke"  // the machine slept, as Reason says; everything is looked at anew
	EventClock       EventKind = "clock" // the clock was set back
)

// Event is something that happened. It holds no secret as long as the runtime's errors hold none.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Service  string     // "" for the project and the engine
	Action   ActionKind // of an issued, done or failed action
	Reason   string
	Hint     string
	ExitCode int // of EventExit, EventDegraded and EventGaveUp
	Attempt  int // counts from 1 since the last calm, for heals and starts
	Delay    time.Duration
	// At is the engine's time of what caused the event, zero where unknown.
	At time.Time
	// From and To are, for EventExit, when the run that failed began and ended, by the engine's clock; zero for one that
	// has completed.
	From, To time.Time
	// Latency is, for an issued action, the time since the runtime's wake that caused it arrived; 0 where no wake did.
	Latency time.Duration
}

var messages = map[EventKind]string{
	EventHeal: "healing", EventDone: "action done", EventFailed: "action failed", EventHealthy: "service healthy",
	EventUnhealthy: "service unhealthy", EventExit: "service exited", EventMissing: "container missing",
	EventDegraded: "service degraded", EventGaveUp: "service given up", EventRecovered: "service recovered", EventUnreachable: "engine unreachable",
	EventFlapping: "service flapping", EventMaintenance: "maintenance", EventReconnected: "engine reachable", EventWoke: "woke", EventClock: "clock set back",
}

func (e Event) log(logger *slog.Logger) {
	level, message := slog.LevelInfo, messages[e.Kind]
	switch e.Kind {
	case EventHeal, EventFailed, EventUnhealthy, EventExit, EventMissing, EventDegraded, EventGaveUp, EventFlapping, EventUnreachable:
		level = slog.LevelWarn
	}
	if e.Kind == EventExit && e.ExitCode == 0 {
		level = slog.LevelInfo
	}
	attrs := make([]slog.Attr, 0, 8)
	add := func(attr slog.Attr, wanted bool) {
		if wanted {
			attrs = append(attrs, attr)
		}
	}
	_, noted := messages[e.Kind]
	if !noted {
		message = "action issued"
	}
	add(slog.String("service", e.Service), e.Service != "")
	add(slog.String("action", e.Action.String()), !noted || e.Kind == EventHeal || e.Kind == EventDone || e.Kind == EventFailed)
	add(slog.String("reason", e.Reason), e.Reason != "")
	add(slog.Int("exit_code", e.ExitCode), e.Kind == EventExit)
	add(slog.Int("attempt", e.Attempt), e.Attempt > 0)
	add(slog.Duration("delay", e.Delay), e.Delay > 0)
	add(slog.Duration("latency", e.Latency), e.Latency > 0)
	add(slog.String("hint", e.Hint), e.Hint != "")
	logger.LogAttrs(context.Background(), level, message, attrs...) //nolint:sloglint // one of the constants above
}

// issued describes an action that was just handed to the runtime.
func issued(action Action, r *record, now time.Time) Event {
	e := Event{Time: now, Kind: EventKind(action.Kind.String()), Service: action.Service, Action: action.Kind, Reason: action.Reason}
	if action.Heal {
		e.Kind = EventHeal
	}
	if r != nil {
		e.Attempt, e.Delay = r.heal.tries, r.heal.delay
	}
	return e
}
