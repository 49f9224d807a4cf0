package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fill makes a log of events that are a minute apart, the newest now, for one service after the other, and packs it.
func fill(t *testing.T, path string, n int) *EventLog {
	t.Helper()
	l := openSmall(t, path, 2000, 4)
	for i := range n {
		e := Event{Time: time.Now().Add(time.Duration(i+1-n) * time.Minute), Kind: []string{"heal", "exit"}[i%2], Service: []string{"a", "b", "c"}[i%3]}
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			tended()
		}
	}
	tended()
	return l
}

// both reads a log through the daemon's eyes and from its files, and fails where they differ.
func both(t *testing.T, l *EventLog, q EventQuery) []Event {
	t.Helper()
	var first, second []Event
	err := errors.Join(l.Read(t.Context(), q, func(e Event) error { first = append(first, e); return nil }),
		ReadEvents(t.Context(), l.path, q, func(e Event) error { second = append(second, e); return nil }))
	if err != nil || len(first) != len(second) {
		t.Fatalf("%d events, %d from the files, %v", len(first), len(second), err)
	}
	for i, e := range first {
		if o := second[i]; e.Seq != o.Seq || e.Message != o.Message || !e.Time.Equal(o.Time) {
			t.Errorf("%+v, from the files %+v", e, o)
		}
	}
	return first
}

func TestEventsAreFoundByWhatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		l := fill(t, path, 120)
		if len(l.segments) < 4 {
			t.Fatalf("%d segments", len(l.segments))
		}
		// What is not needed is not opened: damage there is not seen.
		needless := filepath.Join(l.dir, l.segments[0].name())
		if err := os.WriteFile(needless, []byte("not gzip"), 0o600); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for _, test := range []struct {
			q    EventQuery
			want int
		}{
			{EventQuery{After: 60}, 60},
			{EventQuery{After: 60, Service: "a"}, 20},
			{EventQuery{After: 60, Kind: "exit"}, 30},
			{EventQuery{After: 60, Service: "a", Kind: "exit"}, 10},
			{EventQuery{After: 60, Service: "nobody"}, 0},
			{EventQuery{Since: now.Add(-59*time.Minute - 30*time.Second)}, 60},
			{EventQuery{Since: now.Add(-59*time.Minute - 30*time.Second), Until: now.Add(-29*time.Minute - 30*time.Second)}, 30},
			{EventQuery{Since: now.Add(time.Minute)}, 0},
			{EventQuery{Until: now.Add(-365 * 24 * time.Hour)}, 0},
		} {
			got := both(t, l, test.q)
			for i, e := range got {
				if !test.q.match(e) || i > 0 && e.Seq <= got[i-1].Seq {
					t.Errorf("%+v: %+v", test.q, e)
				}
			}
			if len(got) != test.want && len(got) != test.want+1 { // the clock went on while the log was made
				t.Errorf("%+v: %d events, want %d", test.q, len(got), test.want)
			}
		}
		closeLog(t, l)
	})
}

func TestDamageIsPassedOverAndSaid(t *testing.T) {
	for name, damage := range map[string]func(text []byte) []byte{
		"no gzip":     func([]byte) []byte { return []byte("not gzip") },
		"empty":       func([]byte) []byte { return nil },
		"cut":         func(text []byte) []byte { return text[:len(text)/2] },
		"a byte":      func(text []byte) []byte { text[len(text)/2] ^= 0x40; return text },
		"its end":     func(text []byte) []byte { return text[:len(text)-60] },
		"zeros after": func(text []byte) []byte { return append(text[:len(text)/3], make([]byte, 2*len(text)/3)...) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := fill(t, filepath.Join(t.TempDir(), "events.jsonl"), 120)
				hurt := l.segments[1]
				path := filepath.Join(l.dir, hurt.name())
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(text), 0o600); err != nil {
					t.Fatal(err)
				}
				got := both(t, l, EventQuery{})
				next := uint64(1)
				for _, e := range got {
					if from, to := uint64(0), uint64(0); strings.Contains(e.Message, "damaged") {
						_, err := fmt.Sscanf(e.Message, "events %d to %d cannot be read: ", &from, &to)
						if err != nil || e.Kind != "error" || from != next || to != e.Seq || from < hurt.first || to > hurt.last || !strings.HasSuffix(e.Message, path+" is damaged") {
							t.Errorf("%+v, %v", e, err)
						}
					} else if e.Seq != next {
						t.Errorf("%d comes, not %d", e.Seq, next)
					}
					next = e.Seq + 1
				}
				if next != 121 || len(got) == 120 {
					t.Errorf("%d events, the last is %d", len(got), next-1)
				}
				if none := both(t, l, EventQuery{Service: "nobody"}); len(none) != 1 {
					t.Errorf("whoever asks for something else hears %+v", none)
				}
				closeLog(t, l)
			})
		})
	}
}

