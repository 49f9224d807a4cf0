package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// shortDir is a folder whose path leaves room for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// logBuffer collects a log from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve runs a server on a real socket until the test ends or stop is called.
func serve(t testing.TB, s *Server) (c *Client, stop func()) {
	t.Helper()
	if f, ok := s.Backend.(*fakeBackend); ok && s.Record == nil {
		s.Record = f.log.Append
	}
	path := filepath.Join(shortDir(t), "run", "d.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	t.Cleanup(stop)
	return &Client{Socket: path}, stop
}

func TestClientAndServer(t *testing.T) {
	f := newFake(t)
	c, _ := serve(t, &Server{Backend: f})
	ctx := t.Context()

	status, err := c.Status(ctx)
	if err != nil || status.Phase != PhaseHealthy || status.Services[0].Name != "redis" {
		t.Fatalf("%+v, %v", status, err)
	}
	var got []string
	report := func(p Progress) { got = append(got, p.Service+p.Message) }
	if err := c.Operate(ctx, Operation{Verb: VerbRestart, Service: "redis"}, report); err != nil {
		t.Fatal(err)
	}
	value := "canary 'quoted' $x\n\"ü\" " + strings.Repeat("x", secrets.MaxValueSize-27)
	changes := []Change{{Name: "A", Value: []byte(value)}, {Name: "B", Generate: true}}
	if err := c.Change(ctx, ChangeOrder{Changes: changes, Order: Order{By: "ops"}}, report); err != nil {
		t.Fatal(err)
	}
	if err := c.Migrate(ctx, Migration{To: "keychain", Remove: true}, report); err != nil {
		t.Fatal(err)
	}
	if err := c.Migrate(ctx, Migration{To: "locked"}, nil); !errors.Is(err, secrets.ErrLocked) || hint.Of(err) != "unlock it" {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	if want := "[redisrestart stored A stored B to keychain, remove true, overwrite false]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	v, err := c.Reveal(ctx, "A")
	if err != nil || string(v.Reveal()) != value {
		t.Errorf("revealed %d bytes of %d, %v", v.Len(), len(value), err)
	}
	list, err := c.Secrets(ctx)
	if err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if err := c.Delete(ctx, "A"); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, "A"); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
	var logs strings.Builder
	if err := c.Logs(ctx, "redis", true, 7, &logs); err != nil || logs.String() != "redis true 7\n" {
		t.Errorf("%q, %v", logs.String(), err)
	}
}

func TestErrorsKeepCodeAndHint(t *testing.T) {
	f := newFake(t)
	log := &logBuffer{}
	c, _ := serve(t, &Server{Backend: f, Logger: slog.New(slog.NewTextHandler(log, nil))})
	_, err := c.Reveal(t.Context(), "LOCKED")
	if !errors.Is(err, secrets.ErrLocked) || hint.Of(err) != "unlock it" || err.Error() != "read LOCKED: store is locked" || ExitCode(err) != 7 {
		t.Errorf("%v, hint %q, exit %d", err, hint.Of(err), ExitCode(err))
	}
	_, err = c.Reveal(t.Context(), "NONE")
	if !errors.Is(err, secrets.ErrNotFound) || hint.Of(err) != "mb-secrets set NONE" || ExitCode(err) != 3 {
		t.Errorf("%v, hint %q, exit %d", err, hint.Of(err), ExitCode(err))
	}
	for _, test := range []struct {
		change Change
		want   error
	}{
		{Change{Name: "a", Value: []byte("x")}, secrets.ErrInvalidName},
		{Change{Name: "A"}, secrets.ErrEmptyValue},
		{Change{Name: "A", Value: []byte("canary\x00")}, secrets.ErrNUL},
		{Change{Name: "A", Value: make([]byte, secrets.MaxValueSize+1)}, secrets.ErrNUL},
		{Change{Name: "A", Value: bytes.Repeat([]byte("x"), secrets.MaxValueSize+1)}, secrets.ErrTooLarge},
		{Change{Name: "A", Value: []byte("x"), Generate: true}, ErrUsage},
		{Change{Name: "A", Value: bytes.Repeat([]byte("x"), maxBody)}, secrets.ErrTooLarge},
	} {
		err := c.Change(t.Context(), ChangeOrder{Changes: []Change{test.change}}, nil)
		if !errors.Is(err, test.want) || ExitCode(err) != 2 {
			t.Errorf("%v: got %v, want %v", test.change.Name, err, test.want)
		}
	}
	f.op = func(_ context.Context, _ Operation, report func(Progress)) error {
		report(Progress{Message: "half"})
		return hint.Wrap(errors.Join(ErrRolledBack, secrets.ErrDenied), "try again")
	}
	err = c.Operate(t.Context(), Operation{Verb: VerbReload}, nil)
	if !errors.Is(err, ErrRolledBack) || hint.Of(err) != "try again" || ExitCode(err) != 4 {
		t.Errorf("%v", err)
	}
	f.logs = func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, "line\n"); err != nil {
			return err
		}
		return secrets.ErrDenied
	}
	var out strings.Builder
	if err := c.Logs(t.Context(), "", false, -1, &out); !errors.Is(err, secrets.ErrDenied) || out.String() != "line\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log: %s", log)
	}
}

