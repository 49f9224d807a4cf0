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

	"minibot/hint"
)

func TestSlowRequestsAreCutOff(t *testing.T) {
	for name, test := range map[string]struct {
		text, drop string // drop is sent again and again, a byte a second
		want       time.Duration
	}{
		"silence":          {"", "", readTimeout},
		"header":           {"GET /v1/status HTTP/1.1\r\nHost:", "", readTimeout},
		"dribbling header": {"GET /v1/status HTTP/1.1\r\n", "x", readTimeout},
		"body":             {postHead + "Content-Length: 17\r\n\r\n{", "", readTimeout},
		"dribbling body":   {postHead + "Content-Length: 1000\r\n\r\n", " ", readTimeout},
		"dribbling chunks": {postHead + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", readTimeout},
		"idle after":       {"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + wireHead + "\r\n", "", idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			synctest.Test(t, func(t *testing.T) {
				p, stop := bubble(t, &Server{Backend: f})
				conn := request(t, p, test.text)
				begin := time.Now()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					tick := time.NewTicker(time.Second)
					defer tick.Stop()
					for test.drop != "" {
						if _, err := io.WriteString(conn, test.drop); err != nil {
							return
						}
						<-tick.C
					}
				}()
				if _, err := io.Copy(io.Discard, conn); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took < test.want || took > test.want+2*time.Second {
					t.Errorf("cut off after %v, want %v", took, test.want)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				<-ended
				stop()
			})
		})
	}
}

// Connections that say nothing, or nothing whole, are closed when a new one wants in.
func TestAttackSilentConnections(t *testing.T) {
	for _, count := range []int{maxConns, 1000} {
		for name, text := range map[string]string{
			"silent": "",
			"header": "POST /v1/operations HTTP/1.1\r\n",
			"body":   postHead + "Content-Length: 1000\r\n\r\n{",
			"idle":   "GET /v1/history HTTP/1.1\r\nHost: x\r\n" + wireHead + "\r\n",
		} {
			t.Run(fmt.Sprint(count, " ", name), func(t *testing.T) {
				f := newFake(t)
				log := &logBuffer{}
				synctest.Test(t, func(t *testing.T) {
					p, stop := bubble(t, &Server{Backend: f, Logger: textLogger(log)})
					for range count {
						conn := request(t, p, text)
						go func() { _, _ = io.Copy(io.Discard, conn) }() // the answer of an idle one
						synctest.Wait()
					}
					begin := time.Now()
					for range 3 {
						if _, err := (&Client{dial: p.dial}).Status(t.Context()); err != nil {
							t.Error(err)
						}
					}
					if took := time.Since(begin); took > 0 {
						t.Errorf("answered after %v", took)
					}
					stop()
				})
				if n := strings.Count(log.String(), "too many"); n != 1 {
					t.Errorf("said %d times:\n%s", n, log)
				}
			})
		}
	}
}

// One process with any number of connections takes no place from another one's.
func TestAttackConnectionFloodBesideAWorkingClient(t *testing.T) {
	for _, order := range []string{"silent 64 ", "silent 1000 ", "dribble 1000 "} {
		t.Run(order, func(t *testing.T) {
			f := newFake(t)
			c, _ := serve(t, &Server{Backend: f})
			early, err := net.Dial("unix", c.Socket) // before the flood, and with half a request
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(early, "GET /v1/history HTTP/1.1\r\nHost: x\r\n"); err != nil {
				t.Fatal(err)
			}
			a := startAttacker(t, os.Geteuid(), order+c.Socket)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			answer := func() {
				t.Helper()
				begin := time.Now()
				if _, err := c.Status(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("answered after %v", took)
				}
			}
			for range 20 {
				answer() // while they come
			}
			a.says("ready")
			for range 20 {
				answer() // while they stay
			}
			if _, err := io.WriteString(early, wireHead+"Connection: close\r\n\r\n"); err != nil {
				t.Error(err)
			}
			if b, err := io.ReadAll(early); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200") {
				t.Errorf("who was there before: %.60s, %v", b, err)
			}
		})
	}
}

