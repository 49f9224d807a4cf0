package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// guard lets only the user who runs the daemon in, and only so many connections at once. When all places are taken, a
// newcomer gets the place of one that has nothing to lose: that is idle, or has not sent a whole request yet. Of those it
// is the oldest one of the process that holds most, so that a process that takes all places takes them from itself.
type guard struct {
	net.Listener
	log     *slog.Logger
	peer    func(net.Conn) (peer, error)
	uid     int
	limit   int
	close   func() error // of the listener, once
	refused tally        // by uid; only Accept's goroutine touches it while it runs, as crowded
	crowded tally

	mu   sync.Mutex
	held []*guarded // in the order they came in
}

// guarded is a connection that was let in.
type guarded struct {
	net.Conn
	guard *guard
	peer  peer
	// Under guard.mu:
	busy bool // a whole request was read, and its answer is not ready yet
	gone bool // closed, by whomever
}

func (g *guard) Close() error { return g.close() }

func (g *guard) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := g.admit(conn); c != nil {
			return c, nil
		}
	}
}

// admit gives conn a place if it may speak, and otherwise closes it and returns nil.
func (g *guard) admit(conn net.Conn) *guarded {
	p, err := g.peer(conn)
	if err == nil && p.uid == g.uid {
		return g.settle(conn, p)
	}
	defer conn.Close() //nolint:errcheck // nothing was said on it
	if err != nil {
		if more, say := g.refused.note(unknownUID, time.Now()); say {
			g.log.Warn("connection refused", "err", err, "more", more)
		}
	} else if more, say := g.refused.note(p.uid, time.Now()); say {
		g.log.Warn("connection of another user refused", "uid", p.uid, "pid", p.pid, "more", more)
	}
	return nil
}

// settle gives a connection of the right user a place, or closes it and returns nil.
func (g *guard) settle(conn net.Conn, p peer) *guarded {
	c := &guarded{Conn: conn, guard: g, peer: p}
	victim, full := g.place(c)
	if full {
		if more, say := g.crowded.note(p.uid, time.Now()); say {
			g.log.Warn("too many connections at once: who says nothing has to go", "limit", g.limit, "pid", p.pid, "more", more)
		}
	}
	if victim != nil {
		_ = victim.Close() // no whole request was read from it
	}
	if victim == c {
		return nil
	}
	return c
}

// place gives c a place, and returns who has to go for it, if all places were taken: c itself when every connection is
// busy.
func (g *guard) place(c *guarded) (victim *guarded, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if full = len(g.held) >= g.limit; full {
		if victim = g.weakest(); victim == nil {
			return c, full
		}
		g.drop(victim)
	}
	g.held = append(g.held, c)
	return victim, full
}

// weakest is who has to go, or nil. The caller holds mu.
func (g *guard) weakest() (victim *guarded) {
	count := map[int]int{}
	for _, c := range g.held {
		count[c.peer.pid]++
	}
	for _, c := range g.held {
		if !c.busy && (victim == nil || count[c.peer.pid] > count[victim.peer.pid]) {
			victim = c
		}
	}
	return victim
}

// drop takes c's place away. The caller holds mu.
func (g *guard) drop(c *guarded) {
	c.gone = true
	if i := slices.Index(g.held, c); i >= 0 {
		g.held = slices.Delete(g.held, i, i+1)
	}
}

func (c *guarded) Close() error {
	c.guard.mu.Lock()
	c.guard.drop(c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}

// begin says that a whole request was read: from now on the connection keeps its place. It returns false when the place
// is lost already; then nothing may be done for it.
func (c *guarded) begin() bool {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	c.busy = !c.gone
	return c.busy
}

// rest says that the request was answered, or that all there is left to do for it is to send the answer.
func (c *guarded) rest() {
	if c == nil {
		return // as connOf
	}
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	c.busy = false
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// withConn is the server's ConnContext.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// connOf returns the connection that a request came in on, or nil when it came from nowhere, as in a test.
func connOf(ctx context.Context) *guarded {
	c, _ := ctx.Value(connKey{}).(*guarded)
	return c
}

// begun says that a request was read whole; see guarded.begin.
func begun(ctx context.Context) bool {
	c := connOf(ctx)
	return c == nil || c.begin()
}

// wholeBody is a request's body. Who reads it to its end has read a whole request.
type wholeBody struct {
	io.ReadCloser
	begun func() bool
}

func (b wholeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.begun() { //nolint:errorlint // a reader's end is io.EOF itself
		err = net.ErrClosed
	}
	return n, err
}

// connections counts those whose goroutine has not ended.
type connections struct{ sync.WaitGroup }

func (c *connections) count(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.Add(1)
	case http.StateIdle:
		if g, ok := conn.(*guarded); ok {
			g.rest()
		}
	case http.StateClosed:
		c.Done()
	default:
	}
}

// The bounds of what is said of those who are refused.
const (
	tallyWindow = time.Minute
	tallyMost   = 256
	unknownUID  = -1 // nobody could tell
	otherUIDs   = -2 // all those beyond tallyMost
)

// tally says of each key only so often that something happened, and counts what happened in between. The zero value is
// ready. It is not safe for concurrent use.
type tally struct{ by map[int]*tallied }

type tallied struct {
	said time.Time
	more int // since it was said
}

// note counts one, and says whether it is to be told, with how many that were not.
func (t *tally) note(key int, now time.Time) (more int, say bool) {
	if t.by == nil {
		t.by = map[int]*tallied{}
	}
	if t.by[key] == nil && len(t.by) >= tallyMost {
		key = otherUIDs
	}
	e := t.by[key]
	if e == nil {
		t.by[key] = &tallied{said: now}
		return 0, true
	}
	if now.Sub(e.said) < tallyWindow {
		e.more++
		return 0, false
	}
	more, e.more, e.said = e.more, 0, now
	return more, true
}

// sum tells what note has not told.
func (g *guard) sum() {
	for uid, e := range g.refused.by {
		if e.more > 0 {
			g.log.Warn("more connections were refused", "uid", uid, "more", e.more)
		}
	}
}

// who describes the process at the other end of a request, as far as the system tells.
func who(ctx context.Context) string {
	c := connOf(ctx)
	if c == nil {
		return "somebody"
	}
	text := fmt.Sprintf("uid %d, pid %d", c.peer.uid, c.peer.pid)
	if path := programOf(c.peer.pid); path != "" {
		text += fmt.Sprintf(" (%q)", path[:min(len(path), 256)])
	}
	return text
}
