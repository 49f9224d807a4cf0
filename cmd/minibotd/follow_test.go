package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogsFollowRestarts(t *testing.T) {
	t.Parallel()
	in := tiny(t, "")
	in.start()
	in.healthy(60 * time.Second)
	var out logBuffer
	follow := exec.Command(filepath.Join(programs, "minibotd"), "logs", "-f", "a")
	follow.Env, follow.Stdout, follow.Stderr = in.environ(), &out, &out
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- follow.Wait() }()
	t.Cleanup(func() {
		_ = follow.Process.Kill() // it may have ended
		<-ended
	})
	lines := func(n int) {
		t.Helper()
		in.poll("a line for each run", 60*time.Second, func() bool { return strings.Count(out.String(), "started\n") >= n }, out.String)
	}
	lines(1)
	in.must("", "minibotd", "restart", "a")
	lines(2)
	before := in.started("a")
	in.docker("rm", "-f", "-v", in.container("a"))
	in.restarted("a", before)
	lines(3)
	if got := out.String(); got != strings.Repeat("started\n", 3) {
		t.Errorf("followed %q", got)
	}
	if all := in.must("", "minibotd", "logs", "--tail", "1"); !strings.Contains(all, "a          | started\n") || !strings.Contains(all, "c          | started\n") {
		t.Errorf("all logs: %q", all)
	}
}

func TestInitWhileTheDaemonWaitsForTheStore(t *testing.T) {
	t.Parallel()
	in := install(t, "", tinyCompose, nil)
	in.start()
	in.poll("an answer", 60*time.Second, func() bool { _, err := in.status(); return err == nil }, in.log.String)
	if out := in.must("", "mb-secrets", "init", "--generate"); !strings.Contains(out, "all 1 required secrets are set") {
		t.Errorf("init says %q", out)
	}
	in.healthy(60 * time.Second)
}
