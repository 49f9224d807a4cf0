package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without sockets, so that a server runs in a bubble with a clock of its own.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }
func (p *pipes) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

// bubble runs a server over pipes; stop ends it and returns how long that took.
func bubble(t *testing.T, s *Server) (p *pipes, stop func() time.Duration) {
	if s.peer == nil {
		s.peer = func(net.Conn) (peer, error) { return peer{os.Geteuid(), 1}, nil }
	}
	if s.Record == nil {
		s.Record = func(Event) error { return nil }
	}
	p = newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, p) }()
	return p, func() time.Duration {
		begin := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return time.Since(begin)
	}
}

func TestDrainLetsAnOperationFinish(t *testing.T) {
	f := newFake(t)
	synctest.Test(t, func(t *testing.T) {
		f.op = func(ctx context.Context, _ Operation, _ func(Progress)) error {
			select {
			case <-time.After(900 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		p, stop := bubble(t, &Server{Backend: f})
		done := make(chan error, 1)
		go func() {
			done <- (&Client{dial: p.dial}).Operate(t.Context(), Operation{Verb: VerbReload}, nil)
		}()
		synctest.Wait()
		if took := stop(); took > 950*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDrainEndsALongOperation(t *testing.T) {
	f := newFake(t)
	synctest.Test(t, func(t *testing.T) {
		f.op = func(ctx context.Context, _ Operation, _ func(Progress)) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		p, stop := bubble(t, &Server{Backend: f})
		done := make(chan error, 1)
		go func() {
			done <- (&Client{dial: p.dial}).Operate(t.Context(), Operation{Verb: VerbReload}, nil)
		}()
		synctest.Wait()
		if took := stop(); took < time.Second || took > 1500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if err := <-done; !errors.Is(err, ErrStopping) {
			t.Errorf("the caller got %v", err)
		}
	})
}

// request writes the beginning of a request that a test goes on with as it likes.
func request(t *testing.T, p *pipes, text string) net.Conn {
	t.Helper()
	conn, err := p.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

var postHead = "POST /v1/operations HTTP/1.1\r\nHost: x\r\n" + wireHead

var wireHead = fmt.Sprintf("%s: %d\r\n", headerWire, Wire)

func TestReaderWhoStopsReadingHoldsNothingUp(t *testing.T) {
	f := newFake(t)
	synctest.Test(t, func(t *testing.T) {
		ended := false
		f.op = func(_ context.Context, _ Operation, report func(Progress)) error {
			for range 10 * streamBacklog {
				report(Progress{Message: "line"})
			}
			ended = true
			return nil
		}
		p, stop := bubble(t, &Server{Backend: f})
		conn := request(t, p, postHead+"Content-Length: 17\r\n\r\n{\"verb\":\"reload\"}") // and reads nothing, ever
		synctest.Wait()
		if !ended {
			t.Error("the operation waits for its reader")
		}
		if took := stop(); took > 2*time.Second {
			t.Errorf("the daemon took %v to end", took)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSlowBackendIsNoTimeout(t *testing.T) {
	f := newFake(t)
	synctest.Test(t, func(t *testing.T) {
		f.status = func(ctx context.Context) (Status, error) {
			select {
			case <-time.After(time.Hour):
				return Status{Phase: PhaseHealthy}, nil
			case <-ctx.Done():
				return Status{}, ctx.Err()
			}
		}
		f.op = func(ctx context.Context, _ Operation, report func(Progress)) error {
			_, err := f.status(ctx)
			report(Progress{Message: "late"})
			return err
		}
		p, stop := bubble(t, &Server{Backend: f})
		c := &Client{dial: p.dial}
		if _, err := c.Status(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Operate(t.Context(), Operation{Verb: VerbReload}, nil); err != nil {
			t.Error(err)
		}
		// The deadline of a first answer is none of the second one on the same connection.
		conn := request(t, p, "GET /v1/secrets HTTP/1.1\r\nHost: x\r\n"+wireHead+"\r\n")
		answers := bufio.NewReader(conn)
		for i := range 2 {
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || i == 1 && !strings.Contains(string(body), "done") {
				t.Errorf("%s, %v", body, err)
			}
			if i == 0 {
				if _, err := io.WriteString(conn, postHead+"Content-Length: 17\r\n\r\n{\"verb\":\"reload\"}"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		stop()
	})
}

func TestRequestsAreStrict(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary"
	synctest.Test(t, func(t *testing.T) {
		p, stop := bubble(t, &Server{Backend: f})
		for _, test := range []struct {
			line, body string
			want       int
		}{
			{"POST /v1/operations", `{"verb":"reload"}`, 200},
			{"POST /v1/operations", `{"verb":"reload","canary":1}`, 400},
			{"POST /v1/operations", `{"verb":"reload"}{}`, 400},
			{"POST /v1/operations", `{"verb":"reload"`, 400},
			{"POST /v1/operations", `{"verb":7}`, 400},
			{"POST /v1/operations", `{"verb":"canary"}`, 400},
			{"POST /v1/operations", `{"verb":"restart"}`, 400},
			{"POST /v1/operations", `{"verb":"restart","service":"../x"}`, 400},
			{"POST /v1/operations", `{"verb":"restart","service":"` + strings.Repeat("x", 256) + `"}`, 400},
			{"POST /v1/secrets", `{"changes":[]}`, 400},
			{"POST /v1/secrets", `{"changes":[{"name":"A","value":"canary!"}]}`, 400},
			{"POST /v1/secrets", `{"changes":[{"name":"B","generate":true},{"name":"B","generate":true}]}`, 400},
			{"POST /v1/secrets", strings.Repeat(" ", maxBody+1), 413},
			{"POST /v1/secrets", `{"changes":[{"name":"B","generate":true}],"by":"canary\u001b"}`, 400},
			{"POST /v1/secrets", `{"changes":[{"name":"B","generate":true}],"by":"` + strings.Repeat("x", 65) + `"}`, 400},
			{"POST /v1/secrets", `{"changes":[{"name":"C","generate":true}],"by":"ops","no_wait":true}`, 200},
			{"POST /v1/rotations", `{"names":["A","C"],"by":"ops (ssh)","no_wait":true}`, 200},
			{"POST /v1/rotations", `{"names":["A"],"rollback":true}`, 200},
			{"POST /v1/rotations", `{"all":true,"rehearse":true}`, 200},
			{"POST /v1/rotations", `{}`, 400},
			{"POST /v1/rotations", `{"all":true,"due":true}`, 400},
			{"POST /v1/rotations", `{"names":["A"],"due":true}`, 400},
			{"POST /v1/rotations", `{"all":true,"rollback":true}`, 400},
			{"POST /v1/rotations", `{"names":["A"],"rollback":true,"rehearse":true}`, 400},
			{"POST /v1/rotations", `{"names":["A","A"]}`, 400},
			{"POST /v1/rotations", `{"names":["low"]}`, 400},
			{"POST /v1/rotations", `{"names":[""]}`, 400},
			{"POST /v1/rotations", `{"names":["A"],"value":"canary"}`, 400},
			{"POST /v1/rotations", `{"names":["A"],"by":"canary\n"}`, 400},
			{"POST /v1/rotations", `{"names":"A"}`, 400},
			{"GET /v1/plan?name=A&name=B&all=false", "", 200},
			{"GET /v1/plan?due=1", "", 200},
			{"GET /v1/plan?name=A&rollback=true", "", 200},
			{"GET /v1/plan", "", 400},
			{"GET /v1/plan?all=true&name=A", "", 400},
			{"GET /v1/plan?all=true&all=true", "", 400},
			{"GET /v1/plan?all=perhaps", "", 400},
			{"GET /v1/plan?name=A&name=A", "", 400},
			{"GET /v1/plan?name=low", "", 400},
			{"GET /v1/plan?name=A&rehearse=true", "", 400},
			{"GET /v1/history", "", 200},
			{"GET /v1/history?name=A", "", 200},
			{"GET /v1/history?name=NONE", "", 200},
			{"GET /v1/history?name=low", "", 400},
			{"GET /v1/history?name=A&name=B", "", 400},
			{"GET /v1/history?service=redis", "", 400},
			{"POST /v1/migrations", `{"to":"age"}`, 200},
			{"POST /v1/migrations", `{"to":""}`, 400},
			{"POST /v1/migrations", `{"to":"canary ../x"}`, 400},
			{"POST /v1/migrations", `{"to":"age","canary":true}`, 400},
			{"GET /v1/status", `{}`, 400},
			{"GET /v1/secrets/A", "", 200},
			{"GET /v1/secrets/a", "", 400},
			{"GET /v1/secrets/B", "", 404},
			{"GET /v1/events?after=0", "", 200},
			{"GET /v1/events?after=-1", "", 400},
			{"GET /v1/events?since=1", "", 400},
			{"GET /v1/events?since=2026-01-02T03:04:05Z&until=2026-01-02T03:04:06.5%2B02:00&service=a.b&kind=heal", "", 200},
			{"GET /v1/events?kind=%0A", "", 400},
			{"GET /v1/events?tail=1", "", 400},
			{"GET /v1/events?follow=true&until=2026-01-02T03:04:05Z", "", 400},
			{"GET /v1/logs?tail=1&tail=2", "", 400},
			{"GET /v1/logs?service=%2F", "", 400},
			{"GET /v2/status", "", 404},
			{"PUT /v1/status", "", 404},
		} {
			head := fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\n%sConnection: close\r\nContent-Length: %d\r\n\r\n", test.line, wireHead, len(test.body))
			conn := request(t, p, head)
			go func() { _, _ = io.WriteString(conn, test.body) }() // may be refused before its end
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.want || (test.want != 200 && strings.Contains(string(body), "canary")) {
				t.Errorf("%s %.40s: %d %s, want %d, %v", test.line, test.body, resp.StatusCode, body, test.want, err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
		stop()
	})
}
