package agefile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// disk is a fileSystem in memory that can lose its power. What a file holds is durable once it is synced, what a
// directory holds once that is synced. Of what is not, any part may have reached the disk when the power goes: see states.
// It is for one process at a time.
type disk struct {
	lies lies

	watch func() // is called after each call that changed something; nil is nobody

	root  *node
	clock int64 // counts the changes
	nodes uint64
}

// lies are what a disk, or a program that does things in another order, may do wrong.
type lies struct {
	ignoresSync    bool                   // of files
	ignoresDirSync func(path string) bool // of these directories; nil is of none
	syncsLate      bool                   // files at the next sync of a directory: after the rename
	removesFirst   bool                   // what a rename replaces, as a step of its own
	copies         bool                   // in place of renaming, into the file that is there
}

// node is a file, or with a dir a directory.
type node struct {
	id           uint64
	now, durable []byte
	dirty, late  bool
	mode         uint32
	changed      int64
	dir          map[string]*node
	durableDir   map[string]*node
	pending      []change
}

// change is one step of a directory that happens wholly or not at all: a name goes, then a name gets a node.
type change struct {
	gone, name string
	node       *node
}

func (c change) apply(to map[string]*node) {
	delete(to, c.gone)
	if c.node != nil {
		to[c.name] = c.node
	}
}

func newDisk(lies lies) *disk {
	d := &disk{lies: lies}
	d.root = d.newNode(true)
	return d
}

func (d *disk) newNode(directory bool) *node {
	d.nodes++
	n := &node{id: d.nodes, mode: unix.S_IFREG | 0o600}
	if directory {
		n.mode, n.dir, n.durableDir = unix.S_IFDIR|0o700, map[string]*node{}, map[string]*node{}
	}
	d.touch(n)
	return n
}

func (d *disk) touch(n *node) { d.clock++; n.changed = d.clock }

// call makes one system call.
func (d *disk) call(op, name string, do func() error) error {
	before := d.clock
	if err := do(); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	if d.watch != nil && d.clock != before {
		d.watch()
	}
	return nil
}

func (d *disk) find(name string) *node {
	at := d.root
	for part := range strings.SplitSeq(strings.Trim(path.Clean(name), "/"), "/") {
		if at == nil || part == "" {
			break
		}
		at = at.dir[part]
	}
	return at
}

// change makes a step in the directory of name.
func (d *disk) change(name string, step change) error {
	parent := d.find(path.Dir(name))
	if parent == nil || parent.dir == nil {
		return fs.ErrNotExist
	}
	step.apply(parent.dir)
	parent.pending = append(parent.pending, step)
	d.clock++
	return nil
}

type handle struct {
	disk *disk
	name string
	node *node
	at   int
}

func (h *handle) Name() string { return h.name }

