// Package emulation is a launchd for tests: one user's domain gui/UID with what is loaded into it, and the program launchctl
// that speaks to it over a unix socket.
//
// It owns a folder with the socket, the marks of `launchctl disable` and a log of what happened, and the processes of the agents.
// It guarantees that an agent gets what launchd gives it and nothing else: its environment, umask, working folder, file
// descriptors and a session of its own; and that no process outlives [Server.Serve].
//
// It knows the keys that agents of minibot and its predecessors use, one user and no root. It reads property lists by itself,
// not through package launchd, so that a fault there is not a fault here. What it does follows Apple's manuals, published
// error tables and what people reported; it was never held against a real launchd.
package emulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"howett.net/plist"
)

// Config says what the Mac is like. It lies in its folder as config.json.
type Config struct {
	Dir      string // absolute and short: a socket's path has at most 104 bytes on macOS
	UID      int    // the user's; the domain is gui/UID
	UserHome string
	UserName string
	Shell    string

	Speed     float64       // divides every ThrottleInterval; 1 is launchd's own pace
	ExitSpeed float64       // divides every ExitTimeOut
	Settle    time.Duration // how long a label stays after its process ended in a bootout
	Gentle    bool          // kickstart -k sends SIGTERM first, as some systems do, not SIGKILL at once
}

// Names of files in Config.Dir.
const (
	SocketName = "launchd.sock"
	configName = "config.json"
	eventsName = "events.jsonl"
	marksName  = "disabled.plist"
)

// Save writes c for the programs of its folder.
func (c Config) Save() error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("save the configuration: %w", err)
	}
	return os.WriteFile(filepath.Join(c.Dir, configName), data, 0o600)
}

// LoadConfig reads the configuration of a folder.
func LoadConfig(dir string) (Config, error) {
	var c Config
	data, err := os.ReadFile(filepath.Join(dir, configName))
	if err != nil {
		return c, fmt.Errorf("load the configuration: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("load the configuration: %w", err)
	}
	return c, nil
}

// Kinds of events.
const (
	EventCommand = "launchctl" // Args, Exit
	EventLoad    = "load"      // Label; Detail is the file
	EventSkip    = "skip"      // Label or file in Detail that a login does not load, and why
	EventSpawn   = "spawn"     // Label, PID
	EventSignal  = "signal"    // Label, PID; Detail is the signal
	EventExit    = "exit"      // Label, PID; Detail is "exit status 1" or "signal 9"
	EventUnload  = "unload"    // Label: forgotten
	EventLogin   = "login"
	EventLogout  = "logout"
)

// Event is something that happened.
type Event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Label  string    `json:"label,omitempty"`
	PID    int       `json:"pid,omitempty"`
	Exit   int       `json:"exit,omitempty"`
	Args   []string  `json:"args,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Events reads the log of a folder.
func Events(dir string) ([]Event, error) {
	f, err := os.Open(filepath.Join(dir, eventsName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	defer func() { _ = f.Close() }()
	var events []Event
	for decoder := json.NewDecoder(f); ; {
		var e Event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // a line is being written
			return events, nil
		case err != nil:
			return events, fmt.Errorf("read the log: %w", err)
		}
		events = append(events, e)
	}
}

// Server is the launchd of one Mac. Make it with [New]; its methods may be called concurrently.
type Server struct {
	config Config
	proxy  string // the program that starts agents

	mu        sync.Mutex // guards what follows
	session   bool
	leaving   bool // a logout is under way
	jobs      map[string]*job
	disabled  map[string]bool // the marks; false is an explicit enable
	variables map[string]string
	faults    map[string][]int // by verb: the exit statuses of its next calls
	log       *os.File
	failed    error // the first failure of the emulation itself

	changed *sync.Cond // of mu: a job was started, ended or forgotten
	running sync.WaitGroup
}

// New returns a launchd with nobody logged in. proxy is a program that calls [Proxy].
func New(config Config, proxy string) (*Server, error) {
	log, err := os.OpenFile(filepath.Join(config.Dir, eventsName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	s := &Server{
		config: config, proxy: proxy, log: log, jobs: map[string]*job{},
		disabled: map[string]bool{}, variables: map[string]string{}, faults: map[string][]int{},
	}
	s.changed = sync.NewCond(&s.mu)
	data, err := os.ReadFile(filepath.Join(config.Dir, marksName))
	if err == nil {
		_, err = plist.Unmarshal(data, &s.disabled)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the marks: %w", err)
	}
	return s, nil
}

// mark keeps whether label is disabled, over reboots.
func (s *Server) mark(label string, disabled bool) {
	s.disabled[label] = disabled
	data, err := plist.MarshalIndent(s.disabled, plist.XMLFormat, "\t")
	if err == nil {
		err = os.WriteFile(filepath.Join(s.config.Dir, marksName), data, 0o600)
	}
	s.note(err)
}

// record appends to the log.
func (s *Server) record(e Event) {
	e.At = time.Now()
	data, err := json.Marshal(e)
	if err == nil {
		_, err = s.log.Write(append(data, '\n'))
	}
	s.note(err)
}

// note keeps the first failure of the emulation itself, which Serve returns.
func (s *Server) note(err error) {
	if s.failed == nil {
		s.failed = err
	}
}
