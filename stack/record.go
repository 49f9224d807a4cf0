package stack

import (
	"archive/tar"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	cerrdefs "github.com/containerd/errdefs"

	"minibot/secrets"
)

// Names in the stage of each volume.
const (
	recordFile     = "record"
	nextRecordFile = "record.next" // the open record of a prepared delivery; it becomes the record with the first renames
	stagedPrefix   = "new."        // of files on their way: one may be called record
)

const maxRecordSize = 1 << 20

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

	keeper string // the keeper's instance through which it was read or written; not stored
	tidied bool   // nothing else lies in the stage, as far as is known; not stored
	// through is the container of the service through which it was read, "" for the keeper; not stored.
	through string
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

// readRecord reads a service's record. A record that is absent, because nothing was ever
// delivered, or torn, because something was killed while it was written, is an open one.
//
// It reads through the service's own container, where running names one that runs, since each call through the keeper has the engine mount
// all volumes that the keeper holds.
func (e *Engine) readRecord(ctx context.Context, keeper Container, service, running string) (record, error) {
	if running != "" {
		r, there, err := e.readRecordFile(ctx, keeper, service, running, recordFile)
		if there || err != nil {
			r.through = running
			return r, err
		}
	} // the container may be one without the volume
	r, there, err := e.readRecordFile(ctx, keeper, service, "", recordFile)
	r.tidied = !there // a new volume, to which any delivery brings all files anew, over what another one had begun to stage
	return r, err
}

// readRecordFile reads through the container that through names, or, where it names none, through the keeper.
func (e *Engine) readRecordFile(ctx context.Context, keeper Container, service, through, name string) (r record, there bool, err error) {
	from, dir := keeper.ID, path.Join(keeperRoot, service)
	if through != "" {
		from, dir = through, secretsDir
	}
	body, _, err := e.docker.CopyFromContainer(ctx, from, path.Join(dir, stageDir, name))
	if cerrdefs.IsNotFound(err) {
		return record{Open: true, keeper: keeper.Instance}, false, nil
	}
	if err != nil {
		return record{}, false, wrap(err, "service %s: read the record of deliveries", service)
	}
	data, err := firstFile(body)
	err = errors.Join(err, body.Close())
	if err != nil {
		return record{}, false, wrap(err, "service %s: read the record of deliveries", service)
	}
	if json.Unmarshal(data, &r) != nil {
		r = record{Open: true}
	}
	r.keeper = keeper.Instance
	return r, true, nil
}

func firstFile(archive io.Reader) ([]byte, error) {
	r := tar.NewReader(archive)
	if _, err := r.Next(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxRecordSize))
	if err == nil {
		_, err = io.Copy(io.Discard, archive) // so that the connection can be used again
	}
	return data, err
}

// recordOf returns what is known of a service's volume, reading it where nothing is. running is the id of the service's container, if that
// runs, and "" otherwise.
func (e *Engine) recordOf(ctx context.Context, p *Project, keeper Container, service, running string) (record, error) {
	at := place{p.Name, service}
	e.mu.Lock()
	r, there := e.known[at]
	e.mu.Unlock()
	if there && r.keeper == keeper.Instance {
		return r, nil
	}
	r, err := e.readRecord(ctx, keeper, service, running)
	if err == nil {
		e.learn(at, r)
	}
	return r, err
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
