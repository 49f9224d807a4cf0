package control

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxEventLine bounds what is read as one event; a longer line is damage and passed over.
const maxEventLine = 128 << 10

// maxSegment bounds what is unpacked of one segment: more than any limit of a log makes it.
const maxSegment = 64 << 20

// maxSeq is the highest number that an event can have come to; beyond it is damage, after which numbers could not rise.
const maxSeq = 1 << 53

// eventFiles are the log's files as they were at one moment. Segments are opened one by one; one that has gone by then is
// passed over.
type eventFiles struct {
	dir      string
	segments []segment
	newest   *os.File // it stays readable when the log turns over; nil where there is none
	size     int64    // of newest
	until    uint64   // the last event to read from them
}

// each calls yield for every event after a number and up to until, of the files that may hold what q asks for, and closes
// newest. An event with lost set tells of damage in place of what is lost.
func (a *eventFiles) each(q EventQuery, after uint64, yield func(e Event, lost bool) error) (err error) {
	if a.newest != nil {
		defer func() { err = errors.Join(err, a.newest.Close()) }()
	}
	upTo := func(e Event, lost bool) error {
		if e.Seq > a.until {
			return nil
		}
		return yield(e, lost)
	}
	for _, s := range a.segments {
		if s.last <= after || s.first > a.until || !q.reaches(s) {
			continue
		}
		if err := readSegment(a.dir, s, upTo); err != nil {
			return err
		}
	}
	if a.newest == nil {
		return nil
	}
	_, err = readEvents(io.LimitReader(a.newest, a.size), func(e Event, _ bool) error { return upTo(e, false) })
	return err
}

// readSegment calls yield for each event of a segment, and where some cannot be read for one that says so.
func readSegment(dir string, s segment, yield func(e Event, lost bool) error) (err error) {
	f, packed, err := openSegment(dir, s)
	if err != nil || f == nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.packed = packed
	var failed error // yield's
	next, bad := s.first, false
	pass := func(e Event, lost bool) error {
		failed = yield(e, lost)
		return failed
	}
	missing := func(last uint64) error {
		if last < next {
			return nil
		}
		return pass(Event{Seq: last, Time: s.until, Kind: "error", Message: fmt.Sprintf(
			"events %d to %d cannot be read: %s is damaged", next, last, filepath.Join(dir, s.name()))}, true)
	}
	var in io.Reader = f
	if packed {
		var zip *gzip.Reader
		if zip, err = gzip.NewReader(f); err == nil {
			in = io.LimitReader(zip, maxSegment)
		}
	}
	if err == nil {
		_, err = readEvents(in, func(e Event, afterDamage bool) error {
			if bad = bad || afterDamage; bad && e.Seq > next {
				if err := missing(e.Seq - 1); err != nil {
					return err
				}
			}
			next, bad = max(next, e.Seq+1), false
			return pass(e, false)
		})
	}
	if failed == nil && next <= s.last { // whatever err keeps it from being read to its end, that is what is said
		return missing(s.last)
	}
	return failed
}

// openSegment opens a segment, which may be packed by now or gone: then there is neither a file nor an error.
func openSegment(dir string, s segment) (f *os.File, packed bool, err error) {
	for _, s.packed = range [...]bool{false, true, false} { // between the first two it may have been packed, and pruned
		f, err = os.Open(filepath.Join(dir, s.name()))
		if err == nil {
			return f, s.packed, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, false, fmt.Errorf("read event log: %w", err)
		}
	}
	return nil, false, nil
}

// ReadEvents reads the log at path, as [EventLog.Read] without Follow, where no daemon has it: it changes nothing. The error
// wraps [fs.ErrNotExist] where there is no log.
func ReadEvents(ctx context.Context, path string, q EventQuery, yield func(Event) error) error {
	l := EventLog{path: path, dir: filepath.Join(filepath.Dir(path), segmentDir)}
	var err error
	if l.segments, _, err = listSegments(l.dir); err != nil {
		return fmt.Errorf("read event log: %w", err)
	}
	newest, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && len(l.segments) > 0 { // it was killed before it began a new one
		newest, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("read event log: %w", err)
	}
	files := eventFiles{dir: l.dir, segments: l.segments, newest: newest, size: 1 << 62, until: maxSeq}
	after := q.After
	return files.each(q, after, func(e Event, lost bool) error {
		if e.Seq <= after || !lost && !q.match(e) {
			return ctx.Err()
		}
		after = e.Seq
		return errors.Join(ctx.Err(), yield(e))
	})
}

// scanEvents is readEvents for a file, of which there may be none.
func scanEvents(path string, yield func(Event) error) (whole int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read event log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readEvents(f, func(e Event, _ bool) error { return yield(e) })
}

// readEvents calls yield for each line that is an event, saying whether a line before it was none, and returns the number
// of bytes in whole lines: what follows them is torn.
func readEvents(r io.Reader, yield func(e Event, afterDamage bool) error) (whole int64, err error) {
	b := bufio.NewReaderSize(r, 32<<10)
	var line []byte
	var length int64 // of the line so far, also where it is too long to keep
	damage := false
	for {
		part, err := b.ReadSlice('\n')
		length += int64(len(part))
		if length <= maxEventLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return whole, nil
		case err != nil:
			return whole, fmt.Errorf("read event log: %w", err)
		}
		whole += length
		var e Event
		text := bytes.TrimSpace(line)
		switch {
		case length <= maxEventLine && json.Unmarshal(text, &e) == nil && e.Seq > 0 && e.Seq <= maxSeq:
			err = yield(e, damage)
			damage = false
		case length > maxEventLine || len(text) > 0:
			damage = true
		}
		if err != nil {
			return whole, err
		}
		line, length = line[:0], 0
	}
}
