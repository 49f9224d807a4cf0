package rotation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

const (
	journalVersion = 1
	// journalSize is the size in bytes from which a journal with nothing open is kept as FILE.1 and a new one begun:
	// a change of one secret takes some 2 kB, so that is a thousand of them and more.
	journalSize = 4 << 20
)

// ErrJournal means that the journal cannot be read, or was written by a newer minibot.
var ErrJournal = errors.New("the journal of rotations cannot be read")

// record is one line of the journal: a step is about to be taken. It holds no value.
type record struct {
	V       int          `json:"v"`
	ID      string       `json:"id"` // of the rotation
	Time    time.Time    `json:"time"`
	Step    Step         `json:"step"`
	Secret  secrets.Name `json:"secret,omitempty"`
	Service string       `json:"service,omitempty"`

	Kind    string  `json:"kind,omitempty"`    // of StepBegin; with KindRehearse, Secret is what the rehearsal is for
	By      string  `json:"by,omitempty"`      // of StepBegin
	Items   []entry `json:"items,omitempty"`   // of StepBegin
	Reason  string  `json:"reason,omitempty"`  // of StepRollBack and StepEnd
	Outcome string  `json:"outcome,omitempty"` // of StepEnd
}

// entry is one secret of a rotation as the journal knows it.
type entry struct {
	Name      secrets.Name `json:"name"`
	First     bool         `json:"first,omitempty"`     // nothing was current before
	Same      bool         `json:"same,omitempty"`      // the next value is the current one
	Companion secrets.Name `json:"companion,omitempty"` // the secret whose user this one names
}

// Journal is the file in which every step of every rotation is noted before it is taken. It is append-only: each record
// is synced to the disk before append returns. It holds names, never values. Safe for concurrent use.
type Journal struct {
	path string
	sync func(*os.File) error // makes what was written outlive a power cut

	mu      sync.Mutex
	file    *os.File
	size    int64 // of whole records
	records []record
}

// OpenJournal opens the journal at path, or makes it. A last record that a crash left torn is cut off; anything else that
// cannot be read is [ErrJournal], with a hint.
func OpenJournal(path string) (*Journal, error) {
	records, whole, err := readJournal(path)
	if err != nil {
		return nil, err
	}
	j := &Journal{path: path, sync: (*os.File).Sync, records: records, size: whole}
	if j.file, err = openSynced(path); err != nil {
		return nil, fmt.Errorf("open the journal of rotations: %w", err)
	}
	if err := j.file.Truncate(whole); err != nil {
		return nil, errors.Join(fmt.Errorf("cut a torn record off the journal of rotations: %w", err), j.file.Close())
	}
	return j, nil
}

// openSynced opens a file for appending, and makes sure that its name outlives a power cut.
func openSynced(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readJournal returns the records of a journal, and how many bytes they take. There being none is no error.
func readJournal(path string) (records []record, whole int64, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	for line := range bytes.Lines(data) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil || line[len(line)-1] != '\n' {
			if whole+int64(len(line)) == int64(len(data)) { // the last one: torn
				return records, whole, nil
			}
			return nil, 0, damaged(path, fmt.Errorf("record %d is damaged", len(records)+1))
		}
		if r.V != journalVersion {
			return nil, 0, damaged(path, fmt.Errorf("record %d is of version %d, and this is version %d", len(records)+1, r.V, journalVersion))
		}
		whole += int64(len(line))
		records = append(records, r)
	}
	return records, whole, nil
}

func damaged(path string, err error) error {
	return hint.Wrap(fmt.Errorf("%w: %w", ErrJournal, err),
		"move %s away: what waits in pending is carried out all the same, and the databases are made sure of", path)
}

// append notes a step. After an error it is not certain whether the record will be read again.
func (j *Journal) append(r record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.V = journalVersion
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("note a step of the rotation: %w", err)
	}
	if r.Step == StepBegin && j.size > journalSize {
		if err := j.renew(); err != nil {
			return fmt.Errorf("begin a new journal of rotations: %w", err)
		}
	}
	line = append(line, '\n')
	_, err = j.file.Write(line)
	if err == nil {
		err = j.sync(j.file)
	}
	if err != nil {
		err = errors.Join(err, j.file.Truncate(j.size)) // a torn record would spoil the next one
		return hint.Wrap(fmt.Errorf("note a step of the rotation: %w", err), "look at the disk space of %s", filepath.Dir(j.path))
	}
	j.size += int64(len(line))
	j.records = append(j.records, r)
	return nil
}

// renew keeps the file as FILE.1 and begins a new one.
func (j *Journal) renew() error {
	if err := os.Rename(j.path, j.path+".1"); err != nil {
		return err
	}
	file, err := openSynced(j.path)
	if err != nil {
		return errors.Join(err, os.Rename(j.path+".1", j.path))
	}
	old := j.file
	j.file, j.size, j.records = file, 0, nil
	return old.Close()
}

// open returns the records of the rotation that has not ended, if there is one.
func (j *Journal) open() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.records) - 1; i >= 0; i-- {
		switch j.records[i].Step {
		case StepEnd:
			return nil
		case StepBegin:
			return append([]record(nil), j.records[i:]...)
		}
	}
	return nil
}

// Receipts returns what is known of the rotations, the oldest first.
func (j *Journal) Receipts() []Receipt {
	j.mu.Lock()
	defer j.mu.Unlock()
	return receipts(j.records)
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
