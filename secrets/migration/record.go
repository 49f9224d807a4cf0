package migration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
)

// phase is how far a move is. Whether the configuration is switched is for the configuration to say.
type phase string

const (
	copied phase = "copied" // both stores hold everything
	taking phase = "taking" // the staging items hold everything; the old items go, one after the other
)

// record is a move under way, as JSON, version 1.
type record struct {
	Version int    `json:"version"`
	From    string `json:"from"`
	To      string `json:"to"`
	Phase   phase  `json:"phase"`
}

// taking reports whether the items of the configured store are being taken over.
func (r *record) taking(configured string) bool {
	return r != nil && r.Phase == taking && r.From == configured
}

// Unfinished returns an error that wraps [secrets.ErrUnavailable] when a move from the configured store was cut short
// while it took its items over: until the move is finished, no store holds all secrets, and none may be opened. path is
// that of the record.
func Unfinished(path, configured string) error {
	r, err := readRecord(path)
	if err != nil {
		return err
	}
	if r.taking(configured) {
		return interrupted(r)
	}
	return nil
}

func interrupted(r *record) error {
	err := fmt.Errorf("%w: a move from %s to %s was interrupted; every secret is still there", secrets.ErrUnavailable, r.From, r.To)
	return hint.Wrap(err, "mb-secrets migrate --to %s --remove goes on from there", r.To)
}

// readRecord returns nil when no move is under way.
func readRecord(path string) (*record, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of a move: %w", err)
	}
	r := new(record)
	if err := json.Unmarshal(text, r); err != nil || r.Version != 1 || r.Phase != copied && r.Phase != taking {
		err := fmt.Errorf("%s: no record of a move that this program knows", path)
		return nil, hint.Wrap(err, "look at it; remove it only if both stores hold all secrets")
	}
	return r, nil
}

func writeRecord(path string, r *record) error {
	r.Version = 1
	text, err := json.Marshal(r)
	if err == nil {
		err = config.ReplaceFile(path, append(text, '\n'))
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("write the record of the move: %w", err), "look at the disk space and the owner of %s", filepath.Dir(path))
	}
	return nil
}

func removeRecord(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record of the move: %w", err)
	}
	return nil
}
