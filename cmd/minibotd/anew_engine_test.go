package main

import (
	"strings"
	"testing"
	"time"
)

// A container that stays sick through restarts, here by a file in its own layer, is made anew, and is well then.
func TestWhatRestartsDoNotHelpIsMadeAnew(t *testing.T) {
	t.Parallel()
	in := install(t, "", strings.Replace(tinyCompose, "tmpfs: [/tmp, /data]", "tmpfs: [/data]", 1), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	before := in.id("a")
	in.docker("exec", in.container("a"), "touch", "/tmp/sick")
	in.poll("made anew", 2*time.Minute, func() bool {
		return strings.TrimSpace(in.tryDocker("inspect", "-f", "{{.Id}}", in.container("a"))) != before
	}, in.log.String)
	in.healthy(60 * time.Second)
	events := in.must("", "minibotd", "events", "--service", "a")
	for _, want := range []string{"restart, attempt 3: unhealthy", "recreate, attempt 4: unhealthy"} {
		if !strings.Contains(events, want) {
			t.Errorf("no event %q:\n%s", want, events)
		}
	}
}
