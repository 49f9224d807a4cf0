package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestJournalKeepsTheTime(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino): true, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false, "": false, "8:": false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := toJournal(f); got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", stream, got)
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: withoutTime})).WithGroup("g").Info("m", "time", 1)
	if out.String() != "level=INFO msg=m g.time=1\n" {
		t.Errorf("got %q", out.String())
	}
}
