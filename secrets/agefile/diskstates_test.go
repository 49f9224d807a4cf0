package agefile

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"slices"
)

// choice says of everything that is not durable what of it reached the disk.
type choice struct {
	steps map[*node]uint   // a bit for each pending step of a directory
	data  map[*node][]byte // of a file that is not synced
}

// states returns every disk that may be found when the power is back: of the pending steps of each directory any subset
// happened, and a file that was not synced holds what it held at its last sync, a part, zeros, or all of it.
func (d *disk) states() []*disk {
	choices := []choice{{map[*node]uint{}, map[*node][]byte{}}}
	seen := map[*node]bool{}
	var visit func(*node)
	visit = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		var next []choice
		for _, c := range choices {
			for mask := range uint(1) << len(n.pending) {
				steps := maps.Clone(c.steps)
				steps[n] = mask
				for _, data := range n.variants() {
					held := maps.Clone(c.data)
					held[n] = data
					next = append(next, choice{steps, held})
				}
			}
		}
		choices = next
		for _, child := range n.children() {
			visit(child)
		}
	}
	visit(d.root)
	states := make([]*disk, len(choices))
	for i, c := range choices {
		states[i] = d.rebuilt(c)
	}
	return states
}

func (n *node) variants() [][]byte {
	if !n.dirty {
		return [][]byte{n.durable}
	}
	return [][]byte{n.durable, n.now[:len(n.now)/2], make([]byte, len(n.now)), n.now}
}

// children returns everything that n has, had when it was synced, or had in between.
func (n *node) children() []*node {
	var all []*node
	for _, name := range slices.Sorted(maps.Keys(n.durableDir)) {
		all = append(all, n.durableDir[name])
	}
	for _, step := range n.pending {
		if step.node != nil {
			all = append(all, step.node)
		}
	}
	return all
}

// rebuilt returns the disk on which c happened. It tells the truth, and everything on it is durable.
func (d *disk) rebuilt(c choice) *disk {
	return d.copied(func(out, n *node, copied func(*node) *node) {
		out.now = bytes.Clone(c.data[n])
		out.durable = out.now
		if n.dir == nil {
			return
		}
		names := maps.Clone(n.durableDir)
		for i, step := range n.pending {
			if c.steps[n]&(1<<i) != 0 {
				step.apply(names)
			}
		}
		for name, child := range names {
			out.dir[name] = copied(child)
			out.durableDir[name] = out.dir[name]
		}
	})
}

// clone returns a copy, with all that is not durable yet, as the next process finds it when one is killed.
func (d *disk) clone() *disk {
	return d.copied(func(out, n *node, copied func(*node) *node) {
		out.now, out.durable, out.dirty = bytes.Clone(n.now), bytes.Clone(n.durable), n.dirty
		for name, child := range n.dir {
			out.dir[name] = copied(child)
		}
		for name, child := range n.durableDir {
			out.durableDir[name] = copied(child)
		}
		for _, step := range n.pending {
			if step.node != nil {
				step.node = copied(step.node)
			}
			out.pending = append(out.pending, step)
		}
	})
}

func (d *disk) copied(fill func(out, n *node, copied func(*node) *node)) *disk {
	made := map[*node]*node{}
	var copied func(*node) *node
	copied = func(n *node) *node {
		if made[n] == nil {
			out := &node{id: n.id, mode: n.mode, changed: n.changed}
			if n.dir != nil {
				out.dir, out.durableDir = map[string]*node{}, map[string]*node{}
			}
			made[n] = out
			fill(out, n, copied)
		}
		return made[n]
	}
	return &disk{root: copied(d.root), clock: d.clock, nodes: d.nodes}
}

// print tells disks apart by what their files hold.
func (d *disk) print() string {
	files := d.files()
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(hash, "%q %q\n", name, files[name])
	}
	return string(hash.Sum(nil))
}

// files returns what every file holds, by path.
func (d *disk) files() map[string]string {
	all := map[string]string{}
	var visit func(string, *node)
	visit = func(at string, n *node) {
		if n.dir == nil {
			all[at] = string(n.now)
		}
		for name, child := range n.dir {
			visit(path.Join(at, name), child)
		}
	}
	visit("/", d.root)
	return all
}
