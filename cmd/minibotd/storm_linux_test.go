package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	stormRate  = 5000 // events a second
	stormPiece = 10 * time.Millisecond
)

// storm repeats the events of a real engine, with new times, as often as no real one could.
type storm struct {
	rages atomic.Bool
	sent  atomic.Int64

	mu    sync.Mutex
	known map[string]repeated // the last event of each container and action
}

// repeated is an event without its time, which stands between the two: what repeats 5,000 a second must not itself be what keeps the machine busy.
type repeated struct{ before, after []byte }

// over puts the storm into what a proxy passes on.
func (s *storm) over(forward *httputil.ReverseProxy) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") || strings.Contains(r.URL.Query().Get("filters"), `"network"`) { // the stream of the networks tells nothing of containers
			forward.ServeHTTP(w, r)
			return
		}
		stream := &stormy{ResponseWriter: w, storm: s}
		ended, done := make(chan struct{}), make(chan struct{})
		go func() { defer close(done); stream.rage(ended) }()
		defer func() { close(ended); <-done }()
		forward.ServeHTTP(stream, r)
	})
}

// stormy is a stream of events: each Write of the proxy holds whole ones, as the engine sends them.
type stormy struct {
	http.ResponseWriter
	storm *storm
	mu    sync.Mutex
}

func (w *stormy) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *stormy) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		var event map[string]any
		before, rest, found := strings.Cut(line, `"timeNano":`)
		if digits := strings.TrimLeft(rest, "0123456789"); found && json.Unmarshal([]byte(line), &event) == nil {
			w.storm.mu.Lock()
			w.storm.known[fmt.Sprint(event["id"], event["Action"])] = repeated{[]byte(before + `"timeNano":`), []byte(strings.TrimSpace(digits) + "\n")}
			w.storm.mu.Unlock()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ResponseWriter.Write(p)
}

func (w *stormy) rage(ended <-chan struct{}) {
	tick := time.NewTicker(stormPiece)
	defer tick.Stop()
	for next := 0; ; {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		if !w.storm.rages.Load() {
			continue
		}
		var piece []byte
		w.storm.mu.Lock()
		events := slices.Collect(maps.Values(w.storm.known))
		for range stormRate * int(stormPiece) / int(time.Second) {
			if len(events) == 0 {
				break
			}
			event := events[next%len(events)]
			next++
			piece = append(strconv.AppendInt(append(piece, event.before...), time.Now().UnixNano(), 10), event.after...)
			w.storm.sent.Add(1)
		}
		w.storm.mu.Unlock()
		w.mu.Lock()
		_, err := w.ResponseWriter.Write(piece)
		if err == nil {
			err = http.NewResponseController(w.ResponseWriter).Flush()
		}
		w.mu.Unlock()
		if err != nil {
			return // the daemon left
		}
	}
}

// TestHealInAStormOfEvents kills services, each once, in turns without and in a storm of 5,000 events a second about all of them. With
// MINIBOT_STORM pairs of services, where that is more than a few, the median in the storm may be longer by 100 ms.
func TestHealInAStormOfEvents(t *testing.T) {
	t.Parallel()
	image := importStill(t)
	pairs, err := strconv.Atoi(cmp.Or(os.Getenv("MINIBOT_STORM"), "2"))
	if err != nil {
		t.Fatal(err)
	}
	s := &storm{known: map[string]repeated{}}
	in := install(t, proxyTo(t, "", s.over).host(), manyServices(image, 2*pairs, "15s"), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(5 * time.Minute)
	var calm, stormy []time.Duration
	for i := range pairs {
		calm = append(calm, in.healTime(fmt.Sprint("s", 2*i)))
		before, used, began := s.sent.Load(), in.processor(), time.Now()
		s.rages.Store(true)
		in.poll("a storm", time.Minute, func() bool { return s.sent.Load()-before >= stormRate }, func() string { return fmt.Sprint(s.sent.Load() - before) })
		stormy = append(stormy, in.healTime(fmt.Sprint("s", 2*i+1)))
		s.rages.Store(false)
		t.Logf("without a storm %v, in one %v; %.0f events a second, %.0f %% of a core", calm[i], stormy[i],
			float64(s.sent.Load()-before)/time.Since(began).Seconds(), 100*float64(in.processor()-used)/float64(time.Since(began)))
	}
	in.healthy(5 * time.Minute)
	slices.Sort(calm)
	slices.Sort(stormy)
	longer := stormy[len(stormy)/2] - calm[len(calm)/2]
	t.Logf("%d services: median without a storm %v, in one %v", 2*pairs, calm[len(calm)/2], stormy[len(stormy)/2])
	if pairs >= 10 && longer > 100*time.Millisecond {
		t.Errorf("a storm makes a heal %v longer", longer)
	}
}