func (h *handle) Read(p []byte) (n int, err error) {
	err = h.disk.call("read", h.name, func() error { n = copy(p, h.node.now[h.at:]); h.at += n; return nil })
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

func (h *handle) Write(p []byte) (n int, err error) {
	err = h.disk.call("write", h.name, func() error {
		h.node.now, h.node.dirty, n = append(h.node.now, p...), true, len(p)
		h.disk.touch(h.node)
		return nil
	})
	return n, err
}

func (h *handle) Close() error { return h.disk.call("close", h.name, func() error { return nil }) }

func (h *handle) stat() (st stat, err error) {
	err = h.disk.call("fstat", h.name, func() error { st = h.node.stat(); return nil })
	return st, err
}

func (n *node) stat() stat {
	return stat{1, n.id, int64(len(n.now)), unix.NsecToTimespec(n.changed), unix.NsecToTimespec(n.changed), n.mode, uint32(os.Geteuid())}
}

func (h *handle) Sync() error {
	return h.disk.call("sync", h.name, func() error {
		h.disk.clock++
		lies := h.disk.lies
		switch {
		case h.node.dir == nil && lies.syncsLate:
			h.node.late = true
		case h.node.dir == nil && !lies.ignoresSync:
			h.node.sync()
		case h.node.dir != nil && (lies.ignoresDirSync == nil || !lies.ignoresDirSync(h.name)):
			for _, step := range h.node.pending {
				step.apply(h.node.durableDir)
			}
			h.node.pending = nil
		}
		if h.node.dir != nil {
			h.disk.root.each(func(n *node) {
				if n.late {
					n.sync()
				}
			})
		}
		return nil
	})
}

func (n *node) sync() { n.durable, n.dirty, n.late = bytes.Clone(n.now), false, false }

// each calls f for n and everything below it, once for each name.
func (n *node) each(f func(*node)) {
	f(n)
	for _, name := range slices.Sorted(maps.Keys(n.dir)) {
		n.dir[name].each(f)
	}
}

func (d *disk) open(name string) (file, error)    { return d.opened(name, false) }
func (d *disk) openDir(name string) (file, error) { return d.opened(name, true) }

func (d *disk) opened(name string, directory bool) (file, error) {
	h := &handle{disk: d, name: name}
	return h, d.call("open", name, func() error {
		switch h.node = d.find(name); {
		case h.node == nil:
			return syscall.ENOENT
		case directory && h.node.dir == nil:
			return syscall.ENOTDIR
		}
		return nil
	})
}

func (d *disk) createTemp(dir, pattern string) (file, error) {
	h := &handle{disk: d, name: path.Join(dir, strings.Replace(pattern, "*", fmt.Sprint(d.nodes), 1))}
	return h, d.call("open", h.name, func() error {
		h.node = d.newNode(false)
		return d.change(h.name, change{name: path.Base(h.name), node: h.node})
	})
}

func (d *disk) lstat(name string) (st stat, err error) {
	err = d.call("lstat", name, func() error {
		n := d.find(name)
		if n == nil {
			return syscall.ENOENT
		}
		st = n.stat()
		return nil
	})
	return st, err
}

func (d *disk) readDir(name string) (names []string, err error) {
	err = d.call("readdir", name, func() error {
		n := d.find(name)
		if n == nil {
			return syscall.ENOENT
		}
		names = slices.Sorted(maps.Keys(n.dir))
		return nil
	})
	return names, err
}

func (d *disk) mkdir(name string) error {
	return d.call("mkdir", name, func() error {
		if d.find(name) != nil {
			return syscall.EEXIST
		}
		return d.change(name, change{name: path.Base(name), node: d.newNode(true)})
	})
}

func (d *disk) rename(from, to string) error {
	if d.lies.removesFirst && d.find(to) != nil {
		if err := d.remove(to); err != nil {
			return err
		}
	}
	return d.call("rename", from, func() error {
		n, there := d.find(from), d.find(to)
		if n == nil {
			return syscall.ENOENT
		}
		d.touch(n)
		if d.lies.copies && there != nil {
			there.now, there.dirty = bytes.Clone(n.now), true
			d.touch(there)
			return d.change(from, change{gone: path.Base(from)})
		}
		return d.change(to, change{gone: path.Base(from), name: path.Base(to), node: n})
	})
}

func (d *disk) link(from, to string) error {
	return d.call("link", from, func() error {
		n := d.find(from)
		switch {
		case n == nil:
			return syscall.ENOENT
		case d.find(to) != nil:
			return syscall.EEXIST
		}
		d.touch(n)
		return d.change(to, change{name: path.Base(to), node: n})
	})
}

func (d *disk) remove(name string) error {
	return d.call("remove", name, func() error {
		n := d.find(name)
		if n == nil {
			return syscall.ENOENT
		}
		d.touch(n)
		return d.change(name, change{gone: path.Base(name)})
	})
}

func (d *disk) lock(_ context.Context, name string) (func(), error) {
	return func() {}, d.call("lock", name, func() error {
		if d.find(name) != nil {
			return nil
		}
		return d.change(name, change{name: path.Base(name), node: d.newNode(false)})
	})
}
