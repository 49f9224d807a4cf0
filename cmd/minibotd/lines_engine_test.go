package main

import (
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// TestLastLinesOfAFailedRun has a run end with something to say, and a later one be unhealthy.
func TestLastLinesOfAFailedRun(t *testing.T) {
	t.Parallel()
	compose := strings.ReplaceAll(tinyCompose, "echo started;", "echo started; trap 'echo the-secret-is $$(cat /run/secrets/K); exit 3' USR1;")
	in := install(t, "", compose, nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	before := in.started("c")
	in.docker("kill", "-s", "USR1", in.container("c"))
	in.restarted("c", before)
	kept := func(want string) func(control.Status) bool {
		return func(s control.Status) bool {
			c := service(s, "c")
			return c.State == "running" && strings.Contains(strings.Join(c.LastLog, "\n"), want)
		}
	}
	s := in.until("the last lines of a run that exited", 20*time.Second, kept("the-secret-is [redacted]"))
	if lines := service(s, "c").LastLog; lines[len(lines)-1] != "the-secret-is [redacted]" || len(lines) != 2 {
		t.Errorf("%q", lines)
	}
	if s := service(s, "a"); s.LastLog != nil {
		t.Errorf("a, which is well, has %q", s.LastLog)
	}
	if out := in.must("", "minibotd", "events"); !strings.Contains(out, "its last lines: started | the-secret-is [redacted]") || !strings.Contains(out, "exited with 3") || strings.Contains(out, tinyCanary) {
		t.Errorf("events: %s", out)
	}
	before = in.started("c")
	in.docker("exec", in.container("c"), "sh", "-c", "echo sick-now >/proc/1/fd/1; touch /tmp/sick")
	in.restarted("c", before)
	in.until("the last lines of an unhealthy run", 20*time.Second, kept("sick-now"))
	before = in.started("c")
	in.must("", "minibotd", "restart", "c") // no failure, and the old one is past
	in.healthy(30 * time.Second)
	if s, err := in.status(); err != nil || service(s, "c").LastLog != nil || in.started("c") == before {
		t.Errorf("%+v, %v", s, err)
	}
}
