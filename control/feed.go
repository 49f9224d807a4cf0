package control

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// feed carries an operation's progress to its caller. The operation never waits: a caller that reads too slowly
// loses the oldest lines, a caller that left loses all of them. The last line is always kept.
type feed struct {
	mu      sync.Mutex
	lines   []Progress
	skipped int
	over    bool
	wake    chan struct{}
}

func newFeed() *feed { return &feed{wake: make(chan struct{}, 1)} }

// report adds one line. After finish it does nothing.
func (f *feed) report(p Progress) {
	p.Done, p.Error = false, nil
	f.add(p)
}

// finish adds the last line.
func (f *feed) finish(err error) { f.add(Progress{Done: true, Error: AsError(err)}) }

func (f *feed) add(p Progress) {
	if p.Time.IsZero() {
		p.Time = time.Now()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return
	}
	f.over = p.Done
	if len(f.lines) >= streamBacklog {
		f.lines = f.lines[1:]
		f.skipped++
	}
	f.lines = append(f.lines, p)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next waits for lines and takes them. It returns nil when ctx ends.
func (f *feed) next(ctx context.Context) []Progress {
	for {
		f.mu.Lock()
		lines, skipped := f.lines, f.skipped
		f.lines, f.skipped = nil, 0
		f.mu.Unlock()
		if skipped > 0 {
			note := Progress{Time: lines[0].Time, Message: fmt.Sprintf("(%d lines left out: they came faster than they were read)", skipped)}
			return append([]Progress{note}, lines...)
		}
		if len(lines) > 0 {
			return lines
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil
		}
	}
}
