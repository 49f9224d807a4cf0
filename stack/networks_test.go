package stack

import (
	"errors"
	"testing"
)

const networked = `
networks: { default: { internal: true }, extra: { internal: true } }
services:
  a: { image: IMAGE, entrypoint: SLEEP, networks: { default: , extra: { aliases: [other-name] } } }
  peer: { image: IMAGE, entrypoint: SLEEP, networks: [default, extra] }
  none: { image: IMAGE, entrypoint: SLEEP, network_mode: none }
  inside: { image: IMAGE, entrypoint: SLEEP, network_mode: "service:a" }
  host: { image: IMAGE, entrypoint: SLEEP, network_mode: host }
  own: { image: IMAGE, entrypoint: SLEEP, networks: { default: { mac_address: "02:42:0a:00:00:07" } } }
`

func networkedRig(t *testing.T) *rig {
	r := newRig(t, networked)
	r.create()
	return r
}

// detachedNow are the services that are not in their networks.
func (r *rig) detachedNow() map[string]string {
	r.Helper()
	now := map[string]string{}
	for service, c := range r.seen() {
		if c.Detached != "" {
			now[service] = c.Detached
		}
	}
	return now
}

func (r *rig) disconnect(service string, networks ...string) {
	r.Helper()
	for _, n := range networks {
		r.must(r.engine.docker.NetworkDisconnect(r.Context(), r.name+"_"+n, r.container(service).ID, true))
	}
}

func (r *rig) connect(service string) error {
	return r.engine.Connect(r.Context(), r.project, service, r.container(service).ID)
}

// reaches tells whether a peer finds a name and somebody there.
func (r *rig) reaches(name string) {
	r.Helper()
	r.sh("peer", "ping -c 1 -W 5 "+name)
}

func TestAContainerIsConnectedAgain(t *testing.T) {
	r := networkedRig(t)
	r.equal("created", r.detachedNow(), map[string]string{})
	r.start("a", "peer", "none", "inside", "host", "own")
	r.equal("started", r.detachedNow(), map[string]string{})
	run := r.container("a").Instance
	r.equal("connecting one that is", r.connect("a"), nil)

	r.watching(func(events func(string) Event) {
		_, _, err := r.engine.Look(t.Context(), r.project) // who hears of a container knows it
		r.must(err)
		r.disconnect("a", "default", "extra")
		r.equal("the event's service", events("disconnect").Service, "a")
		seen, _, err := r.engine.Look(t.Context(), r.project)
		r.must(err)
		r.equal("a look at it", seen["a"].Detached, r.name+"_default, "+r.name+"_extra")
	})
	r.must(r.connect("a"))
	r.equal("connected", r.detachedNow(), map[string]string{})
	for _, name := range []string{"a", "other-name", r.container("a").Name} {
		r.reaches(name)
	}
	r.equal("runs on", r.container("a").Instance, run)

	r.disconnect("a", "default")
	r.must(r.engine.docker.NetworkConnect(t.Context(), r.name+"_default", r.container("a").ID, nil))
	r.equal("connected by hand, nameless", r.detachedNow(), map[string]string{"a": r.name + "_default"})
	r.must(r.connect("a"))
	r.equal("named", r.detachedNow(), map[string]string{})

	r.must(r.engine.Stop(t.Context(), r.container("a").ID, 0))
	r.equal("stopped", r.detachedNow(), map[string]string{})
	r.disconnect("a", "extra")
	r.equal("disconnected while it is down", r.detachedNow(), map[string]string{"a": r.name + "_extra"})
	r.must(r.connect("a"))
	r.start("a")
	r.equal("started again", r.detachedNow(), map[string]string{})
	r.reaches("other-name")
}

// A look without an event sees it, too.
func TestALostDisconnectIsSeen(t *testing.T) {
	r := networkedRig(t)
	r.start("a")
	defer r.engine.memory(r.name).watch()() // a subscription that hears nothing
	look := func() string {
		r.Helper()
		seen, _, err := r.engine.Look(t.Context(), r.project)
		r.must(err)
		return seen["a"].Detached
	}
	r.equal("at first", look(), "")
	r.disconnect("a", "extra")
	r.equal("after it", look(), r.name+"_extra")
}

func TestWhatTakesAnotherContainerToConnect(t *testing.T) {
	r := networkedRig(t)
	r.start("a", "own")
	r.disconnect("own", "default")
	r.equal("with an address of its own", errors.Is(r.connect("own"), ErrNetworkMissing), true)
	for _, service := range []string{"a", "peer"} {
		r.disconnect(service, "extra")
	}
	r.must(r.engine.docker.NetworkRemove(t.Context(), r.name+"_extra"))
	r.equal("the network is gone", errors.Is(r.connect("a"), ErrNetworkMissing), true)
	for _, service := range []string{"a", "own"} {
		r.must(r.engine.Recreate(t.Context(), r.project, service, nil))
	}
	r.start("a", "own")
	r.equal("made anew", r.detachedNow(), map[string]string{"peer": r.name + "_extra"})
	r.must(r.connect("peer"))
	r.start("peer")
	r.reaches("other-name")
}
