package main

import (
	"maps"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A day in which nothing happens: nothing is done, and it costs little. A benchmark has no bubble, so the figure of
// docs/benchmarks.md is what this test logs: the processor time between two midnights, without the start of the daemon.
func TestSimulatedDay(t *testing.T) {
	const days = 5
	for what, harmful := range map[string]bool{"calm": false, "lossy": true} { // lossy: calls and events go wrong all day
		t.Run(what, func(t *testing.T) {
			parse, dir := simLoader(), filepath.Join(simFolder(t), "day")
			var took time.Duration
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 1, dir, parse)
				s.boot(s.home())
				s.well(simMend)
				s.m.mu.Lock()
				s.m.harmful = harmful
				s.m.mu.Unlock()
				before, began := s.runs(), processorTime(t)
				s.rest(days * 24 * time.Hour)
				took = (processorTime(t) - began) / days // with that of tests beside this one
				if now := s.runs(); !harmful && !maps.Equal(before, now) {
					t.Errorf("%v, then %v", before, now)
				}
				s.m.mu.Lock()
				s.m.harmful = false
				s.m.mu.Unlock()
				s.over(t)
			})
			if took > 10*time.Second {
				t.Errorf("a simulated day took %v", took)
			}
			t.Logf("a simulated day takes %v of processor time", took.Round(time.Millisecond))
		})
	}
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
