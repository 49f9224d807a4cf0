package stack

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Many starts at once wait for one another, and one that nobody wants any more leaves the queue.
func TestStartsAreBounded(t *testing.T) {
	h := newHome(t)
	var running, most, all atomic.Int32
	release := make(chan struct{})
	full := sync.OnceFunc(func() { close(release) })
	h.other = func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/start") {
			http.NotFound(w, r)
			return
		}
		all.Add(1)
		now := running.Add(1)
		for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
		}
		if now == startsAtOnce {
			full()
		}
		<-release
		running.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	}
	e, err := Dial(t.Context(), h.serve("fake.sock", "20.10.24"))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 3 * startsAtOnce {
		wait.Go(func() {
			if err := e.Start(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if most.Load() != startsAtOnce || all.Load() != 3*startsAtOnce {
		t.Errorf("%d of %d at once", most.Load(), all.Load())
	}
	for range startsAtOnce {
		if err := e.starting.lock(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Start(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("in the queue: %v", err)
	}
}
