package search

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrNotWhole is wrapped by the error of a search that read everything but could not see all that is compressed in it. Its text
// says why.
var ErrNotWhole = errors.New("not all of it was searched")

// maxInside bounds, in bytes, what is searched of one compressed stream: some seconds of work, whoever made it.
const maxInside = 1 << 30

// formats are told by how they begin; a dot stands for any byte. Those without a reader cannot be looked into.
var formats = []struct {
	name, magic string
	open        func(io.Reader) (io.Reader, error)
}{
	{"gzip", "\x1f\x8b\x08", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"bzip2", "BZh.1AY&SY", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"zstd", "\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}},
	{"xz", "\xfd7zXZ\x00", nil},
	{"lz4", "\x04\x22\x4d\x18", nil},
	{"zip", "PK\x03\x04", nil},
	{"7z", "7z\xbc\xaf\x27\x1c", nil},
}

const magicSize = 10 // the longest

func begins(text []byte, magic string) bool {
	if len(text) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '.' && text[i] != magic[i] {
			return false
		}
	}
	return true
}

// inside searches r as it is, and at the same time what is compressed in it.
func (s *Searcher) inside(ctx context.Context, r io.Reader, found func(Hit) error) (int64, error) {
	scan := s.scan(found)
	raw, counted := &writer{w: scan}, &reader{ctx: ctx, r: r}
	buffered := bufio.NewReaderSize(counted, 32<<10)
	magic, _ := buffered.Peek(magicSize) // counted keeps the error
	var unpacked int64
	var notWhole, failed error
	for _, format := range formats {
		if begins(magic, format.magic) {
			unpacked, notWhole, failed = s.unpack(ctx, format.name, format.open, io.TeeReader(buffered, raw), found)
		}
	}
	if failed == nil && raw.err == nil && counted.err == nil {
		_, _ = io.Copy(raw, onlyReader{buffered}) // all of it, or what unpacking left; raw and counted keep the error
	}
	if err := errors.Join(failed, raw.err, counted.err, scan.close()); err != nil {
		return counted.n + unpacked, err
	}
	return counted.n + unpacked, notWhole
}

// unpack searches what r unpacks to. notWhole is what keeps it from the end, err what ends the search altogether.
func (s *Searcher) unpack(ctx context.Context, name string, open func(io.Reader) (io.Reader, error), r io.Reader, found func(Hit) error) (_ int64, notWhole, err error) {
	if open == nil {
		return 0, fmt.Errorf("%w: %s is not looked into", ErrNotWhole, name), nil
	}
	inner, err := open(r)
	if err != nil {
		return 0, nil, nil // it only begins like one
	}
	if closer, ok := inner.(io.Closer); ok {
		defer func() { _ = closer.Close() }() // it can only repeat what a read said
	}
	scan := s.scan(found)
	to, counted := &writer{w: scan}, &reader{ctx: ctx, r: io.LimitReader(inner, s.inner+1)}
	_, failed := io.Copy(to, onlyReader{counted})
	if err := errors.Join(to.err, ctx.Err()); err != nil {
		return counted.n, nil, errors.Join(err, scan.close())
	}
	if failed != nil {
		notWhole = fmt.Errorf("%w: it is damaged %s", ErrNotWhole, name)
	} else if counted.n > s.inner {
		notWhole = fmt.Errorf("%w: it unpacks to more than %d MiB", ErrNotWhole, s.inner>>20)
	}
	return counted.n, notWhole, scan.close()
}

// reader counts, fails once its context ends, and keeps its error.
type reader struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error // but io.EOF
}

func (r *reader) Read(p []byte) (int, error) {
	if err := errors.Join(r.err, r.ctx.Err()); err != nil {
		r.err = err
		return 0, err
	}
	n, err := r.r.Read(p)
	r.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// writer keeps its error.
type writer struct {
	w   io.Writer
	err error
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(p)
	w.err = err
	return n, err
}

// onlyReader hides the other methods of a reader, so that io.Copy uses a buffer of its own.
type onlyReader struct{ io.Reader }
