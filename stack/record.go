package stack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"

	"minibot/secrets"
)

// Names in the stage of each volume.
const (
	recordFile     = "record"
	nextRecordFile = "record.next" // the open record of a prepared delivery; it becomes the record with the first renames
	stagedPrefix   = "new."        // of files on their way: one may be called record
)

const (
	keeperUp = '/' // what the keeper's program prints first: a byte of its name
	barred   = "/" // and instead of a file that it may not read, since the engine was killed before it had given it an owner: one of its path
)

// place is one service's volume.
type place struct{ project, service string }

// record lies in each volume beside the files and says what they are. It holds no value.
type record struct {
	// Open means that a delivery began and was not finished: the files may be old, new or mixed, and whatever runs may
	// have read any of them.
	Open bool `json:"open,omitempty"`
	// Fingerprint of the delivered files, keyed with Salt, which exists nowhere else.
	Fingerprint string `json:"fingerprint,omitempty"`
	Salt        []byte `json:"salt,omitempty"`
	// Stale is the run of the container that has read the files before these ones; "" when there is none.
	Stale string `json:"stale,omitempty"`
	// Files are the names that may lie in the volume.
	Files []string `json:"files,omitempty"`

	keeper string   // the keeper's instance through which it was read or written; not stored
	tidied bool     // nothing else lies in the stage, as far as is known; not stored
	begun  []string // the names of a delivery that was begun and not put in place; not stored
}

// holds reports whether exactly these files with these values were delivered.
func (r record) holds(files []File, values map[secrets.Name]secrets.Value) bool {
	return !r.Open && len(r.Salt) > 0 && hmac.Equal([]byte(r.Fingerprint), []byte(fingerprint(r.Salt, files, values)))
}

// staleFor reports whether a run of the container has not taken what was delivered.
func (r record) staleFor(c Container) bool {
	return c.Running && (r.Open || r.Stale == c.Instance)
}

// newRecord is the record of a delivery under way: what it brings, and every name that may lie there meanwhile.
func newRecord(old record, files []File, values map[secrets.Name]secrets.Value) (record, error) {
	r := record{Open: true, Salt: make([]byte, 32), Files: slices.Clone(old.Files)}
	if _, err := rand.Read(r.Salt); err != nil {
		return r, fmt.Errorf("make a salt: %w", err)
	}
	r.Fingerprint = fingerprint(r.Salt, files, values)
	for _, f := range files {
		r.Files = append(r.Files, f.Name)
	}
	slices.Sort(r.Files)
	r.Files = slices.Compact(r.Files)
	return r, nil
}

// unwanted are the delivered names that are not among files.
func (r record) unwanted(files []File) []string {
	return slices.DeleteFunc(slices.Clone(r.Files), func(name string) bool {
		return slices.ContainsFunc(files, func(f File) bool { return f.Name == name })
	})
}

// closed is the record of a delivery that is done.
func (r record) closed(files []File, stale string) record {
	r.Open, r.Stale, r.Files = false, stale, nil
	for _, f := range files {
		r.Files = append(r.Files, f.Name)
	}
	return r
}

func fingerprint(salt []byte, files []File, values map[secrets.Name]secrets.Value) string {
	mac := hmac.New(sha256.New, salt)
	for _, f := range files {
		value := f.content(values)
		_, _ = fmt.Fprintf(mac, "%q %d %d %o %d\n", f.Name, f.UID, f.GID, f.Mode, len(value)) // a hash never fails
		_, _ = mac.Write(value)
		clear(value)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// recordsAtOnce bounds the arguments of one call; its output, some hundred bytes for each, is bounded by [maxOutput].
const recordsAtOnce = 500

// records returns what is known of the volumes of these services, in their order. What is not known it reads, with the keeper's program
// in one call for many: an archive of the engine's own costs 60 ms of a core for each record.
func (e *Engine) records(ctx context.Context, p *Project, keeper Container, services []string) ([]record, error) {
	all := make([]record, len(services))
	var unknown []int
	e.mu.Lock()
	for i, service := range services {
		r, there := e.known[place{p.Name, service}]
		if all[i] = r; !there || r.keeper != keeper.Instance {
			unknown = append(unknown, i)
		}
	}
	e.mu.Unlock()
	for chunk := range slices.Chunk(unknown, recordsAtOnce) {
		var names []string
		for _, i := range chunk {
			names = append(names, services[i])
		}
		read, err := e.readRecords(ctx, keeper, names)
		if err != nil {
			return nil, err
		}
		for k, i := range chunk {
			all[i] = read[k]
			e.learn(place{p.Name, services[i]}, read[k])
		}
	}
	return all, nil
}

// recordOf is records for one.
func (e *Engine) recordOf(ctx context.Context, p *Project, keeper Container, service string) (record, error) {
	all, err := e.records(ctx, p, keeper, []string{service})
	if err != nil {
		return record{}, err
	}
	return all[0], nil
}

func (e *Engine) readRecords(ctx context.Context, keeper Container, services []string) ([]record, error) {
	cmd := []string{"/keeper", ""}
	for _, service := range services {
		stage := path.Join(keeperRoot, service, stageDir)
		cmd = append(cmd, path.Join(stage, recordFile), path.Join(stage, nextRecordFile))
	}
	result, err := e.Exec(ctx, keeper.ID, Exec{Cmd: cmd, Stdin: []byte{'\n'}})
	if err != nil {
		return nil, fmt.Errorf("read the records of deliveries: %w", err)
	}
	if result.ExitCode != 0 {
		return nil, programError("read the records of deliveries", result, keeper)
	}
	if half := len(services) / 2; half > 0 && len(result.Stdout) == maxOutput { // cut off
		first, err := e.readRecords(ctx, keeper, services[:half])
		if err != nil {
			return nil, err
		}
		rest, err := e.readRecords(ctx, keeper, services[half:])
		return append(first, rest...), err
	}
	read := parseRecords(result.Stdout, len(services))
	for i := range read {
		read[i].keeper = keeper.Instance
	}
	return read, nil
}

// parseRecords takes apart what the keeper's program prints of n services: a byte, and for each its record and the one of a delivery that
// was begun, each ended by a NUL. A record that is absent, because nothing was ever delivered, or torn, because something was killed while
// it was written, or beyond what is kept of the output, is an open one.
func parseRecords(output []byte, n int) []record {
	read := make([]record, n)
	_, output, _ = bytes.Cut(output, []byte{keeperUp})
	for i := range read {
		var current, next []byte
		current, output, _ = bytes.Cut(output, []byte{0})
		next, output, _ = bytes.Cut(output, []byte{0})
		r := &read[i]
		if json.Unmarshal(current, r) != nil {
			*r = record{Open: true}
		}
		var begun record
		if len(next) > 0 && json.Unmarshal(next, &begun) != nil {
			begun = record{}
		}
		r.begun = begun.Files
		// To a volume without a record any delivery brings all files anew, over what another one had begun to stage.
		absent := len(current) == 0 || string(current) == barred
		r.tidied = absent || len(next) == 0 && (!r.Open || len(r.Files) == 0)
	}
	return read
}

func (e *Engine) learn(at place, r record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[at] = r
}

// forget drops what is known of the project: a call to the engine changes it.
func (e *Engine) forget(project string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.fed, project)
	if m := e.memories[project]; m != nil {
		m.forget()
	}
	maps.DeleteFunc(e.known, func(at place, _ record) bool { return at.project == project })
}

// forgetRecord drops what is known of one service's volume.
func (e *Engine) forgetRecord(p *Project, service string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, place{p.Name, service})
}
