package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// eventLimits are the bounds of an event log.
type eventLimits struct {
	segment int64         // bytes after which the file becomes a segment, and the bound of what compressing takes meanwhile
	turn    time.Duration // likewise, from the first event to the newest
	total   int64         // bytes of all files together
	age     time.Duration // a segment whose last event is older goes
	ring    int           // newest events kept in memory
	sync    time.Duration // from an event until it is on the disk, at most, if the disk is quick
}

// In 50 MB there is more than 90 days of a service that flaps every two minutes (see TestNinetyDaysOfEventsHaveRoom).
var defaultEventLimits = eventLimits{segment: 4 << 20, turn: 7 * 24 * time.Hour, total: 48_000_000, age: 90 * 24 * time.Hour, ring: 1000,
	sync: time.Second}

const (
	maxMessage   = 8 << 10 // bytes of an event's message; what is longer is cut
	maxEventName = 255     // likewise of its other texts
)

// EventLog keeps what happened, in files of one JSON object a line, mode 0600, and the newest also in memory. It holds
// no value that Redact knows. It is safe for concurrent use; one process at a time writes.
//
// The newest events are in the file at path. When that is full, or a week old, it becomes a segment in the folder events
// beside it: renamed as it is, then compressed on a goroutine of its own. A segment's name says which events and times are
// in it, so a query opens only those it needs. All files together stay under 48 MB, and segments of more than 90 days
// go, the oldest first.
//
// Events reach the disk within a second: Append never waits for a sync, so losing power may lose the last second. A killed
// process loses nothing.
type EventLog struct {
	// Redact is what every event passes before it is kept; nil takes nothing out. It is set before the first Append.
	Redact *secrets.Redaction
	// Trouble is told, on the goroutine that syncs and compresses, what that could not do; once until it works again. nil
	// takes no notice. It is set before the first Append and may call Append.
	Trouble func(error)

	path, dir string // the file, the folder of segments
	limits    eventLimits
	at        func(step string) error // called before each step of turning over, for tests
	sync      func(*os.File) error    // (*os.File).Sync, but for tests

	mu       sync.Mutex
	file     *os.File // nil once closed
	now      segment  // what is in the file; its size is that of whole lines
	last     uint64   // Seq of the newest event
	ring     []Event  // the newest events, without gaps, in order
	changed  chan struct{}
	segments []segment // by number

	tending  bool       // tend runs
	unsynced bool       // there is something for it to do
	turned   []*os.File // former files, not synced yet
	closing  chan struct{}
	work     sync.WaitGroup
	failing  bool // tend's alone
}

// OpenEventLog opens the log at path, or makes it. A line that a crash left torn is cut off; other lines that cannot
// be read are left in the file and passed over. Numbers go on from the highest found. What a crash left half turned over is
// finished in the background after the first Append.
func OpenEventLog(path string) (*EventLog, error) { return openEventLog(path, defaultEventLimits) }

