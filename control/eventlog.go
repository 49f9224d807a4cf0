package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"minibot/secrets"
)

// The bounds of the event log.
const (
	eventFileSize = 4 << 20 // then the file is kept as FILE.1 and a new one begun
	eventRing     = 1000    // newest events kept in memory
)

// EventLog keeps what happened, in a file of one JSON object a line, mode 0600, and the newest also in memory. It holds
// no value that Redact knows. Files are not synced for each event, so losing power may lose the last ones. It is
// safe for concurrent use.
type EventLog struct {
	// Redact is what every event passes before it is kept; nil takes nothing out. It is set before the first Append.
	Redact *secrets.Redaction

	path    string
	maxSize int64
	maxRing int

	mu      sync.Mutex
	file    *os.File // nil once closed
	size    int64    // of whole lines
	last    uint64   // Seq of the newest event
	ring    []Event  // the newest events, without gaps, in order
	changed chan struct{}
}

// OpenEventLog opens the log at path, or makes it. A line that a crash left torn is cut off; other lines that cannot
// be read are left in the file and passed over. Numbers go on from the highest found.
func OpenEventLog(path string) (*EventLog, error) {
	return openEventLog(path, eventFileSize, eventRing)
}

func openEventLog(path string, maxSize int64, maxRing int) (*EventLog, error) {
	l := &EventLog{path: path, maxSize: maxSize, maxRing: maxRing, changed: make(chan struct{})}
	for _, name := range [...]string{l.oldPath(), path} {
		whole, err := scanEvents(name, func(e Event) error { l.remember(e); return nil })
		if err != nil {
			return nil, err
		}
		l.size = whole
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open event log: %w", err)
	}
	if err := errors.Join(file.Truncate(l.size), file.Chmod(0o600)); err != nil {
		return nil, errors.Join(fmt.Errorf("open event log: %w", err), file.Close())
	}
	l.file = file
	return l, nil
}

func (l *EventLog) oldPath() string { return l.path + ".1" }

// remember puts e into memory; numbers that do not rise are passed over.
func (l *EventLog) remember(e Event) {
	if e.Seq <= l.last {
		return
	}
	if len(l.ring) > 0 && e.Seq != l.last+1 {
		l.ring = nil // a gap: what is before it is read from the files
	}
	l.last = e.Seq
	if len(l.ring) >= l.maxRing {
		l.ring = append(l.ring[:0:0], l.ring[len(l.ring)-l.maxRing*3/4:]...) // a quarter at once, so that copying is rare
	}
	l.ring = append(l.ring, e)
}

// Append gives e the next number, and the time when it has none, and keeps it. It never waits for readers. When the
// file cannot be written the event is still shown to readers until the daemon ends, and the error says so.
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
	e.Seq = l.last + 1
	l.remember(e)
	close(l.changed)
	l.changed = make(chan struct{})
	if err := l.write(e); err != nil {
		return fmt.Errorf("append to event log: %w", err)
	}
	return nil
}

func (l *EventLog) write(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if l.size > 0 && l.size+int64(len(line)) > l.maxSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size)) // a torn line would spoil the next one
		}
		return err
	}
	l.size += int64(n)
	return nil
}

// rotate keeps the file as the old one and begins a new one. When that fails the file stays in use.
func (l *EventLog) rotate() error {
	if err := os.Rename(l.path, l.oldPath()); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return errors.Join(err, os.Rename(l.oldPath(), l.path))
	}
	old := l.file
	l.file, l.size = file, 0
	return old.Close()
}

// Read calls yield for the kept events after the given number, in order, and with follow for new ones as they come.
// Without follow it ends with the newest event there was when it began. It returns ctx's error, yield's, or with
// follow os.ErrClosed once the log was closed. A slow yield delays nobody else; what was rotated away meanwhile is
// passed over.
func (l *EventLog) Read(ctx context.Context, after uint64, follow bool, yield func(Event) error) error {
	l.mu.Lock()
	until := l.last
	l.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, files, changed, err := l.next(after)
		if err != nil {
			return err
		}
		send := func(e Event) error {
			if e.Seq <= after || (!follow && e.Seq > until) {
				return nil
			}
			after = e.Seq
			return errors.Join(ctx.Err(), yield(e))
		}
		if files != nil {
			if err := files.each(send); err != nil {
				return err
			}
			after = max(after, files.until) // what is gone from the files is gone
			continue
		}
		for _, e := range batch {
			if err := send(e); err != nil {
				return err
			}
		}
		switch {
		case !follow:
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
		files, err = openEventFiles(first-1, l.oldPath(), l.path)
		return nil, files, nil, err
	}
	if after < l.last {
		batch = l.ring[after+1-first:][: l.last-after : l.last-after] // never written to again
	}
	if l.file != nil {
		changed = l.changed
	}
	return batch, nil, changed, nil
}

// Close syncs and closes the file and ends those who follow. A second Close does nothing.
func (l *EventLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	close(l.changed)
	if err != nil {
		return fmt.Errorf("close event log: %w", err)
	}
	return nil
}
