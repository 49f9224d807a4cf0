package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"minibot/secrets"
)

// The bounds of a connection. A person's commands are few and short, so they are tight.
const (
	maxBody       = 4 << 20 // a change of many values of 64 KiB, in base64
	maxHeader     = 16 << 10
	maxConns      = 64           // beyond them one that says nothing has to go
	maxStreams    = maxConns / 2 // of events and logs: who follows without reading must leave room for commands
	readTimeout   = 10 * time.Second
	writeTimeout  = 10 * time.Second // of an answer that is no stream
	idleTimeout   = 30 * time.Second
	defaultDrain  = time.Second
	flushTimeout  = 250 * time.Millisecond // for last lines, once operations have been told to end
	streamBacklog = 256                    // lines that a slow reader may lag behind before the oldest are dropped
)

// Server serves a Backend on a unix socket to the user who runs it.
type Server struct {
	Backend Backend
	Logger  *slog.Logger // nil discards
	// Record keeps the event that a value was revealed, or was not, and to whom; it may be called concurrently. Without the
	// record there is no revealing: none is done while Record is nil, nor one whose record fails.
	Record func(Event) error
	// Redact is what every answer and stream passes, save the value that was asked for; nil takes nothing out.
	Redact *secrets.Redaction
	// Drain is how long operations may go on after Serve was told to end; 0 means a second.
	Drain time.Duration

	peer func(net.Conn) (peer, error) // nil is peerOf; tests put another one here
}

// Serve accepts until ctx ends or ln fails, closes ln, and returns when every request and operation has ended. When
// ctx ends, streams that follow end at once and operations have Drain to finish; then their context ends, and Serve
// waits for them however long they take: an operation must heed its context. It returns nil when ctx ended it. A panic
// of the backend ends it too, with an error: nobody knows what state it left behind.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	log := s.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("component", "control")
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	a := &api{backend: s.Backend, log: log, redact: s.Redact, record: s.Record, broken: func() { broken(errPanicked) },
		streams: make(chan struct{}, maxStreams)}
	var conns connections
	srv := &http.Server{
		Handler:                      a.routes(life, ctx.Done()),
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return life },
		ConnContext:                  withConn,
		ConnState:                    conns.count,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	g := &guard{Listener: ln, log: log, peer: s.peer, uid: os.Geteuid(), limit: maxConns, close: sync.OnceValue(ln.Close)}
	if g.peer == nil {
		g.peer = peerOf
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(g) }()
	var failed error
	select {
	case <-ctx.Done():
		if cause := context.Cause(ctx); errors.Is(cause, errPanicked) {
			failed = cause
		}
	case err := <-served:
		failed = fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		served <- nil
	}
	closed := g.Close()
	if errors.Is(closed, net.ErrClosed) {
		closed = nil // accept failed because it was closed
	}
	s.drain(a, srv, end)
	log.Debug("no longer accepting", "err", <-served)
	g.sum()
	conns.Wait()
	return errors.Join(failed, closed)
}

// drain ends what runs: at first by waiting, then by ending the operations' context, then by closing connections.
func (s *Server) drain(a *api, srv *http.Server, end context.CancelCauseFunc) {
	patience := s.Drain
	if patience == 0 {
		patience = defaultDrain
	}
	idle := a.running.close()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-idle:
	case <-t.C:
	}
	end(ErrStopping)
	t.Reset(flushTimeout)
	select {
	case <-idle:
	case <-t.C:
	}
	flush, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := srv.Shutdown(flush); err != nil { // a reader is too slow for the last lines
		_ = srv.Close() // all it can report is the listener's error, which Serve has
	}
	<-idle
}

// gate counts what runs and lets nothing new in once it is closed.
type gate struct {
	mu     sync.Mutex
	count  int
	closed bool
	idle   chan struct{}
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.count++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count--; g.closed && g.count == 0 {
		close(g.idle)
	}
}

// close returns a channel that is closed once nothing runs any more. It is called once.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.idle = true, make(chan struct{})
	if g.count == 0 {
		close(g.idle)
	}
	return g.idle
}
