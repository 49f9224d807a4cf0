package logfile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// record is a line of 1 KiB.
func record(n int) []byte { return fmt.Appendf(nil, "%-1023d\n", n) }

func write(t *testing.T, l *Log, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if wrote, err := l.Write(record(n)); wrote != 1024 || err != nil {
			t.Fatal(wrote, err)
		}
	}
}

// parts are the files in dir whose names match.
func parts(t *testing.T, dir, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// eventually asks every 5 ms: old files are compressed and removed beside the one who writes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestTheLogTurnsOverAndKeepsOnlySoMuch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	var trouble bytes.Buffer
	l, err := Open(dir, Options{MaxSizeMB: 1, MaxFiles: 2, Compress: true}, &trouble)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const perFile = 1024 // 1 MiB of records
	for file := range 5 {
		write(t, l, file*perFile, (file+1)*perFile)
		// A part is named by its time in milliseconds.
		eventually(t, "compressed", func() bool { return len(parts(t, dir, "minibotd-*.log")) == 0 })
	}
	write(t, l, 5*perFile, 5*perFile+1)
	eventually(t, "two older ones", func() bool {
		return len(parts(t, dir, "minibotd-*.log.gz")) == 2 && len(parts(t, dir, "minibotd-*.log")) == 0
	})
	text, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil || !bytes.Equal(text, record(5*perFile)) {
		t.Errorf("the newest has %d bytes, %v", len(text), err)
	}
	f, err := os.Open(parts(t, dir, "minibotd-*.log.gz")[1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(unpacked); err != nil || !bytes.HasPrefix(text, record(4*perFile)) || len(text) != 1<<20 {
		t.Errorf("the last but one has %d bytes, %v", len(text), err)
	}
	for _, path := range append(parts(t, dir, "*"), dir) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if trouble.Len() > 0 {
		t.Error(trouble.String())
	}
}

func TestAWiderLogIsMadePrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, Name)
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, path: 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir, Options{MaxSizeMB: 1, MaxFiles: 1}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, 1, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "before\n"+string(record(1)) {
		t.Errorf("%q, %v", text, err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, path: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestNoLogWhereThereCanBeNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(linked, "other"), filepath.Join(linked, Name)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), linked} {
		if l, err := Open(dir, Options{MaxSizeMB: 1, MaxFiles: 1}, io.Discard); err == nil || l != nil {
			t.Errorf("%s: opened", dir)
		}
	}
}

// launchd opens its files to append, and one of a person's shell may not be.
func TestTrimEmptiesTheOpenFileAndKeepsItsEnd(t *testing.T) {
	for name, flag := range map[string]int{"append": os.O_APPEND, "no append": 0} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), Stderr)
			stream, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			say := func(text string) {
				t.Helper()
				if _, err := stream.WriteString(text); err != nil {
					t.Fatal(err)
				}
			}
			content := func(path, want string) {
				t.Helper()
				if text, err := os.ReadFile(path); err != nil || string(text) != want {
					t.Errorf("%s has %d bytes, want %d; %v", path, len(text), len(want), err)
				}
			}
			for range 2 {
				say("a crash\n")
				if err := Trim(stream, path); err != nil {
					t.Fatal(err)
				}
			}
			content(path, "")
			content(path+".1", "a crash\na crash\n")
			long := strings.Repeat(strings.Repeat("x", 99)+"\n", 5000)
			say(long)
			if err := Trim(stream, path); err != nil {
				t.Fatal(err)
			}
			content(path, "")
			content(path+".1", long[:keep/100*100])
			say("and on\n") // whoever has it open goes on, without a hole
			content(path, "and on\n")
			for _, path := range []string{path, path + ".1"} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", path, info.Mode(), err)
				}
			}
		})
	}
}

func TestTrimLeavesOtherStreamsAlone(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, Stderr), filepath.Join(dir, "other.log")
	for _, name := range []string{path, other} {
		if err := os.WriteFile(name, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := os.OpenFile(other, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		stream *os.File
		path   string
	}{{stream, path}, {out, path}, {nil, path}, {stream, filepath.Join(dir, "none")}, {stream, link}} {
		if Leads(s.stream, s.path) {
			t.Errorf("%v leads to %s", s.stream, s.path)
		}
		if err := Trim(s.stream, s.path); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{path, other} {
		if text, err := os.ReadFile(name); err != nil || string(text) != "text" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestManyWriters(t *testing.T) {
	l, err := Open(t.TempDir(), Options{MaxSizeMB: 1, MaxFiles: 1}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for range 50 {
				_, _ = l.Write(record(n)) // never fails
			}
		})
	}
	group.Wait()
	if text, err := os.ReadFile(l.file.Filename); err != nil || bytes.Count(text, []byte("\n")) != 200 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
