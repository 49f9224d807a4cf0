package stack

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"time"

	"minibot/secrets"
)

// batch is a tar archive of files on their way, and the arguments that make the keeper's program put them in place.
type batch struct {
	archive bytes.Buffer
	memory  []byte // all that archive lies in
	writer  *tar.Writer
	records []string // pairs of paths, as the following; see package keeper
	orders  []string
	err     error
}

func newBatch() *batch {
	b := &batch{}
	b.writer = tar.NewWriter(&b.archive)
	return b
}

// stage adds a service's files, and their record beside the one that counts.
func (b *batch) stage(service string, r record, files []File, values map[secrets.Name]secrets.Value) {
	stage := path.Join(service, stageDir)
	b.write(&tar.Header{Typeflag: tar.TypeDir, Name: stage, Mode: 0o700, Uid: keeperUser, Gid: keeperUser}, nil)
	b.marshal(path.Join(stage, nextRecordFile), r)
	b.records = append(b.records, path.Join(keeperRoot, stage, nextRecordFile), path.Join(keeperRoot, stage, recordFile))
	for _, f := range files {
		if err := f.check(values); b.err == nil {
			b.err = err
		}
		value := f.content(values)
		staged := path.Join(stage, stagedPrefix+f.Name)
		b.write(&tar.Header{Name: staged, Mode: f.Mode, Uid: f.UID, Gid: f.GID}, value)
		clear(value)
		b.orders = append(b.orders, path.Join(keeperRoot, staged), path.Join(keeperRoot, service, f.Name))
	}
	for _, name := range r.unwanted(files) {
		b.orders = append(b.orders, path.Join(keeperRoot, service, name), "")
	}
}

// arguments are the pairs in their order: all records come first, for they are open, and so cover what follows.
func (b *batch) arguments() []string { return slices.Concat(b.records, b.orders) }

// record adds a service's record alone, in the place where it counts.
func (b *batch) record(service string, r record) {
	b.marshal(path.Join(service, stageDir, recordFile), r)
}

func (b *batch) marshal(name string, r record) {
	data, err := json.Marshal(r)
	if b.err == nil {
		b.err = err
	}
	b.write(&tar.Header{Name: name, Mode: 0o400, Uid: keeperUser, Gid: keeperUser}, data)
}

func (b *batch) write(header *tar.Header, data []byte) {
	header.Size, header.ModTime = int64(len(data)), time.Now()
	b.room(len(data) + tarOverhead)
	if b.err == nil {
		b.err = b.writer.WriteHeader(header)
	}
	if b.err == nil {
		_, b.err = b.writer.Write(data)
	}
}

func (b *batch) close() error {
	if b.err != nil {
		return b.err
	}
	b.room(tarOverhead)
	return b.writer.Close()
}

// tarOverhead is more than an entry takes beside its data, or the archive's end: headers of 512 bytes and what fills up.
const tarOverhead = 4 << 10

// room makes the archive larger where n bytes more do not fit, and clears what it lay in before: a buffer that grows by
// itself would leave copies behind.
func (b *batch) room(n int) {
	if b.archive.Available() >= n {
		return
	}
	before := b.archive.Bytes()
	grown := make([]byte, len(before), 2*cap(before)+n)
	copy(grown, before)
	clear(before[:cap(before)])
	b.archive, b.memory = *bytes.NewBuffer(grown), grown[:cap(grown)]
}

// wipe overwrites the archive, which holds values, whether it was read or not.
func (b *batch) wipe() { clear(b.memory) }