func TestOperationOutlivesItsCaller(t *testing.T) {
	f := newFake(t)
	caller, leave := context.WithCancel(t.Context())
	gone, finished := make(chan struct{}), make(chan error, 1)
	f.op = func(ctx context.Context, _ Operation, report func(Progress)) error {
		report(Progress{Message: "begun"})
		<-gone
		for range 10 * streamBacklog {
			report(Progress{Message: strings.Repeat("x", 1000)})
		}
		finished <- ctx.Err()
		return nil
	}
	c, stop := serve(t, &Server{Backend: f})
	err := c.Operate(caller, Operation{Verb: VerbReload}, func(Progress) { leave() })
	if !errors.Is(err, context.Canceled) || hint.Of(err) == "" || ExitCode(err) != 130 {
		t.Errorf("the caller got %v, hint %q", err, hint.Of(err))
	}
	close(gone)
	if err := <-finished; err != nil {
		t.Errorf("the operation's context: %v", err)
	}
	stop()
}

func TestSlowReaderDelaysNoOperation(t *testing.T) {
	f := newFake(t)
	const total = 20000
	reported := make(chan struct{})
	f.op = func(_ context.Context, _ Operation, report func(Progress)) error {
		for range total {
			report(Progress{Message: strings.Repeat("x", 100)})
		}
		close(reported)
		return ErrRolledBack
	}
	c, _ := serve(t, &Server{Backend: f})
	lines, note := 0, ""
	err := c.Operate(t.Context(), Operation{Verb: VerbReload}, func(p Progress) {
		<-reported // the reader is as slow as can be
		lines++
		if strings.HasPrefix(p.Message, "(") {
			note = p.Message
		}
	})
	if !errors.Is(err, ErrRolledBack) || note == "" || lines >= total {
		t.Errorf("%d lines, note %q, %v", lines, note, err)
	}
}

func TestFollowedEventsEndWithTheDaemon(t *testing.T) {
	f := newFake(t)
	c, stop := serve(t, &Server{Backend: f, Drain: time.Hour})
	for i := range 3 {
		if err := f.log.Append(Event{Kind: "phase", Message: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []uint64
	err := c.Events(t.Context(), EventQuery{After: 1, Follow: true}, func(e Event) error {
		if seen = append(seen, e.Seq); len(seen) == 3 {
			go stop()
			return nil
		}
		if e.Seq == 3 {
			return f.log.Append(Event{Kind: "heal"})
		}
		return nil
	})
	if !errors.Is(err, ErrStopping) || fmt.Sprint(seen) != "[2 3 4]" {
		t.Errorf("%v, %v", seen, err)
	}
	stop()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) || ExitCode(err) != 6 || !strings.Contains(hint.Of(err), "minibotd run") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestStreamThatBreaksOff(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		_, _ = far.Read(make([]byte, 4096))
		_, _ = fmt.Fprintf(far, "HTTP/1.1 200 OK\r\nMinibot-Wire: %d\r\n\r\n{\"message\":\"half\"}\n", Wire)
		_ = far.Close()
	}()
	c := &Client{dial: func(context.Context) (net.Conn, error) { return near, nil }}
	lines := 0
	err := c.Operate(t.Context(), Operation{Verb: VerbReload}, func(Progress) { lines++ })
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(hint.Of(err), "minibotd status") || lines != 1 {
		t.Errorf("%v, hint %q, %d lines", err, hint.Of(err), lines)
	}
}
