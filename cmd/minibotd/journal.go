package main

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"
)

// toJournal tells whether stderr leads to systemd's journal, which has the time of each line itself: JOURNAL_STREAM then names the
// device and inode of it. To be asked of the stderr that the process was given.
func toJournal(stderr *os.File) bool {
	info, err := stderr.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// logOptions are those of the daemon's log, for the stderr that the process was given.
func logOptions(stderr *os.File) slog.HandlerOptions {
	if toJournal(stderr) {
		return slog.HandlerOptions{ReplaceAttr: withoutTime}
	}
	return slog.HandlerOptions{}
}

// withoutTime leaves the time of a line to the journal.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
