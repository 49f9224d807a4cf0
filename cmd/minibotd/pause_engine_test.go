package main

import (
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// TestPause has a service fail while its healing is paused, over a restart of the daemon.
func TestPause(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	if out := in.must("", "minibotd", "pause", "c", "--for", "1h"); !strings.Contains(out, "healing is paused until ") {
		t.Errorf("pause: %s", out)
	}
	in.docker("kill", in.container("c"))
	rests := func(s control.Status) bool {
		c := service(s, "c")
		return c.State == "maintenance" && c.Maintenance != nil && strings.Contains(c.Reason, "SIGKILL")
	}
	in.until("c is left alone", 30*time.Second, rests)
	in.term()
	in.start()
	in.until("c is still left alone", 30*time.Second, rests)
	a := in.started("a")
	in.docker("kill", in.container("a")) // the others are healed
	in.poll("a started again", 60*time.Second, func() bool { return in.started("a") != a && strings.HasSuffix(in.started("a"), "true") }, func() string { return in.started("a") })
	if up := in.started("c"); strings.HasSuffix(up, "true") {
		t.Errorf("c: %s", up)
	}
	in.must("", "minibotd", "resume", "c")
	in.healthy(30 * time.Second)
	if out := in.must("", "minibotd", "resume", "c"); !strings.Contains(out, "not paused") {
		t.Errorf("resume: %s", out)
	}
	if events := in.must("", "minibotd", "events"); !strings.Contains(events, "pause for 1h0m0s") || !strings.Contains(events, "healing goes on") {
		t.Errorf("events: %s", events)
	}
	in.must("", "minibotd", "pause", "c", "--for", "2s")
	in.docker("kill", in.container("c"))
	in.until("c rests", 30*time.Second, func(s control.Status) bool {
		return service(s, "c").State == "maintenance" || s.Phase == control.PhaseHealthy
	})
	in.healthy(30 * time.Second)
}
