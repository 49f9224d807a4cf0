package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"minibot/control"
	"minibot/stack"
	"minibot/supervisor"
)

const (
	excerptLines   = 20 // of a degraded service's log, in status
	excerptTimeout = 5 * time.Second
)

// record puts an event into the log of events, redacted.
func (d *daemon) record(e control.Event) {
	e.Time = time.Now()
	e.Message = d.redact.text(e.Message)
	if err := d.events.Append(e); err != nil {
		d.log.Warn("event not kept", keyError, err)
	}
}

// onSupervisorEvent keeps what the supervisor tells, and fetches the last words of a service that it gives up on.
func (d *daemon) onSupervisorEvent(e supervisor.Event) {
	d.record(control.Event{Kind: string(e.Kind), Service: e.Service, Message: eventText(e), LatencyMS: float64(e.Latency.Microseconds()) / 1000})
	if e.Kind == supervisor.EventDegraded && e.Service != "" {
		go d.excerpt(e.Service)
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

// excerpt reads the last lines of a service's log for status.
func (d *daemon) excerpt(service string) {
	ctx, cancel := context.WithTimeout(context.Background(), excerptTimeout)
	defer cancel()
	var lines []string
	err := d.serviceLog(ctx, service, stack.LogOptions{Tail: excerptLines}, func(line string) error {
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		d.log.Warn("read the log of a degraded service", keyService, service, keyError, err)
	}
	d.mu.Lock()
	d.lastLines[service] = lines
	d.mu.Unlock()
}

// Events yields the kept events.
func (d *daemon) Events(ctx context.Context, after uint64, follow bool, yield func(control.Event) error) error {
	return d.events.Read(ctx, after, follow, yield)
}

// Logs writes the log of one service, or of all with the service's name before each line.
func (d *daemon) Logs(ctx context.Context, service string, follow bool, tail int, w io.Writer) error {
	services, err := d.concerned(service)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range slices.Sorted(maps.Keys(services)) {
		prefix := ""
		if service == "" {
			prefix = fmt.Sprintf("%-10s | ", name)
		}
		read := func() error {
			err := d.serviceLog(ctx, name, stack.LogOptions{Tail: tail, Follow: follow}, func(line string) error {
				mu.Lock()
				defer mu.Unlock()
				_, err := fmt.Fprintln(w, prefix+line)
				return err
			})
			if errors.Is(err, stack.ErrNoContainer) && service == "" {
				return nil // it has no log yet
			}
			return err
		}
		if follow {
			group.Go(read)
		} else if err := read(); err != nil {
			return err
		}
	}
	return group.Wait()
}

// serviceLog yields a container's log line by line, redacted.
func (d *daemon) serviceLog(ctx context.Context, service string, options stack.LogOptions, yield func(string) error) error {
	engine, project, err := d.world.connect(ctx)
	if err != nil {
		return err
	}
	c, err := engine.Container(ctx, project, service)
	if err != nil {
		return d.world.lost(engine, err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(engine.Logs(ctx, c.ID, options, w)) }()
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if text := trimNewline(line); text != "" || err == nil {
			if err := yield(d.redact.text(text)); err != nil {
				_ = r.CloseWithError(err) // ends the copying goroutine; never fails
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return nil
			}
			return d.world.lost(engine, err)
		}
	}
}

func trimNewline(line string) string {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}
