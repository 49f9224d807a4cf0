package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"minibot/config"
	"minibot/hint"
)

// The states of a move.
const (
	moveWaiting = ""        // nothing of it was done
	moveCopying = "copying" // what is in the new volume may be half a copy
	moveCopied  = "copied"  // the copy is whole, and was read back
)

// Move is one service's data on their way into the new stack.
type Move struct {
	Service string `json:"service"`
	Kind    string `json:"kind"`
	User    string `json:"user,omitempty"`     // of Postgres, as the new stack has it
	Base    string `json:"database,omitempty"` // of Postgres, as the new stack has it
	// Container is the id of the old container, "" for a Folder of the engine's machine.
	Container string `json:"container,omitempty"`
	Folder    string `json:"folder,omitempty"`
	Name      string `json:"name,omitempty"`    // of the old container, as it was
	Renamed   string `json:"renamed,omitempty"` // its name from now on; "" for the same
	Restart   string `json:"restart,omitempty"` // its restart policy, as it was
	Ran       bool   `json:"ran,omitempty"`
	Path      string `json:"path,omitempty"`    // where in the container the data lie; "" for none to copy
	Version   string `json:"version,omitempty"` // of Postgres' data
	State     string `json:"state,omitempty"`
	Files     int    `json:"files,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
}

// source says where a move's data come from, for a person.
func (m Move) source() string {
	if m.Folder != "" {
		return m.Folder
	}
	return "container " + m.Name
}

// Journal is state/adopt.json: what an adoption has begun and done. It holds no secret.
type Journal struct {
	Began   time.Time         `json:"began"`
	Done    *time.Time        `json:"done,omitempty"` // once the new stack ran with the data and took its password
	Project string            `json:"project"`        // the new stack's
	Env     map[string]string `json:"env,omitempty"`  // what was set in config.toml
	Moves   []Move            `json:"moves"`
	Undo    []string          `json:"undo,omitempty"` // commands that bring the login agents back
}

// journalPath is where an installation's journal lies.
func journalPath(p config.Paths) string { return filepath.Join(p.StateDir, "adopt.json") }

// ReadJournal returns nil where nothing was ever adopted.
func ReadJournal(p config.Paths) (*Journal, error) {
	data, err := os.ReadFile(journalPath(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	var j Journal
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("read what was adopted: %w", err), "look at %s; without it minibot cannot tell half a copy from a whole one", journalPath(p))
	}
	return &j, nil
}

// write puts the journal on disk before it returns.
func (j *Journal) write(p config.Paths) error {
	data, err := json.MarshalIndent(j, "", " ")
	if err == nil {
		err = config.ReplaceFile(journalPath(p), append(data, '\n'))
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("note what is adopted: %w", err), "look at the disk space and the owner of %s", p.StateDir)
	}
	return nil
}

// UndoCommands are the commands that put the old containers and login agents back as they were.
func (j *Journal) UndoCommands() []string {
	var commands []string
	for _, m := range j.Moves {
		if m.Container == "" {
			continue
		}
		if m.Renamed != "" {
			commands = append(commands, fmt.Sprintf("docker rename %s %s", hint.Word(m.Renamed), hint.Word(m.Name)))
		}
		if m.Restart != "" && m.Restart != "no" {
			commands = append(commands, fmt.Sprintf("docker update --restart=%s %s", hint.Word(m.Restart), hint.Word(m.Name)))
		}
		if m.Ran {
			commands = append(commands, "docker start "+hint.Word(m.Name))
		}
	}
	return append(commands, j.Undo...)
}

// oldName is a name for a container whose own is taken over.
func oldName(name string) string { return strings.TrimSuffix(name, "-old") + "-before-minibot" }
