package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// flaw is what a wire does to the answers that pass it. The zero value is none.
type flaw struct {
	delay   time.Duration // of each piece
	rate    int           // bytes a second
	cut     int           // bytes after which a connection ends
	half    int           // bytes after which nothing more is answered, though all is still heard
	corrupt int           // one byte in so many is another, on average
	hang    bool          // nothing is answered
}

// wire stands between the daemon and an engine, below HTTP, and has flaws.
type wire struct {
	t              *testing.T
	socket, engine string
	listener       net.Listener

	mu      sync.Mutex
	flaw    flaw
	changed chan struct{} // closed when flaw changes
	conns   map[net.Conn]bool
}

func newWire(t *testing.T, engine string) *wire {
	t.Helper()
	dir, err := os.MkdirTemp("", "mb-wire-")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, socket: filepath.Join(dir, "docker.sock"), engine: strings.TrimPrefix(engine, "unix://"),
		changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	if w.listener, err = net.Listen("unix", w.socket); err != nil {
		t.Fatal(err)
	}
	go w.serve()
	t.Cleanup(func() { _ = w.listener.Close(); w.drop(); _ = os.RemoveAll(dir) })
	return w
}

func (w *wire) host() string { return "unix://" + w.socket }

// set gives the wire a flaw, for new connections and for those that stand.
func (w *wire) set(f flaw) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flaw = f
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wire) now() (flaw, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flaw, w.changed
}

// drop ends all connections.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close() // closing twice is fine
	}
}

func (w *wire) keep(c net.Conn) (forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
	return func() {
		_ = c.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.conns, c)
	}
}

func (w *wire) serve() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer w.keep(client)()
			engine, err := net.Dial("unix", w.engine)
			if err != nil {
				return // the client sees a closed connection
			}
			defer w.keep(engine)()
			asked := make(chan struct{})
			go func() {
				defer close(asked)
				w.pass(engine, client, func([]byte) (int, error) { return 0, nil })
			}()
			answered := 0
			w.pass(client, engine, func(piece []byte) (int, error) { return w.answer(piece, &answered) })
			<-asked
		}()
	}
}

var errCut, errHalf = errors.New("cut"), errors.New("half closed")

// answer applies the flaw to a piece of an answer, and returns how much of it passes at most, 0 for all.
func (w *wire) answer(piece []byte, before *int) (int, error) {
	f, changed := w.now()
	for f.hang {
		<-changed
		f, changed = w.now()
	}
	wait := f.delay
	if f.rate > 0 {
		wait += time.Duration(len(piece)) * time.Second / time.Duration(f.rate)
	}
	if wait > 0 {
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-changed:
		}
		pause.Stop()
	}
	for i := range piece {
		if f.corrupt > 0 && rand.IntN(f.corrupt) == 0 {
			piece[i] ^= 1 << rand.IntN(7)
		}
	}
	*before += len(piece)
	switch {
	case f.cut > 0 && *before > f.cut:
		return max(len(piece)-(*before-f.cut), 1), errCut
	case f.half > 0 && *before > f.half:
		return max(len(piece)-(*before-f.half), 1), errHalf
	}
	return 0, nil
}

// pass copies from one end to the other until one of them ends.
func (w *wire) pass(to, from net.Conn, change func(piece []byte) (int, error)) {
	piece := make([]byte, 2048)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			most, flawed := change(piece[:n])
			if most == 0 {
				most = n
			}
			if _, wrote := to.Write(piece[:min(most, n)]); wrote != nil {
				err = wrote
			}
			if flawed != nil {
				err = flawed
			}
		}
		if err == nil {
			continue
		}
		_ = to.(*net.UnixConn).CloseWrite() // a connection that is gone has nothing to close
		if errors.Is(err, errCut) {
			_ = to.Close()
		}
		if !errors.Is(err, errHalf) {
			_ = from.(*net.UnixConn).CloseRead()
		}
		return
	}
}
