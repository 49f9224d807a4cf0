package control

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// segmentDir is the folder of segments, beside the log's file.
const segmentDir = "events"

const (
	segmentTime  = "20060102T150405Z"
	plainSuffix  = ".jsonl"
	packedSuffix = ".jsonl.gz"
	halfSuffix   = ".tmp" // of what is being made
	formerSuffix = ".1"   // of the one older file that earlier versions kept
)

var segmentPattern = regexp.MustCompile(`^(\d{16})-(\d{16})-(\d{8}T\d{6}Z)-(\d{8}T\d{6}Z)(\.jsonl|\.jsonl\.gz)$`)

// segment is a file of events that is not written to any more. Its name tells all but its size.
type segment struct {
	first, last uint64    // numbers; between them some may be missing
	from, until time.Time // the earliest and the latest time in it, in whole seconds
	packed      bool      // with gzip
	size        int64     // bytes on disk
}

// add counts an event in.
func (s *segment) add(e Event) {
	at := e.Time.UTC().Truncate(time.Second)
	if s.first == 0 {
		s.first, s.from, s.until = e.Seq, at, at
	}
	s.last = max(s.last, e.Seq)
	if at.Before(s.from) {
		s.from = at
	}
	if at.After(s.until) {
		s.until = at
	}
}

func (s segment) name() string {
	suffix := plainSuffix
	if s.packed {
		suffix = packedSuffix
	}
	return fmt.Sprintf("%016d-%016d-%s-%s%s", s.first, s.last, s.from.Format(segmentTime), s.until.Format(segmentTime), suffix)
}

// parseSegment reads a segment's name; other files are left alone.
func parseSegment(name string) (s segment, ok bool) {
	part := segmentPattern.FindStringSubmatch(name)
	if part == nil {
		return s, false
	}
	var errs [4]error
	s.first, errs[0] = strconv.ParseUint(part[1], 10, 64)
	s.last, errs[1] = strconv.ParseUint(part[2], 10, 64)
	s.from, errs[2] = time.Parse(segmentTime, part[3])
	s.until, errs[3] = time.Parse(segmentTime, part[4])
	s.packed = part[5] == packedSuffix
	return s, errors.Join(errs[:]...) == nil && s.first > 0 && s.first <= s.last && s.last <= maxSeq
}

// listSegments returns the segments in dir by number, and the files that are left over from making one. Where a plain one
// and a packed one are there, the plain one is whole for certain, and the packed one is left over.
func listSegments(dir string) (segments []segment, rest []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, entry := range entries { // by name: of the same numbers and times, the plain one comes first
		if strings.HasSuffix(entry.Name(), packedSuffix+halfSuffix) {
			rest = append(rest, entry.Name())
			continue
		}
		s, ok := parseSegment(entry.Name())
		info, err := entry.Info()
		if !ok || !entry.Type().IsRegular() || err != nil { // an error is that it has gone meanwhile
			continue
		}
		s.size = info.Size()
		if n := len(segments); n > 0 && s.packed && segments[n-1].first == s.first && segments[n-1].last == s.last {
			rest = append(rest, entry.Name())
			continue
		}
		segments = append(segments, s)
	}
	return segments, rest, nil
}

// recover finishes what a crash left half done, and finds the segments.
func (l *EventLog) recover() error {
	former, s := l.path+formerSuffix, segment{}
	whole, err := scanEvents(former, func(e Event) error { s.add(e); return nil })
	if err == nil && s.first > 0 { // of an earlier version
		s.size = whole
		err = errors.Join(os.MkdirAll(l.dir, 0o700), os.Rename(former, filepath.Join(l.dir, s.name())))
	}
	if err != nil {
		return err
	}
	segments, rest, err := listSegments(l.dir)
	for _, name := range rest {
		err = errors.Join(err, os.Remove(filepath.Join(l.dir, name)))
	}
	l.segments = segments
	for _, s := range segments {
		l.last = max(l.last, s.last)
	}
	return err
}

