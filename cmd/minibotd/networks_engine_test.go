package main

import (
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// networked is an installation of tinyCompose on a network of its own, healthy.
func networked(t *testing.T) *installation {
	t.Helper()
	in := install(t, "", strings.Replace(tinyCompose, "  network_mode: none\n", "", 1), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	return in
}

// onNetwork counts the running services on the project's network.
func (in *installation) onNetwork() int {
	return strings.Count(in.tryDocker("ps", "--filter", "network="+in.name+"_default", "--format", "{{.Names}}"), in.name)
}

func (in *installation) disconnect(services ...string) {
	in.t.Helper()
	for _, s := range services {
		in.docker("network", "disconnect", "-f", in.name+"_default", in.container(s))
	}
}

func TestAServiceOffItsNetworkIsConnected(t *testing.T) {
	t.Parallel()
	in := networked(t)
	before := in.started("a")
	in.disconnect("a")
	in.poll("connected", 20*time.Second, func() bool { return in.onNetwork() == 3 }, func() string { return in.tryDocker("ps") })
	in.healthy(20 * time.Second)
	in.docker("exec", in.container("c"), "ping", "-c", "1", "-W", "5", "a")
	if after := in.started("a"); after != before {
		t.Errorf("a was restarted: %s, then %s", before, after)
	}
	if out := in.must("", "minibotd", "events", "--kind", "connect"); !strings.Contains(out, "not in network "+in.name+"_default") {
		t.Errorf("events: %s", out)
	}
	t.Run("not while its healing is paused", func(t *testing.T) {
		in.must("", "minibotd", "pause", "a", "--for", "30m")
		in.disconnect("a")
		in.must("", "minibotd", "restart", "b") // as long as that takes
		if n := in.onNetwork(); n != 2 {
			t.Errorf("%d are on the network", n)
		}
		in.must("", "minibotd", "resume", "a")
		in.poll("connected", 20*time.Second, func() bool { return in.onNetwork() == 3 }, func() string { return in.tryDocker("ps") })
	})
	t.Run("not while it is stopped", func(t *testing.T) {
		in.must("", "minibotd", "stop", "c")
		in.disconnect("c")
		in.must("", "minibotd", "restart", "b")
		if out := in.docker("inspect", "-f", "{{len .NetworkSettings.Networks}}", in.container("c")); strings.TrimSpace(out) != "0" {
			t.Errorf("c has %s networks", out)
		}
		in.must("", "minibotd", "start", "c")
		in.healthy(20 * time.Second)
		if n := in.onNetwork(); n != 3 {
			t.Errorf("%d are on the network", n)
		}
	})
}

// One that was taken away under running services is made anew, and all of them are in it again.
func TestARemovedNetworkOfRunningServices(t *testing.T) {
	t.Parallel()
	in := networked(t)
	in.kill()
	in.disconnect("a", "b", "c")
	in.docker("network", "rm", in.name+"_default")
	in.start()
	in.until("all on the network", 90*time.Second, func(s control.Status) bool { return s.Phase == control.PhaseHealthy && in.onNetwork() == 3 })
	in.docker("exec", in.container("c"), "ping", "-c", "1", "-W", "5", "a")
}

// Compose connects who was in a network that it makes anew without their names there.
func TestAChangedNetworkKeepsItsNames(t *testing.T) {
	t.Parallel()
	in := networked(t)
	before := strings.TrimSpace(in.docker("network", "inspect", "-f", "{{.Id}}", in.name+"_default"))
	in.write("compose.yaml", in.compose+"networks: { default: { labels: { changed: yes } } }\n")
	in.must("", "minibotd", "reload")
	in.healthy(60 * time.Second)
	if after := strings.TrimSpace(in.docker("network", "inspect", "-f", "{{.Id}}", in.name+"_default")); after == before {
		t.Fatal("the network was not made anew")
	}
	in.docker("exec", in.container("c"), "ping", "-c", "1", "-W", "5", "a")
}