// What is under way keeps its place, whoever comes.
func TestAttackFloodEndsNoRunningOperation(t *testing.T) {
	f := newFake(t)
	goOn := make(chan struct{})
	f.op = func(_ context.Context, _ Operation, report func(Progress)) error {
		report(Progress{Message: "begun"})
		<-goOn
		return nil
	}
	c, _ := serve(t, &Server{Backend: f})
	done := make(chan error, maxConns)
	begun := make(chan struct{}, maxConns)
	for range maxConns {
		go func() {
			done <- c.Operate(t.Context(), Operation{Verb: VerbReload}, func(Progress) { begun <- struct{}{} })
		}()
	}
	for range maxConns {
		<-begun
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) || hint.Of(err) == "" {
		t.Errorf("beyond the limit: %v", err)
	}
	a := startAttacker(t, os.Geteuid(), "silent 200 "+c.Socket)
	a.says("ready")
	close(goOn)
	for range maxConns {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// Streams that nobody reads leave room for commands.
func TestAttackStreamsThatNobodyReads(t *testing.T) {
	f := newFake(t)
	f.logs = func(ctx context.Context, w io.Writer) error {
		for ctx.Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 1000)+"\n"); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		p, stop := bubble(t, &Server{Backend: f})
		for range maxConns {
			go func() {
				conn := request(t, p, "GET /v1/logs HTTP/1.1\r\nHost: x\r\n"+wireHead+"\r\n")
				_, _ = conn.Read(make([]byte, 1))
			}()
			synctest.Wait()
		}
		c := &Client{dial: p.dial}
		if err := c.Operate(t.Context(), Operation{Verb: VerbReload}, nil); err != nil {
			t.Error(err)
		}
		err := c.Logs(t.Context(), "", false, 0, io.Discard)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeTooMany || hint.Of(err) == "" {
			t.Errorf("one more stream: %v", err)
		}
		stop()
	})
}

// An operation ends with its own end, also when its reader stopped reading long ago.
func TestAttackReaderOfProgressWhoStopsReading(t *testing.T) {
	f := newFake(t)
	synctest.Test(t, func(t *testing.T) {
		f.op = func(_ context.Context, _ Operation, report func(Progress)) error {
			for range 10 {
				report(Progress{Message: "line"})
			}
			return nil
		}
		p, stop := bubble(t, &Server{Backend: f})
		for range maxConns {
			request(t, p, postHead+"Content-Length: 17\r\n\r\n{\"verb\":\"reload\"}")
		}
		<-time.After(writeTimeout + time.Second)
		if _, err := (&Client{dial: p.dial}).Status(t.Context()); err != nil {
			t.Error(err)
		}
		stop()
	})
}

func TestAttackFloodOfHeaderOrBody(t *testing.T) {
	f := newFake(t)
	called := false
	f.op = func(context.Context, Operation, func(Progress)) error { called = true; return nil }
	for name, test := range map[string]struct {
		text, flood string
		most        int
		want        int
	}{
		"long line":      {"GET /v1/status?", "x", maxHeader + 256<<10, http.StatusRequestHeaderFieldsTooLarge},
		"many headers":   {"GET /v1/status HTTP/1.1\r\n", "X-A: b\r\n", maxHeader + 256<<10, http.StatusRequestHeaderFieldsTooLarge},
		"body":           {postHead + "Content-Length: 1000000000000\r\n\r\n", " ", maxBody + 1<<20, http.StatusRequestEntityTooLarge},
		"chunks":         {postHead + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", 6*maxBody + 6<<20, http.StatusRequestEntityTooLarge},
		"deep JSON":      {postHead + "Content-Length: 1000000000000\r\n\r\n", "[", maxBody + 1<<20, http.StatusBadRequest},
		"body of a GET":  {"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + wireHead + "Content-Length: 1000000000000\r\n\r\n", "x", 1 << 20, http.StatusBadRequest},
		"body of a name": {"DELETE /v1/secrets/A HTTP/1.1\r\nHost: x\r\n" + wireHead + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 2 << 20, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, &Server{Backend: f})
			conn, err := net.Dial("unix", c.Socket)
			if err != nil {
				t.Fatal(err)
			}
			sent := make(chan int, 1)
			go func() {
				block, total := []byte(strings.Repeat(test.flood, 4096/len(test.flood))), 0
				n, err := io.WriteString(conn, test.text)
				for total = n; err == nil; total += n {
					n, err = conn.Write(block)
				}
				sent <- total
			}()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != test.want {
				t.Fatalf("%v, %v", resp, err)
			}
			if total := <-sent; total > test.most { // the daemon closed it
				t.Errorf("%d bytes were taken", total)
			}
			if called {
				t.Error("the operation began")
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
