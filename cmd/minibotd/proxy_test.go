package main

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// engineProxy stands between the daemon and the real engine, so that a test can slow calls down, hold them, or take
// the engine away.
type engineProxy struct {
	t      *testing.T
	socket string
	engine string                                    // DOCKER_HOST; "" is the environment's
	record func(*httputil.ReverseProxy) http.Handler // puts something between it and its callers; nil for nothing

	mu     sync.Mutex
	server *http.Server
	before func(*http.Request) // called before a request is passed on
}

func newEngineProxy(t *testing.T) *engineProxy { return proxyTo(t, "", nil) }

// proxyTo is newEngineProxy for another engine, and for who wants to see all that passes.
func proxyTo(t *testing.T, engine string, record func(*httputil.ReverseProxy) http.Handler) *engineProxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "mb-engine-")
	if err != nil {
		t.Fatal(err)
	}
	p := &engineProxy{t: t, socket: filepath.Join(dir, "docker.sock"), engine: engine, record: record}
	p.open()
	t.Cleanup(func() { p.close(); _ = os.RemoveAll(dir) })
	return p
}

func (p *engineProxy) host() string { return "unix://" + p.socket }

// intercept sets what happens before each request; nil for nothing.
func (p *engineProxy) intercept(before func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = before
}

// open lets the engine be there.
func (p *engineProxy) open() {
	p.t.Helper()
	listener, err := net.Listen("unix", p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	engine := strings.TrimPrefix(cmp.Or(p.engine, os.Getenv("DOCKER_HOST"), "/var/run/docker.sock"), "unix://")
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker" },
		FlushInterval: -1,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", engine)
		}},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	passOn := http.Handler(forward)
	if p.record != nil {
		passOn = p.record(forward)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		before := p.before
		p.mu.Unlock()
		if before != nil {
			before(r)
		}
		passOn.ServeHTTP(w, r)
	})}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	go func() { _ = server.Serve(listener) }() // ends with close
}

// close takes the engine away: the socket and every connection.
func (p *engineProxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.server.Close() // closing twice is fine
}
