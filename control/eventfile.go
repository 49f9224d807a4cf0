package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxEventLine bounds what is read as one event; a longer line is damage and passed over.
const maxEventLine = 256 << 10

// maxSeq is the highest number that an event can have come to; beyond it is damage, after which numbers could not rise.
const maxSeq = 1 << 53

// eventFiles are the log's files as they were at one moment: they stay readable when the log goes on and rotates.
type eventFiles struct {
	files []*os.File
	sizes []int64
	until uint64 // the last event to read from them
}

func openEventFiles(until uint64, paths ...string) (*eventFiles, error) {
	all := &eventFiles{until: until}
	for _, path := range paths {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var info fs.FileInfo
		if err == nil {
			all.files = append(all.files, f)
			info, err = f.Stat()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read event log: %w", err), all.close())
		}
		all.sizes = append(all.sizes, info.Size())
	}
	return all, nil
}

// each calls yield for every event up to until, and closes the files.
func (a *eventFiles) each(yield func(Event) error) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	for i, f := range a.files {
		_, err := readEvents(io.LimitReader(f, a.sizes[i]), func(e Event) error {
			if e.Seq > a.until {
				return nil
			}
			return yield(e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *eventFiles) close() error {
	var errs []error
	for _, f := range a.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
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
	return readEvents(f, yield)
}

// readEvents calls yield for each line that is an event, and returns the number of bytes in whole lines: what follows
// them is torn.
func readEvents(r io.Reader, yield func(Event) error) (whole int64, err error) {
	b := bufio.NewReaderSize(r, 32<<10)
	var line []byte
	var length int64 // of the line so far, also where it is too long to keep
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
		if length <= maxEventLine && json.Unmarshal(bytes.TrimSpace(line), &e) == nil && e.Seq > 0 && e.Seq <= maxSeq {
			if err := yield(e); err != nil {
				return whole, err
			}
		}
		line, length = line[:0], 0
	}
}
