package stack

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// Event is a change of a container, as the engine tells it. Events are hints: the engine may drop some, and repeats none.
type Event struct {
	Service   string
	Container string // its id
	Action    string // create, start, die, destroy, oom, pause, unpause, rename, disconnect, "health_status: healthy", …
	ExitCode  int    // with die
	Time      time.Time
}

// watched are the actions that change what is to be done. The healthchecks' own exec events are not among them.
var watched = []events.Action{events.ActionCreate, events.ActionStart, events.ActionDie, events.ActionDestroy, events.ActionRename,
	events.ActionHealthStatus, events.ActionPause, events.ActionUnPause, events.ActionOOM}

const refusalDelay = 2 * time.Millisecond

// Watch subscribes to the events of the project's containers, filtered by the engine, and to those of containers that are taken off a network, calls ready once the
// subscription stands, then on for each event, one at a time, and returns when the stream or ctx ends. It always
// returns an error; ErrEngineUnreachable when the engine went away. List everything after ready.
func (e *Engine) Watch(ctx context.Context, p *Project, ready func(), on func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filter := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", api.ProjectLabel+"="+p.Name))
	for _, action := range watched {
		filter.Add("event", string(action))
	}
	messages, errs := e.docker.Events(ctx, events.ListOptions{Filters: filter})
	// an event of a network has no labels of the container: the engine cannot filter by the project
	networks, networkErrs := e.docker.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.NetworkEventType)), filters.Arg("event", string(events.ActionDisconnect)))})
	select { // the client reports a refusal a moment after it has returned
	case err := <-errs:
		return streamEnd(ctx, err)
	case err := <-networkErrs:
		return streamEnd(ctx, err)
	case <-time.After(refusalDelay):
	}
	memory := e.memory(p.Name)
	defer memory.watch()()
	ready()
	for {
		select {
		case m := <-messages: // handed over one by one: none is left when the error comes
			memory.tell(m.Actor.ID)
			on(event(m))
		case m := <-networks:
			id := m.Actor.Attributes["container"]
			if service := memory.service(id); service != "" {
				memory.tell(id)
				on(Event{Service: service, Container: id, Action: string(m.Action), Time: time.Unix(0, m.TimeNano)})
			}
		case err := <-errs:
			return streamEnd(ctx, err)
		case err := <-networkErrs:
			return streamEnd(ctx, err)
		}
	}
}

func streamEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = errors.New("the stream of events ended")
	}
	return wrap(err, "watch the engine")
}

func event(m events.Message) Event {
	e := Event{Service: m.Actor.Attributes[api.ServiceLabel], Container: m.Actor.ID, Action: string(m.Action), Time: time.Unix(0, m.TimeNano)}
	if m.Action == events.ActionDie {
		code, err := strconv.Atoi(strings.TrimSpace(m.Actor.Attributes["exitCode"]))
		if err != nil {
			code = -1
		}
		e.ExitCode = code
	}
	return e
}
