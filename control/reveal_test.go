package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// records collects what a server recorded.
type records struct {
	mu     sync.Mutex
	events []Event
	fail   error
}

func (r *records) keep(e Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.events = append(r.events, e)
	return nil
}

func (r *records) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, e := range r.events {
		fmt.Fprintf(&b, "%s %s: %s\n", e.Kind, e.Secret, e.Message)
	}
	return b.String()
}

func TestEachRevealIsRecordedWithWhoAndWhich(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary-value"
	kept := &records{}
	c, _ := serve(t, &Server{Backend: f, Record: kept.keep})
	if _, err := c.Reveal(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reveal(t.Context(), "LOCKED"); !errors.Is(err, secrets.ErrLocked) {
		t.Fatal(err)
	}
	if _, err := c.Reveal(t.Context(), "NONE"); !errors.Is(err, secrets.ErrNotFound) {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	by := fmt.Sprintf("to uid %d, pid %d (%q)", os.Geteuid(), os.Getpid(), program)
	if want := "secret A: revealed " + by + "\nsecret LOCKED: not revealed " + by + ": locked\n"; kept.text() != want {
		t.Errorf("recorded:\n%swant:\n%s", kept.text(), want)
	}
}

func TestNothingIsRevealedThatCannotBeRecorded(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary-value"
	kept := &records{fail: errors.New("no space left")}
	log := &logBuffer{}
	for name, record := range map[string]func(Event) error{"failing": kept.keep, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			s := &Server{Backend: f, Record: record, Logger: textLogger(log), peer: func(net.Conn) (peer, error) { return peer{os.Geteuid(), 1}, nil }}
			p := newPipes()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Serve(ctx, p) }()
			value, err := (&Client{dial: p.dial}).Reveal(t.Context(), "A")
			if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeUnrecorded || !value.IsZero() || ExitCode(err) != 1 {
				t.Errorf("%v", err)
			}
			if record != nil && (!strings.Contains(err.Error(), "no space left") || hint.Of(err) == "") {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAttackDumpLoopIsSlowedDown(t *testing.T) {
	f := newFake(t)
	f.values["A"], f.values["B"] = "canary-a", "canary-b"
	kept := &records{}
	synctest.Test(t, func(t *testing.T) {
		p, stop := bubble(t, &Server{Backend: f, Record: kept.keep})
		c := &Client{dial: p.dial}
		got := 0
		loop := func(n int) (last error) {
			for range n {
				if _, err := c.Reveal(t.Context(), "A"); err == nil {
					got++
				} else {
					last = err
				}
			}
			return last
		}
		err := loop(2_000)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeTooMany || ExitCode(err) != 1 || !strings.Contains(hint.Of(err), "wait 4 s") {
			t.Errorf("%v, hint %q, exit %d", err, hint.Of(err), ExitCode(err))
		}
		if got != revealBurst {
			t.Errorf("%d of 2,000 at once", got)
		}
		if _, err := c.Reveal(t.Context(), "B"); err != nil {
			t.Errorf("another secret: %v", err)
		}
		<-time.After(revealEvery)
		if _, err := c.Reveal(t.Context(), "A"); err != nil {
			t.Errorf("after a wait: %v", err)
		}
		<-time.After(revealQuiet)
		_ = loop(2_000)
		stop()
	})
	text := kept.text()
	if n := strings.Count(text, "asked for too often"); n != 2 || !strings.Contains(text, fmt.Sprintf(", %d times more since", 2_000-revealBurst-1)) || strings.Contains(text, "canary") {
		t.Errorf("%d refusals recorded:\n%.300s", n, text)
	}
}

// What `mb-secrets exec` does, many times in a row, for more secrets than anybody has.
func TestReadingEverySecretAtOnceIsNoLoop(t *testing.T) {
	f := newFake(t)
	for i := range 300 {
		f.values[secrets.Name(fmt.Sprintf("NAME_%d", i))] = "canary"
	}
	synctest.Test(t, func(t *testing.T) {
		p, stop := bubble(t, &Server{Backend: f})
		c := &Client{dial: p.dial}
		for range 10 {
			for name := range f.values {
				if _, err := c.Reveal(t.Context(), name); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		stop()
	})
}

func TestAttackProbingForNamesGrowsNothing(t *testing.T) {
	var v reveals
	now := time.Now()
	refused := 0
	for i := range 100_000 {
		if wait, _, _ := v.take(secrets.Name(fmt.Sprintf("N%d", i)), now); wait > 0 {
			refused++
		}
	}
	if len(v.by) > revealNames+1 || refused < 90_000 {
		t.Errorf("%d entries, %d refused", len(v.by), refused)
	}
	now = now.Add(time.Hour)
	if wait, _, _ := v.take("NEW", now); wait > 0 || len(v.by) > 10 {
		t.Errorf("an hour later: wait %v, %d entries", wait, len(v.by))
	}
}

func TestRetryAfterIsSaid(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary"
	c, _ := serve(t, &Server{Backend: f})
	for range revealBurst {
		if _, err := c.Reveal(t.Context(), "A"); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var answer bytes.Buffer
	if _, err := fmt.Fprintf(conn, "GET /v1/secrets/A HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", wireHead); err != nil {
		t.Fatal(err)
	}
	if _, err := answer.ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	head := fmt.Sprintf("HTTP/1.1 %d", http.StatusTooManyRequests)
	if text := answer.String(); !strings.HasPrefix(text, head) || !strings.Contains(text, "Retry-After: 4\r\n") || strings.Contains(text, "canary") {
		t.Errorf("%s", text)
	}
}
