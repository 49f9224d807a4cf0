// Package logfile is the daemon's log where nobody else keeps it: a file that turns over by itself, and the two files that
// launchd opens for standard output and standard error.
//
// It owns minibotd.log and its older parts in one folder, and what becomes of minibotd.out.log and minibotd.err.log at a
// start. It guarantees that the files are for their owner alone, that they take a bounded room, and that a log that cannot
// be written (a full disk) stops nobody: it says so once on another stream and goes on when there is room again. It never
// redacts: what is to be hidden must be hidden before. It never renames a file that launchd holds open, which would go on
// to write into the renamed one.
package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"minibot/hint"
)

// The files in the folder of logs.
const (
	Name   = "minibotd.log"     // the daemon's own
	Stdout = "minibotd.out.log" // launchd's StandardOutPath
	Stderr = "minibotd.err.log" // launchd's StandardErrorPath
)

// Options bound the log.
type Options struct {
	MaxSizeMB  int  // of one file, in MiB; at least 1
	MaxFiles   int  // older ones that are kept beside it; at least 1
	MaxAgeDays int  // older ones go; 0 for no limit
	Compress   bool // older ones, with gzip
}

// Log is an open log. It is an [io.Writer] that never fails, safe for concurrent use. Close it when done.
type Log struct {
	file    *lumberjack.Logger
	trouble io.Writer

	mu      sync.Mutex
	failing bool
}

// Open opens minibotd.log in dir, mode 0600, and makes dir, mode 0700. When a record finds no place in the file, trouble is
// told why, once until it works again. The folder and the file must be this user's own; what others may do there is taken away.
func Open(dir string, o Options, trouble io.Writer) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hint.Wrap(fmt.Errorf("make the folder of logs: %w", err), "look at the disk and the owner of %s", filepath.Dir(dir))
	}
	if err := private(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, Name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // lumberjack would begin a new file where it cannot
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("open the log: %w", err), "look at the disk and the owner of %s", dir)
	}
	if err := errors.Join(f.Close(), private(path, 0o600)); err != nil {
		return nil, err
	}
	return &Log{trouble: trouble, file: &lumberjack.Logger{
		Filename: path, MaxSize: o.MaxSizeMB, MaxBackups: o.MaxFiles, MaxAge: o.MaxAgeDays, Compress: o.Compress,
	}}, nil
}

// private makes sure that path, no symlink, has no more than mode's bits.
func private(path string, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return hint.Wrap(fmt.Errorf("%s is neither a folder nor a file", path), "move it away")
	}
	if info.Mode().Perm()&^mode == 0 {
		return nil
	}
	if err := os.Chmod(path, mode); err != nil {
		return hint.Wrap(fmt.Errorf("protect the log: %w", err), "look at the owner of %s", path)
	}
	return nil
}

// Write writes p, whole records, and turns the file over first when p has no room in it. It always takes all of p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	record := p
	if l.failing { // the last one may have been cut off in the middle
		record = append([]byte("\n"), p...)
	}
	_, err := l.file.Write(record)
	if err != nil && !l.failing {
		_, _ = fmt.Fprintf(l.trouble, "the log cannot be written: %v\n", err) // there is no other place to tell it
	}
	l.failing = err != nil
	return len(p), nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}