// A line in the middle of a plain segment: what stands around it is shown.
func TestALineThatIsNoEventIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openSmall(t, filepath.Join(t.TempDir(), "events.jsonl"), 2000, 4)
		appendEvents(t, l, 60)
		path := filepath.Join(l.dir, l.segments[0].name())
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), `{"seq":3,`, `{"seq";3,`, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		got := both(t, l, EventQuery{})
		if len(got) != 60 || got[2].Seq != 3 || !strings.Contains(got[2].Message, "events 3 to 3 cannot be read") || got[3].Kind != "heal" {
			t.Errorf("%d events: %+v", len(got), got[:4])
		}
		closeLog(t, l)
	})
}

func TestSegmentsGoWhenTheyAreOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		l := openSmall(t, path, 1<<20, 4)
		for range 30 * 2 { // every half hour, for 30 hours: a segment is an hour, and goes after 24
			appendEvents(t, l, 1)
			<-time.After(30 * time.Minute)
		}
		tended()
		if _, _, n := numbers(t, l, 0); n < 46 || n > 54 {
			t.Errorf("%d events are left", n)
		}
		closeLog(t, l)
	})
}

func TestTheFilesOfAnEarlierVersionAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		line := func(i int) string {
			return fmt.Sprintf(`{"seq":%d,"time":"1999-12-31T23:00:00Z","kind":"heal","message":"m"}`+"\n", i)
		}
		if err := errors.Join(os.WriteFile(path+".1", []byte(line(1)+line(2)), 0o600), os.WriteFile(path, []byte(line(3)), 0o600)); err != nil {
			t.Fatal(err)
		}
		l := openSmall(t, path, 2000, 2)
		appendEvents(t, l, 3)
		if got := both(t, l, EventQuery{}); len(got) != 6 || got[5].Seq != 6 {
			t.Errorf("%+v", got)
		}
		if _, err := os.Lstat(path + ".1"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		closeLog(t, l)
	})
}

func TestWithoutALogThereIsNothingToRead(t *testing.T) {
	dir := t.TempDir()
	err := ReadEvents(t.Context(), filepath.Join(dir, "events.jsonl"), EventQuery{}, func(Event) error { return nil })
	if entries, readErr := os.ReadDir(dir); !errors.Is(err, fs.ErrNotExist) || readErr != nil || len(entries) > 0 {
		t.Errorf("%v, %v, %v", err, entries, readErr)
	}
}

func TestAStormOfEventsTakesNoMemory(t *testing.T) {
	l, err := OpenEventLog(filepath.Join(t.TempDir(), "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 100_000 {
		if err := l.Append(Event{Kind: "exit", Service: "redis", Message: fmt.Sprintf("exit code %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if first, last, n := numbers(t, l, 0); first != 1 || last != 100_000 || n != 100_000 {
		t.Errorf("%d to %d, %d events", first, last, n)
	}
	closeLog(t, l)
}

func TestAMessageWithoutEndIsCut(t *testing.T) {
	l := openSmall(t, filepath.Join(t.TempDir(), "events.jsonl"), 1<<20, 1)
	for range 3 {
		if err := l.Append(Event{Kind: "error", Service: strings.Repeat("s", 9000), Message: strings.Repeat("é\x00", 1<<20)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range both(t, l, EventQuery{}) {
		if len(e.Message) > maxMessage || len(e.Service) > maxEventName || !strings.HasSuffix(e.Message, "…") {
			t.Errorf("%d and %d bytes", len(e.Message), len(e.Service))
		}
	}
	closeLog(t, l)
}
