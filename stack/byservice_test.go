package stack

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// Of two containers of a service the one with its name counts, whatever their order, and Create is wanted as long as it would take one away.
func TestOfTwoContainers(t *testing.T) {
	p := &Project{Name: "p", rewritten: &types.Project{}, Services: map[string]Service{"a": {Name: "a", Container: "p-a"}}}
	of := func(name string) Container { return Container{Name: name, Service: "a", composed: name != "script"} }
	named, left, renamed, script := of("p-a"), of("0123456789ab_p-a"), of("p-a-x"), of("script")
	for what, test := range map[string]struct {
		all     []Container
		name    string
		foreign bool
	}{
		"alone": {[]Container{named}, "p-a", false}, "left alone": {[]Container{left}, left.Name, false},
		"left first": {[]Container{left, named}, "p-a", true}, "left last": {[]Container{named, left}, "p-a", true},
		"renamed": {[]Container{renamed, named}, "p-a", true}, "neither": {[]Container{renamed, left}, left.Name, true}, "not Compose's": {[]Container{named, script}, "p-a", false},
		"between": {[]Container{left, renamed, named}, "p-a", true}, "all three": {[]Container{renamed, left, named}, "p-a", true},
	} {
		c := p.byService(test.all)["a"]
		if c.Name != test.name || c.Foreign != test.foreign {
			t.Errorf("%s: %+v", what, c)
		}
	}
}

// One that somebody renamed, and whose replacement got the name, is no second container for long.
func TestOneOfTwoContainersIsTakenAway(t *testing.T) {
	r := newRig(t, plainServices)
	r.create()
	a := r.container("a")
	info, err := r.engine.docker.ContainerInspect(t.Context(), a.ID)
	r.must(err)
	r.must(r.engine.docker.ContainerRename(t.Context(), a.ID, a.Name+"-x"))
	r.equal("renamed alone", r.seen()["a"].Foreign, false)
	_, err = r.engine.docker.ContainerCreate(t.Context(), info.Config, info.HostConfig, nil, nil, a.Name)
	r.must(err)
	r.equal("two", r.seen()["a"].Foreign, true)
	r.create()
	r.equal("one", r.seen()["a"].Foreign, false)
	list, err := r.engine.list(t.Context(), r.project)
	r.must(err)
	r.equal("containers", len(list), 3)
}
