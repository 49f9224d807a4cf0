package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
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
	err := l.Read(t.Context(), after, false, func(e Event) error {
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

func TestEventLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	const size, ring, total = 2000, 8, 100
	l, err := openEventLog(path, size, ring)
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, l, total)
	for _, name := range []string{path, path + ".1"} {
		if info, err := os.Stat(name); err != nil || info.Size() > size || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	first, last, n := numbers(t, l, 0)
	if last != total || uint64(n) != last-first+1 || n <= ring {
		t.Errorf("%d to %d, %d events", first, last, n)
	}
	for after := first; after <= total+1; after++ {
		if _, _, n := numbers(t, l, after); n != max(0, total-int(after)) {
			t.Errorf("after %d: %d events", after, n)
		}
	}
	if _, _, n := numbers(t, l, ^uint64(0)); n != 0 {
		t.Errorf("after the highest number: %d events", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	again, err := openEventLog(path, size, ring)
	if err != nil {
		t.Fatal(err)
	}
	if f2, l2, n2 := numbers(t, again, 0); f2 != first || l2 != last || n2 != n {
		t.Errorf("opened again: %d to %d, %d events", f2, l2, n2)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestFollowersDelayNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	synctest.Test(t, func(t *testing.T) {
		l, err := openEventLog(path, 1<<20, 8)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		block := make(chan struct{})
		results := make(chan error, 3)
		var slow, fast []uint64
		go func() {
			results <- l.Read(ctx, 0, true, func(e Event) error {
				<-block
				slow = append(slow, e.Seq)
				return nil
			})
		}()
		go func() {
			results <- l.Read(ctx, 0, true, func(e Event) error { fast = append(fast, e.Seq); return nil })
		}()
		failure := errors.New("of yield")
		go func() {
			err := l.Read(ctx, 0, true, func(Event) error { return failure })
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
		go func() { results <- l.Read(t.Context(), 100, true, func(Event) error { return nil }) }()
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