func openEventLog(path string, limits eventLimits) (*EventLog, error) {
	l := &EventLog{path: path, dir: filepath.Join(filepath.Dir(path), segmentDir), limits: limits,
		changed: make(chan struct{}), closing: make(chan struct{}), at: func(string) error { return nil }, sync: (*os.File).Sync}
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("open event log: %w", err)
	}
	whole, err := scanEvents(path, func(e Event) error {
		l.now.add(e)
		l.remember(e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.now.size = whole
	file, err := openLogFile(path)
	if err != nil {
		return nil, fmt.Errorf("open event log: %w", err)
	}
	if err := errors.Join(file.Truncate(whole), file.Chmod(0o600)); err != nil {
		return nil, errors.Join(fmt.Errorf("open event log: %w", err), file.Close())
	}
	l.file = file
	return l, nil
}

func openLogFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// remember puts e into memory; numbers that do not rise are passed over.
func (l *EventLog) remember(e Event) {
	if e.Seq <= l.last {
		return
	}
	if len(l.ring) > 0 && e.Seq != l.last+1 {
		l.ring = nil // a gap: what is before it is read from the files
	}
	l.last = e.Seq
	if len(l.ring) >= l.limits.ring {
		l.ring = append(l.ring[:0:0], l.ring[len(l.ring)-l.limits.ring*3/4:]...) // a quarter at once, so that copying is rare
	}
	l.ring = append(l.ring, e)
}

// Append gives e the next number, and the time when it has none, and keeps it; texts that are too long are cut. It waits
// for no reader and for no sync. When the file cannot be written the event is still shown to readers until the daemon ends,
// and the error says so.
func (l *EventLog) Append(e Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fmt.Errorf("append to event log: %w", os.ErrClosed)
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e = redacted(l.Redact, e)
	e.Message = hint.Cut(e.Message, maxMessage)
	for _, text := range []*string{&e.Kind, &e.Service, &e.Secret} {
		*text = hint.Cut(*text, maxEventName)
	}
	e.Seq = l.last + 1
	l.remember(e)
	close(l.changed)
	l.changed = make(chan struct{})
	if err := l.write(e); err != nil {
		return fmt.Errorf("append to event log: %w", err)
	}
	return nil
}

// Last is the number of the newest event, 0 where there is none.
func (l *EventLog) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *EventLog) write(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if l.now.size+int64(len(line)) > l.limits.segment || l.now.first > 0 && e.Time.Sub(l.now.from) > l.limits.turn {
		if err := l.turnOver(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.now.size)) // a torn line would spoil the next one
		}
		return err
	}
	l.now.size += int64(n)
	l.now.add(e)
	l.unsynced = true
	if !l.tending {
		l.tending = true
		l.work.Go(l.tend)
	}
	return nil
}

// Read calls yield for the kept events that q asks for, in order, and with Follow for new ones as they come. Without
// Follow it ends with the newest event there was when it began. Where events are lost to damage, an event of kind
// "error" stands in their place and says so, whatever q asks for. It returns ctx's error, yield's, or with Follow
// os.ErrClosed once the log was closed. A slow yield delays nobody else; what has gone meanwhile is passed over.
func (l *EventLog) Read(ctx context.Context, q EventQuery, yield func(Event) error) error {
	after, until := q.After, l.Last()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, files, changed, err := l.next(after)
		if err != nil {
			return err
		}
		send := func(e Event, lost bool) error {
			if e.Seq <= after || (!q.Follow && e.Seq > until) {
				return ctx.Err()
			}
			after = e.Seq
			if !lost && !q.match(e) {
				return ctx.Err()
			}
			return errors.Join(ctx.Err(), yield(e))
		}
		if files != nil {
			if err := files.each(q, after, send); err != nil {
				return err
			}
			after = max(after, files.until) // what is gone from the files is gone
			continue
		}
		for _, e := range batch {
			if err := send(e, false); err != nil {
				return err
			}
		}
		switch {
		case !q.Follow:
			return nil
		case len(batch) > 0:
		case changed == nil:
			return fmt.Errorf("follow event log: %w", os.ErrClosed)
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// next returns what there is after a number: events from memory, or the files when memory begins later. changed is
// closed when there is more, and nil when there will not be.
func (l *EventLog) next(after uint64) (batch []Event, files *eventFiles, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.last + 1
	if len(l.ring) > 0 {
		first = l.ring[0].Seq
	}
	if after < first-1 {
		files = &eventFiles{dir: l.dir, segments: slices.Clone(l.segments), size: l.now.size, until: first - 1}
		if files.newest, err = os.Open(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil, fmt.Errorf("read event log: %w", err)
		}
		return nil, files, nil, nil
	}
	if after < l.last {
		batch = l.ring[after+1-first:][: l.last-after : l.last-after] // never written to again
	}
	if l.file != nil {
		changed = l.changed
	}
	return batch, nil, changed, nil
}

// Close syncs and closes the file and ends those who follow. It waits for a sync or a compression that is under way. A
// second Close does nothing.
func (l *EventLog) Close() error {
	l.mu.Lock()
	file := l.file
	if file == nil {
		l.mu.Unlock()
		return nil
	}
	l.file = nil
	close(l.changed)
	close(l.closing)
	l.mu.Unlock()
	l.work.Wait()
	err := errors.Join(l.settle(l.turned), l.sync(file), file.Close())
	if err != nil {
		return fmt.Errorf("close event log: %w", err)
	}
	return nil
}
