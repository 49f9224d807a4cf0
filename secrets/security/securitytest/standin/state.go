package standin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Tool is the partition that items written by /usr/bin/security belong to.
const Tool = "apple-tool:"

// State is what the keychains hold and how the program behaves. The zero State has no keychain.
type State struct {
	Keychains []*Keychain // the search list; the first is the default keychain

	Desktop      bool      // dialogs open, and hang until State changes; else they fail with StatusNoInteraction
	Blocked      bool      // every use of a value opens a dialog, and hangs
	Refuse       int       // the status of every use of a value, reading and writing; 0: none
	RefuseWrites int       // the status of every write
	Messages     string    // what the program says about every error, as in another language; "": English
	Fault        string    // see misbehave
	Forgets      bool      // writes succeed and change nothing
	Clock        time.Time // zero: the machine's
	Reads        int       // values read so far
	Forked       int       // how many children were started

	// DieAfter is how many more commands are carried out: from then on every process dies at its next one. KillParent makes
	// the process kill the one that started it instead, once, and go on. nil: neither.
	DieAfter   *int
	KillParent bool
}

// Keychain is a keychain file.
type Keychain struct {
	Path, Password string
	Locked         bool
	Items          []*Item
}

// Item is an item of a keychain. Two generic passwords of one keychain differ in service or account.
type Item struct {
	Class                                           string // "": a generic password
	Service, Account, Label, Kind, Comment, Generic string
	Created, Modified                               time.Time
	Partition                                       string // who wrote it: Tool, "teamid:...", "cdhash:..."
	Value                                           []byte
}

// Event is a line of the record: a start of the program (Argv and Env) or a command (Command).
type Event struct {
	PID     int
	Argv    []string `json:",omitempty"`
	Env     []string `json:",omitempty"`
	Command []string `json:",omitempty"`
}

func (s *State) now() time.Time {
	if s.Clock.IsZero() {
		return time.Now().UTC()
	}
	return s.Clock
}

// Load reads the state.
func (f Files) Load() (*State, error) {
	_, state, err := f.read()
	return state, err
}

func (f Files) read() (content []byte, state *State, err error) {
	state = &State{}
	content, err = os.ReadFile(f.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, state, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(content, state); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.State, err)
	}
	return content, state, nil
}

// Update changes the state under its lock. A crash leaves the old state or the new one.
func (f Files) Update(edit func(*State)) error {
	lock, err := lockFile(f.lock, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // unlocks
	before, state, err := f.read()
	if err != nil {
		return err
	}
	edit(state)
	after, err := json.Marshal(state)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	temp := f.State + ".new"
	if err := os.WriteFile(temp, after, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, f.State)
}

// Wait returns when no process of the program is left.
func (f Files) Wait() error {
	alive, err := f.lockAlive(unix.LOCK_EX)
	if err != nil {
		return err
	}
	return alive.Close()
}

// Idle reports whether no process of the program is left.
func (f Files) Idle() bool {
	alive, err := f.lockAlive(unix.LOCK_EX | unix.LOCK_NB)
	return err == nil && alive.Close() == nil
}

func (f Files) lockAlive(how int) (*os.File, error) { return lockFile(f.alive, how) }

func lockFile(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file, nil
}

// record appends one line in one write, so that processes do not mix theirs.
func (f Files) record(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.Record, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

// Events reads the record.
func (f Files) Events() ([]Event, error) {
	content, err := os.ReadFile(f.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var events []Event
	for decoder := json.NewDecoder(bytes.NewReader(content)); ; {
		var e Event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Record, err)
		}
		events = append(events, e)
	}
}