// turnOver makes the file a segment and begins a new one. When that fails the file stays in use. Nothing is synced here. The
// caller holds mu.
func (l *EventLog) turnOver() error {
	if l.now.first == 0 { // nothing that can be read
		err := l.file.Truncate(0)
		if err == nil {
			l.now = segment{}
		}
		return err
	}
	if err := l.step("mkdir", func() error { return os.MkdirAll(l.dir, 0o700) }); err != nil {
		return err
	}
	target := filepath.Join(l.dir, l.now.name())
	err := l.step("rename", func() error { return os.Rename(l.path, target) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have been moved by an attempt that went no further
		return err
	}
	var file *os.File
	if err = l.step("create", func() (err error) { file, err = openLogFile(l.path); return err }); err != nil {
		return errors.Join(err, os.Rename(target, l.path))
	}
	if _, err := os.Lstat(target); err == nil { // otherwise somebody has removed the file
		l.segments = append(l.segments, l.now)
	}
	l.turned = append(l.turned, l.file)
	l.file, l.now = file, segment{}
	_ = l.prune(time.Time{}) // tend tries again, and tells
	return nil
}

// step does one step of turning over.
func (l *EventLog) step(name string, do func() error) error {
	if err := l.at(name); err != nil {
		return err
	}
	return do()
}

// prune removes the oldest segments until all files have room, those being written included, and those whose last event is
// before a time. The caller holds mu.
func (l *EventLog) prune(before time.Time) error {
	total := 2 * l.limits.segment // the file itself, and a packed segment until the plain one is gone
	for _, s := range l.segments {
		total += s.size
	}
	for len(l.segments) > 0 && (total > l.limits.total || l.segments[0].until.Before(before)) {
		if err := l.step("prune", func() error { return removeSegment(l.dir, l.segments[0]) }); err != nil {
			return err
		}
		total -= l.segments[0].size
		l.segments = slices.Delete(l.segments, 0, 1)
	}
	return nil
}

// removeSegment removes a segment, plain and packed.
func removeSegment(dir string, s segment) error {
	for _, s.packed = range [...]bool{false, true} {
		if err := os.Remove(filepath.Join(dir, s.name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// tend syncs what was appended, at most once in limits.sync, packs segments and removes old ones, until nothing is left to do.
func (l *EventLog) tend() {
	for {
		select {
		case <-time.After(l.limits.sync):
		case <-l.closing:
		}
		l.mu.Lock()
		if l.file == nil || !l.unsynced { // Close syncs what is left
			l.tending = false
			l.mu.Unlock()
			return
		}
		file, turned := l.file, l.turned
		l.turned, l.unsynced = nil, false
		l.mu.Unlock()
		err := l.settle(turned)
		err = errors.Join(err, l.step("sync", func() error { return l.sync(file) }), l.pack())
		l.mu.Lock()
		err = errors.Join(err, l.prune(time.Now().Add(-l.limits.age)))
		l.mu.Unlock()
		if err != nil && !l.failing && l.Trouble != nil {
			l.Trouble(fmt.Errorf("tend the event log: %w", err))
		}
		l.failing = err != nil
	}
}

// settle syncs and closes files that have become segments, and their folders: only then may what comes after them be synced.
func (l *EventLog) settle(turned []*os.File) error {
	var errs []error
	for _, f := range turned {
		errs = append(errs, l.sync(f), f.Close())
	}
	if len(turned) > 0 {
		errs = append(errs, l.step("sync folders", func() error { return errors.Join(syncDir(l.dir), syncDir(filepath.Dir(l.path))) }))
	}
	return errors.Join(errs...)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// pack compresses the plain segments, the newest first: it is the one that a person asks for.
func (l *EventLog) pack() error {
	l.mu.Lock()
	plain := slices.DeleteFunc(slices.Clone(l.segments), func(s segment) bool { return s.packed })
	l.mu.Unlock()
	for _, s := range slices.Backward(plain) {
		select {
		case <-l.closing: // the next start does it
			return nil
		default:
		}
		size, err := l.packOne(s)
		if err != nil {
			return fmt.Errorf("compress %s: %w", s.name(), err)
		}
		l.mu.Lock()
		if i := slices.IndexFunc(l.segments, func(o segment) bool { return o.first == s.first }); i >= 0 {
			l.segments[i].packed, l.segments[i].size = true, size
		} else {
			err = removeSegment(l.dir, s) // it was pruned meanwhile
		}
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// packOne compresses one segment. At each moment either the plain file or the packed one is whole and on the disk.
func (l *EventLog) packOne(s segment) (size int64, err error) {
	plain := filepath.Join(l.dir, s.name())
	s.packed = true
	packed := filepath.Join(l.dir, s.name())
	in, err := os.Open(plain)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // pruned
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	half := packed + halfSuffix
	if size, err = l.writePacked(half, in); err != nil {
		if gone := os.Remove(half); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return 0, err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"rename packed", func() error { return os.Rename(half, packed) }},
		{"sync packed", func() error { return syncDir(l.dir) }},
		{"remove plain", func() error { return os.Remove(plain) }},
	} {
		if err := l.step(step.name, step.do); err != nil && !errors.Is(err, fs.ErrNotExist) { // a pruned one is gone
			return 0, err
		}
	}
	return size, nil
}

func (l *EventLog) writePacked(path string, in io.Reader) (size int64, err error) {
	if err := l.at("create packed"); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	zip := gzip.NewWriter(out)
	if _, err := io.Copy(zip, in); err != nil {
		return 0, err
	}
	if err := errors.Join(zip.Close(), l.step("sync half", func() error { return l.sync(out) })); err != nil {
		return 0, err
	}
	return out.Seek(0, io.SeekEnd)
}
