package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder keeps everything that passes through a proxy in front of an engine: every request and every answer, with its
// line and headers, decoded from chunks and frames. Only what an exec gets as its input, and what is copied into a keeper, may
// hold values.
type recorder struct {
	t        *testing.T
	evidence *evidence
	engine   *http.Client // directly

	mu      sync.Mutex
	keepers map[string]bool // by the name that a request uses
}

func newRecorder(t *testing.T, e *evidence, socket string) *recorder {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(socket, "unix://"))
	}
	return &recorder{t: t, evidence: e, keepers: map[string]bool{},
		engine: &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

var (
	copyInto  = regexp.MustCompile(`^(?:/v[0-9.]+)?/containers/([^/]+)/archive$`)
	execStart = regexp.MustCompile(`^(?:/v[0-9.]+)?/exec/[^/]+/start$`)
	aName     = regexp.MustCompile(`[0-9a-f]{64}|^mbt-.*|.*[:%].*`)
)

// route names the kind of a request: its path without what differs from call to call.
func route(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	for i, part := range parts {
		if i == 0 && strings.HasPrefix(part, "v1.") || aName.MatchString(part) {
			parts[i] = "-"
		}
	}
	return r.Method + " " + strings.TrimPrefix(strings.Join(parts, " "), "- ")
}

// record is what newEngineProxy's callers put in.
func (c *recorder) record(forward *httputil.ReverseProxy) http.Handler {
	forward.ModifyResponse = c.answer
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head, err := httputil.DumpRequest(r, false)
		if err != nil {
			c.t.Errorf("record a request: %v", err)
		}
		if coding := r.Header.Get("Content-Encoding"); coding != "" {
			c.t.Errorf("a request in %s, which is not searched", coding)
		}
		c.evidence.keep(false, "request "+route(r), string(head))
		if r.Body != nil && r.Body != http.NoBody {
			exempt := r.Method == http.MethodPut && c.isKeeper(r)
			r.Body = &recordedBody{r.Body, c.evidence.stream(exempt, "request "+route(r)+" body")}
		}
		forward.ServeHTTP(w, r)
	})
}

// isKeeper reports whether a request copies into a keeper, in the engine's own words.
func (c *recorder) isKeeper(r *http.Request) bool {
	m := copyInto.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	is, known := c.keepers[m[1]]
	if known {
		return is
	}
	answer, err := c.engine.Get("http://docker/containers/" + m[1] + "/json")
	if err != nil {
		return false // what cannot be told is searched
	}
	defer answer.Body.Close()
	var about struct {
		Config struct{ Labels map[string]string }
	}
	if json.NewDecoder(answer.Body).Decode(&about) != nil || answer.StatusCode != http.StatusOK {
		return false
	}
	c.keepers[m[1]] = about.Config.Labels["com.docker.compose.service"] == "keeper"
	return c.keepers[m[1]]
}

// answer records one, and what follows it: its body, or both directions of what it turns into.
func (c *recorder) answer(r *http.Response) error {
	head, err := httputil.DumpResponse(r, false)
	if err != nil {
		return fmt.Errorf("record an answer: %w", err)
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" {
		c.t.Errorf("an answer in %s, which is not searched", coding)
	}
	kind := "answer " + route(r.Request)
	c.evidence.keep(false, kind, string(head))
	parts := map[byte]*stream{}
	frames := &demultiplexer{to: func(kindOf byte) io.Writer {
		if parts[kindOf] == nil {
			parts[kindOf] = c.evidence.stream(false, fmt.Sprintf("%s output %d", kind, kindOf))
		}
		return parts[kindOf]
	}}
	body := &recordedBody{r.Body, &allOf{to: []io.Writer{c.evidence.stream(false, kind+" body"), frames}, parts: parts}}
	r.Body = body
	if r.StatusCode == http.StatusSwitchingProtocols {
		both, ok := body.ReadCloser.(io.ReadWriteCloser)
		if !ok {
			return errors.New("an upgraded answer that cannot be written to")
		}
		input := c.evidence.stream(execStart.MatchString(r.Request.URL.Path), kind+" input")
		r.Body = &recordedConn{recordedBody{both, body.seen}, both, input}
	}
	return nil
}

// allOf writes to several and closes what they opened.
type allOf struct {
	mu    sync.Mutex
	to    []io.Writer
	parts map[byte]*stream
}

func (a *allOf) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.to {
		if n, err := w.Write(p); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

func (a *allOf) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	errs := []error{a.to[0].(*stream).Close()}
	for _, s := range a.parts {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// recordedBody passes on what it reads.
type recordedBody struct {
	io.ReadCloser
	seen io.WriteCloser
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_, _ = b.seen.Write(p[:n]) // evidence says on its own what it cannot keep
	return n, err
}

// Close keeps what was read before it says that nobody reads on.
func (b *recordedBody) Close() error { return errors.Join(b.seen.Close(), b.ReadCloser.Close()) }

// recordedConn is a connection that an answer turned into.
type recordedConn struct {
	recordedBody
	conn  io.ReadWriteCloser
	input *stream
}

func (c *recordedConn) Write(p []byte) (int, error) {
	_, _ = c.input.Write(p) // evidence says on its own what it cannot keep
	return c.conn.Write(p)
}

func (c *recordedConn) CloseWrite() error {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

func (c *recordedConn) Close() error { return errors.Join(c.input.Close(), c.recordedBody.Close()) }
