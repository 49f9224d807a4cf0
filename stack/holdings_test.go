package stack

import (
	"slices"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
)

// A nameless volume that was handed on belongs to the engine's container no more than a named one, and goes all the same.
func TestDiscardTakesHandedOnVolumes(t *testing.T) {
	names := forget(t)
	r := newRig(t, `
services:
  a: { image: IMAGE, entrypoint: SLEEP, volumes: [/more] }
  b: { image: IMAGE, entrypoint: SLEEP, volumes: [/more] }
`)
	r.create()
	handed, own := r.volumes("a"), r.volumes("b")
	*names = append(handed, own...)
	r.must(r.engine.Recreate(t.Context(), r.project, "a", nil))
	r.equal("handed on", r.volumes("a"), handed)
	held, err := r.engine.Holdings(t.Context(), r.name)
	r.must(err)
	for _, name := range *names {
		if !slices.ContainsFunc(held, func(h Holding) bool { return h.Kind == "volume" && h.Name == name }) {
			t.Errorf("volume %s is not held: %v", name, held)
		}
	}
	r.must(r.engine.Discard(t.Context(), r.name, func(Holding) {}))
	for _, name := range *names {
		if _, err := r.engine.docker.VolumeInspect(t.Context(), name); !cerrdefs.IsNotFound(err) {
			t.Errorf("volume %s is left: %v", name, err)
		}
	}
	held, err = r.engine.Holdings(t.Context(), r.name)
	r.must(err)
	r.equal("held", held, []Holding(nil))
}
