package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"minibot/control"
	"minibot/stack"
	"minibot/supervisor"
)

const (
	excerptLines   = 10   // of a run that failed, in status and in the event
	excerptWidth   = 1000 // bytes of each of them in status
	excerptShort   = 200  // in the event
	excerptTimeout = 5 * time.Second
	excerptTail    = 200 // lines that are read: a run that has begun since may have written some
	// excerptSlack is how much later than a run has ended the engine may date its last line, and how much earlier than it
	// has begun the first: it notes both late. The next run begins later than that.
	excerptSlack = 100 * time.Millisecond
)

// failure is a run of a service that failed; from and to are zero for one that still goes on.
type failure struct {
	service  string
	from, to time.Time
}

// record puts an event into the log of events.
func (d *daemon) record(e control.Event) {
	switch err := d.keep(e); {
	case err == nil && d.unkept.Swap(false):
		d.log.Info("events are kept again")
	case err != nil && !d.unkept.Swap(true): // on a full disk, say
		d.log.Warn("events are not kept", keyError, err)
	}
}

// keep is record for who must know whether the event was kept.
func (d *daemon) keep(e control.Event) error {
	e.Time = time.Now()
	return d.events.Append(e)
}

// onSupervisorEvent keeps what the supervisor tells, and has the last words of a run that failed fetched.
func (d *daemon) onSupervisorEvent(e supervisor.Event) {
	d.record(control.Event{Kind: string(e.Kind), Service: e.Service, Message: eventText(e), LatencyMS: float64(e.Latency.Microseconds()) / 1000})
	if e.Kind == supervisor.EventHealthy && d.holdsCredential(e.Service) { // its data may be older than the store
		d.wakeFinish()
	}
	if e.Kind == supervisor.EventDegraded { // it may be for a password that a database has and the store has not
		d.wakeFinish()
	}
	unhealthy := e.Kind == supervisor.EventHeal && e.Action != supervisor.ActionStart
	if e.Kind == supervisor.EventExit && !e.To.IsZero() || unhealthy {
		select {
		case d.failures <- failure{e.Service, e.From, e.To}:
		default: // so many at once that their last lines are not what matters
		}
	}
}

// eventText says in a line what the supervisor tells.
func eventText(e supervisor.Event) string {
	text := e.Reason
	switch e.Kind {
	case supervisor.EventDone:
		text = fmt.Sprintf("%s done in %v", e.Action, e.Latency.Round(time.Millisecond))
	case supervisor.EventFailed:
		text = fmt.Sprintf("%s failed: %s", e.Action, e.Reason)
	case supervisor.EventHeal:
		text = fmt.Sprintf("%s, attempt %d: %s", e.Action, e.Attempt, e.Reason)
	case supervisor.EventRecovered:
		text = fmt.Sprintf("recovered after %v", e.Latency.Round(time.Millisecond))
	}
	if text == "" {
		text = string(e.Kind)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// excerpts keeps the last lines of each run that failed, until ctx ends.
func (d *daemon) excerpts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-d.failures:
			d.excerpt(ctx, f)
		}
	}
}

// excerpt reads the last lines of a run, for status and an event.
func (d *daemon) excerpt(ctx context.Context, f failure) {
	ctx, cancel := context.WithTimeout(ctx, excerptTimeout)
	defer cancel()
	options := stack.LogOptions{Tail: excerptLines}
	if !f.to.IsZero() {
		options = stack.LogOptions{Tail: excerptTail, Since: f.from.Add(-excerptSlack), Until: f.to.Add(excerptSlack)}
	}
	var lines []string
	_, err := d.serviceLog(ctx, f.service, options, "", func(line string) error {
		if lines = append(lines, shorten(line, excerptWidth)); len(lines) > excerptLines {
			lines = lines[1:]
		}
		return nil
	})
	if err != nil {
		d.log.Warn("read the log of a failed run", keyService, f.service, keyError, err)
	}
	d.mu.Lock()
	d.lastLines[f.service] = lines
	d.mu.Unlock()
	if len(lines) == 0 {
		return
	}
	var short []string
	for _, line := range lines {
		short = append(short, shorten(line, excerptShort))
	}
	d.record(control.Event{Kind: "lines", Service: f.service, Message: "its last lines: " + strings.Join(short, " | ")})
}

// Logs writes the log of one service, or of all with the service's name before each line. With follow it goes on over
// restarts of the containers.
func (d *daemon) Logs(ctx context.Context, service string, follow bool, tail int, w io.Writer) error {
	services, err := d.concerned(ctx, service)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	if !follow {
		group.SetLimit(1) // one after the other
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		prefix := ""
		if service == "" {
			prefix = fmt.Sprintf("%-10s | ", name)
		}
		write := func(line string) error {
			mu.Lock()
			defer mu.Unlock()
			_, err := fmt.Fprintln(w, prefix+line)
			return err
		}
		group.Go(func() error {
			if follow {
				return d.followLog(ctx, name, tail, write)
			}
			_, err := d.serviceLog(ctx, name, stack.LogOptions{Tail: tail}, "", write)
			if errors.Is(err, stack.ErrNoContainer) && service == "" {
				return nil // it has no log yet
			}
			return err
		})
	}
	return ending(group.Wait())
}

// followLog yields a service's log, run of its container after run, until ctx ends.
func (d *daemon) followLog(ctx context.Context, service string, tail int, yield func(string) error) error {
	last := "" // the run that was read to its end
	for {
		before, _ := d.supervisor.Status().Service(service)
		run, err := d.serviceLog(ctx, service, stack.LogOptions{Tail: tail, Follow: true}, last, yield)
		if err != nil && !errors.Is(err, stack.ErrNoContainer) || ctx.Err() != nil {
			return err
		}
		last = cmp.Or(run, last)
		_, err = d.supervisor.Wait(ctx, func(s supervisor.Status) bool {
			now, _ := s.Service(service)
			return now.Container != before.Container || !now.Since.Equal(before.Since)
		})
		if err != nil {
			return err
		}
	}
}

// serviceLog yields a container's log line by line, and returns which run of the container it was. After
// the run named last, it yields what a later one has written, and nothing of a container that was not started again.
func (d *daemon) serviceLog(ctx context.Context, service string, options stack.LogOptions, last string, yield func(string) error) (run string, err error) {
	engine, project, err := d.world.connect(ctx)
	if err != nil {
		return "", err
	}
	c, err := engine.Container(ctx, project, service)
	if err != nil || c.Instance == last {
		return last, d.world.lost(engine, err)
	}
	if last != "" {
		options.Tail = 0
		if strings.HasPrefix(last, c.ID) { // StartedAt would come too late: a container may write before the engine notes it
			options.Since = c.FinishedAt
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.CloseWithError(engine.Logs(ctx, c.ID, options, w))
	}()
	defer func() {
		cancel()
		_ = r.Close() // ends a write that nobody reads; never fails
		<-ended
	}()
	for lines := bufio.NewReader(r); ; {
		line, err := readLine(lines)
		if text := trimNewline(line); text != "" || err == nil {
			if err := yield(shorten(d.redact.Text(text), maxLogLine)); err != nil { // a value cut in two would not be known
				return c.Instance, err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return c.Instance, nil //nolint:nilerr // whoever asked has left
		default:
			return c.Instance, d.world.lost(engine, err)
		}
	}
}

func trimNewline(line string) string { return strings.TrimRight(line, "\r\n") }
