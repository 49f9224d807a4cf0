package control

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func openSmall(t *testing.T, path string, size int64, ring int) *EventLog {
	t.Helper()
	l, err := openEventLog(path, small(size, ring))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t *testing.T, l *EventLog) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// tended waits until everything is synced and packed, in a bubble.
func tended() {
	<-time.After(time.Second)
	synctest.Wait()
}

// kept returns the numbers in all files of a log as they are there, and the bytes of those.
func kept(t *testing.T, path string) (numbers []uint64, size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), segmentDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, path) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil || info.Mode().Perm()&0o600 != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		size += info.Size()
		var in io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if in, err = gzip.NewReader(f); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if _, err = readEvents(in, func(e Event, _ bool) error { numbers = append(numbers, e.Seq); return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(numbers)
	return numbers, size
}

func upTo(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

func TestEventLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		const size, ring, total = 2000, 8, 2000
		l := openSmall(t, path, size, ring)
		for i := range total {
			appendEvents(t, l, 1)
			if i%50 == 0 {
				if _, bytes := kept(t, path); bytes > 8*size {
					t.Fatalf("%d bytes after %d events", bytes, i)
				}
			}
			if i == total/2 {
				tended()
			}
		}
		tended()
		first, last, n := numbers(t, l, 0)
		if last != total || uint64(n) != last-first+1 || n < 100 {
			t.Errorf("%d to %d, %d events", first, last, n)
		}
		for after := first; after <= total+1; after += 7 {
			if _, _, n := numbers(t, l, after); n != max(0, total-int(after)) {
				t.Errorf("after %d: %d events", after, n)
			}
		}
		if _, _, n := numbers(t, l, ^uint64(0)); n != 0 {
			t.Errorf("after the highest number: %d events", n)
		}
		if _, bytes := kept(t, path); bytes > 8*size {
			t.Errorf("%d bytes", bytes)
		}
		for _, s := range l.segments {
			if info, err := os.Stat(filepath.Join(l.dir, s.name())); err != nil || info.Mode().Perm() != 0o600 || info.Size() != s.size {
				t.Errorf("%+v: %v, %v", s, info, err)
			}
		}
		closeLog(t, l)
		again := openSmall(t, path, size, ring)
		if f2, l2, n2 := numbers(t, again, 0); f2 != first || l2 != last || n2 != n {
			t.Errorf("opened again: %d to %d, %d events", f2, l2, n2)
		}
		closeLog(t, again)
	})
}

// turningSteps are all steps of turning over, in order.
var turningSteps = []string{"mkdir", "rename", "create", "sync folders", "sync", "create packed", "sync half", "rename packed", "sync packed", "remove plain"}

// The files are copied before each step, as a kill would leave them: a log that is opened there has everything, once.
func TestAKillWhileTurningOverLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := openSmall(t, filepath.Join(dir, "events.jsonl"), 2000, 4)
		var mu sync.Mutex
		written, copies, seen := 0, map[string]int{}, map[string]bool{} // folder: events
		l.at = func(step string) error {
			to := t.TempDir()
			mu.Lock()
			defer mu.Unlock()
			copies[to], seen[step] = written, true
			return os.CopyFS(to, os.DirFS(dir))
		}
		for range 60 {
			appendEvents(t, l, 1)
			mu.Lock()
			written++
			mu.Unlock()
			if written%11 == 0 {
				tended()
			}
		}
		tended()
		closeLog(t, l)
		for _, step := range turningSteps {
			if !seen[step] {
				t.Errorf("step %q was not taken", step)
			}
		}
		for dir, n := range copies {
			path := filepath.Join(dir, "events.jsonl")
			again := openSmall(t, path, 2000, 4)
			for i, s := range again.segments {
				if i > 0 && s.first <= again.segments[i-1].last {
					t.Errorf("two segments have %d", s.first)
				}
			}
			if first, last, count := numbers(t, again, 0); n > 0 && (first != 1 || last != uint64(n) || count != n) {
				t.Errorf("%d to %d, %d events, want %d", first, last, count, n)
			}
			appendEvents(t, again, 1)
			tended()
			if have, _ := kept(t, path); !slices.Equal(have, upTo(n+1)) {
				t.Errorf("the files have %v, want %d", have, n+1)
			}
			closeLog(t, again)
		}
	})
}

func TestAStepOfTurningOverThatFailsIsTakenAgain(t *testing.T) {
	for _, step := range turningSteps {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "events.jsonl")
				l := openSmall(t, path, 2000, 4)
				l.limits.total = 1 << 30
				failing, told, refused := true, 0, map[uint64]bool{}
				l.Trouble = func(err error) {
					if told++; !errors.Is(err, os.ErrPermission) {
						t.Error(err)
					}
				}
				l.at = func(s string) error {
					if failing && s == step {
						return os.ErrPermission
					}
					return nil
				}
				want := []uint64{}
				for i := range 60 {
					failing = i < 40
					err := l.Append(Event{Kind: "heal", Service: "redis", Message: strings.Repeat("x", i*i*37%500)}) // one may fit where one before did not
					if err == nil {
						want = append(want, l.Last())
					} else if refused[l.Last()] = true; !errors.Is(err, os.ErrPermission) {
						t.Error(err)
					}
					if i%9 == 0 {
						tended()
					}
				}
				tended()
				if told > 4 || told == 0 && len(refused) == 0 { // a turn without that step worked, in between
					t.Errorf("told %d times, %d events were refused", told, len(refused))
				}
				shown := []uint64{}
				if err := l.Read(t.Context(), EventQuery{}, func(e Event) error { shown = append(shown, e.Seq); return nil }); err != nil || !slices.Equal(shown, want) {
					t.Errorf("shown are %v, %v\nwant      %v", shown, err, want)
				}
				if have, _ := kept(t, path); !slices.Equal(have, want) {
					t.Errorf("the files have %v\nwant           %v", have, want)
				}
				closeLog(t, l)
			})
		})
	}
}

// The process is killed for real, while it turns over all the time.
func TestAKilledProcessLosesNoEvent(t *testing.T) {
	const variable = "CONTROL_TEST_EVENT_LOG"
	if path := os.Getenv(variable); path != "" {
		l, err := openEventLog(path, eventLimits{segment: 2000, turn: time.Hour, total: 1 << 30, age: time.Hour, ring: 4, sync: time.Nanosecond})
		for err == nil {
			if err = l.Append(Event{Kind: "heal"}); err == nil {
				_, err = fmt.Fprintln(os.Stdout, l.Last())
			}
		}
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "events.jsonl")
	for range 8 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAKilledProcessLosesNoEvent$")
		cmd.Env = append(os.Environ(), variable+"="+path)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		said := uint64(0)
		lines := bufio.NewScanner(out)
		for range 300 + rand.IntN(500) {
			if !lines.Scan() {
				t.Fatal("it ended by itself")
			}
			if _, err := fmt.Sscan(lines.Text(), &said); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		l := openSmall(t, path, 1<<20, 4)
		l.limits.total = 1 << 30
		appendEvents(t, l, 1)
		first, last, n := numbers(t, l, 0)
		if first != 1 || last <= said || uint64(n) != last {
			t.Errorf("%d to %d, %d events; it said %d", first, last, n, said)
		}
		closeLog(t, l)
	}
}
