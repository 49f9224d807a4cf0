package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func appendEvents(t *testing.T, l *EventLog, n int) {
	t.Helper()
	for range n {
		if err := l.Append(Event{Kind: "heal", Service: "redis", Message: "again"}); err != nil {
			t.Fatal(err)
		}
	}
}

// numbers returns the numbers of what Read yields, and checks that they rise.
func numbers(t *testing.T, l *EventLog, after uint64) (first, last uint64, n int) {
	t.Helper()
	err := l.Read(t.Context(), EventQuery{After: after}, func(e Event) error {
		if e.Seq <= last {
			t.Errorf("%d after %d", e.Seq, last)
		}
		if n++; n == 1 {
			first = e.Seq
		}
		last = e.Seq
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return first, last, n
}

func TestEventLogGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	for _, damage := range []string{"", `{"seq":99,"ki`, "not json\n", strings.Repeat("x", maxEventLine+9) + "\n", "\n\n{}"} {
		l, err := OpenEventLog(path)
		if err != nil {
			t.Fatal(err)
		}
		_, before, n := numbers(t, l, 0)
		appendEvents(t, l, 2)
		if _, last, m := numbers(t, l, 0); last != before+2 || m != n+2 {
			t.Errorf("after %.20q: last %d, %d events; before %d, %d", damage, last, m, before, n)
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if err := l.Append(Event{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(damage); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l, err := OpenEventLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if first, last, n := numbers(t, l, 0); first != 1 || last != 10 || n != 10 {
		t.Errorf("%d to %d, %d events", first, last, n)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// small are limits that a test reaches soon.
func small(size int64, ring int) eventLimits {
	return eventLimits{segment: size, turn: time.Hour, total: 8 * size, age: 24 * time.Hour, ring: ring, sync: time.Millisecond}
}

func TestFollowersDelayNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	synctest.Test(t, func(t *testing.T) {
		l, err := openEventLog(path, small(1<<20, 8))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		block := make(chan struct{})
		results := make(chan error, 3)
		var slow, fast []uint64
		go func() {
			results <- l.Read(ctx, EventQuery{Follow: true}, func(e Event) error {
				<-block
				slow = append(slow, e.Seq)
				return nil
			})
		}()
		go func() {
			results <- l.Read(ctx, EventQuery{Follow: true}, func(e Event) error { fast = append(fast, e.Seq); return nil })
		}()
		failure := errors.New("of yield")
		go func() {
			err := l.Read(ctx, EventQuery{Follow: true}, func(Event) error { return failure })
			if !errors.Is(err, failure) {
				t.Errorf("yield's error: %v", err)
			}
			results <- nil
		}()
		synctest.Wait()
		for range 10 {
			appendEvents(t, l, 10)
			synctest.Wait()
		}
		if len(fast) != 100 {
			t.Errorf("the fast one has %d events", len(fast))
		}
		close(block)
		synctest.Wait()
		if fmt.Sprint(slow) != fmt.Sprint(fast) {
			t.Errorf("the slow one has %d events: %v", len(slow), slow)
		}
		go func() {
			results <- l.Read(t.Context(), EventQuery{After: 100, Follow: true}, func(Event) error { return nil })
		}()
		cancel()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		var canceled, closed int
		for range 4 {
			switch err := <-results; {
			case errors.Is(err, context.Canceled):
				canceled++
			case errors.Is(err, os.ErrClosed):
				closed++
			}
		}
		if canceled != 2 || closed != 1 {
			t.Errorf("%d cancelled, %d closed", canceled, closed)
		}
	})
}

// flapping keeps what a service leaves that has to be healed every so often, for some days, through the code that keeps
// events. It returns how many events and bytes are in the files then.
func flapping(t *testing.T, every time.Duration, days int) (events int, size int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	l, err := OpenEventLog(path)
	if err != nil {
		t.Fatal(err)
	}
	n, begin := 0, time.Now().Add(-time.Duration(days)*24*time.Hour)
	for at := begin; at.Before(time.Now()); at = at.Add(every) {
		for i, e := range healed(n) {
			e.Time = at.Add(time.Duration(i)*713*time.Millisecond + time.Duration(n*7919))
			if err := l.Append(e); err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n%7000 == 0 {
			tended()
		}
	}
	tended()
	closeLog(t, l)
	all, size := kept(t, path)
	if len(all) != n {
		t.Errorf("%d of %d events are kept", len(all), n)
	}
	return n, size
}

// CONTROL_TEST_EVENT_DAYS=90 makes the figures of docs/maintenance.md.
func TestNinetyDaysOfEventsHaveRoom(t *testing.T) {
	days, err := strconv.Atoi(cmp.Or(os.Getenv("CONTROL_TEST_EVENT_DAYS"), "9"))
	if err != nil {
		t.Fatal(err)
	}
	for _, every := range []time.Duration{36 * time.Hour, 2 * time.Minute} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, size := flapping(t, every, days)
				if most := int64(50_000_000 * days / 90); size > most/4+defaultEventLimits.segment { // even four such services have room
					t.Errorf("%d events take %d bytes in %d days", n, size, days)
				}
				t.Logf("%d events in %d bytes", n, size)
			})
		})
	}
}

// healed is what one heal of an unhealthy service leaves.
func healed(n int) []Event {
	return []Event{
		{Kind: "unhealthy", Service: "openclaw", Message: fmt.Sprintf("unhealthy: probe %d: connect to 127.0.0.1 port %d: connection refused", n%5, 30000+n*31%9999)},
		{Kind: "phase", Message: "converging"},
		{Kind: "heal", Service: "openclaw", Message: "restart, attempt 1: unhealthy", LatencyMS: float64(n*37%900) / 100},
		{Kind: "done", Service: "openclaw", Message: fmt.Sprintf("restart done in %dms", 200+n*17%400), LatencyMS: float64(200 + n*17%400)},
		{Kind: "healthy", Service: "openclaw", Message: "healthy"},
		{Kind: "recovered", Service: "openclaw", Message: fmt.Sprintf("recovered after %dms", 4000+n*13%3000), LatencyMS: float64(4000 + n*13%3000)},
		{Kind: "phase", Message: "healthy"},
	}
}

func BenchmarkAppend(b *testing.B) {
	l, err := OpenEventLog(filepath.Join(b.TempDir(), "events.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	l.Redact = learnt(b, "canary-in-an-event")
	events := healed(1)
	for i := 0; b.Loop(); i++ {
		if err := l.Append(events[i%len(events)]); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
