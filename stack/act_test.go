package stack

import (
	"testing"
	"time"
)

// One that does not obey is killed when the given time is over, and not after its own long one.
func TestStopWithinAShorterTime(t *testing.T) {
	r := newRig(t, `
services:
  a: { image: IMAGE, entrypoint: [/bin/sh, -c, "trap '' TERM; while :; do sleep 0.1; done"], stop_grace_period: 10m, mem_limit: 64m }
`)
	r.create()
	r.start("a")
	r.equal("memory limit", r.container("a").MemoryLimit, int64(64<<20))
	for verb, act := range map[string]func(id string) error{
		"restart": func(id string) error { return r.engine.Restart(t.Context(), id, time.Second) },
		"stop":    func(id string) error { return r.engine.Stop(t.Context(), id, time.Second) },
	} {
		r.start("a")
		var die Event
		began := time.Now()
		r.watching(func(events func(string) Event) {
			r.must(act(r.container("a").ID))
			die = events("die")
		})
		r.equal(verb+": exit code", die.ExitCode, 137)
		if took := time.Since(began); took < time.Second || took > time.Minute {
			t.Errorf("%s took %v", verb, took)
		}
	}
}
