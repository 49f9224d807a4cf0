package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"minibot/hint"
)

// Paths says where the files of one installation lie. All are absolute.
type Paths struct {
	Home       string
	Config     string // config.toml
	Compose    string // the compose file; With sets it to the configured one
	RunDir     string // sockets and locks
	Socket     string
	DaemonLock string
	StateDir   string // what must outlive the daemon
	Events     string // the event log
	Intent     string // what a person wants to be down
	Rotation   string // journal of rotations
	Notify     string // what was told to whom
	Volumes    string // which data volumes there were
	Migration  string // the record of a move to another store
	LogDir     string
}

// Home returns the folder of the installation: MINIBOT_HOME, or else ~/minibot. It need not exist.
func Home() (string, error) {
	if home := os.Getenv("MINIBOT_HOME"); home != "" {
		paths, err := NewPaths(home)
		if err != nil {
			return "", fmt.Errorf("MINIBOT_HOME: %w", err)
		}
		return paths.Home, nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("find the home folder: %w", err), "set MINIBOT_HOME to an absolute path")
	}
	paths, err := NewPaths(filepath.Join(user, "minibot"))
	return paths.Home, err
}

// NewPaths returns the paths below home, with the defaults of a configuration. home must be absolute.
func NewPaths(home string) (Paths, error) {
	if !filepath.IsAbs(home) {
		return Paths{}, hint.Wrap(fmt.Errorf("home %q is not an absolute path", home), "write it out, beginning with /")
	}
	home = filepath.Clean(home)
	run, state := filepath.Join(home, "run"), filepath.Join(home, "state")
	p := Paths{
		Home:       home,
		Config:     filepath.Join(home, "config.toml"),
		RunDir:     run,
		Socket:     filepath.Join(run, "minibotd.sock"),
		DaemonLock: filepath.Join(run, "minibotd.lock"),
		StateDir:   state,
		Events:     filepath.Join(state, "events.jsonl"),
		Intent:     filepath.Join(state, "intent.json"),
		Rotation:   filepath.Join(state, "rotation.jsonl"),
		Notify:     filepath.Join(state, "notify.json"),
		Volumes:    filepath.Join(state, "volumes.json"),
		Migration:  filepath.Join(state, "migration.json"),
		LogDir:     filepath.Join(home, "log"),
	}
	if goos == darwin {
		if user, err := os.UserHomeDir(); err == nil { // without a home folder logs stay with the rest
			p.LogDir = filepath.Join(user, "Library", "Logs", "minibot")
		}
	}
	return p.With(Default()), nil
}

// With returns the paths with those that the configuration chooses.
func (p Paths) With(c Config) Paths {
	p.Compose = filepath.Clean(c.ComposeFile)
	if !filepath.IsAbs(p.Compose) {
		p.Compose = filepath.Join(p.Home, p.Compose)
	}
	return p
}

// EnsureHome makes home, run and state, mode 0700, where they are missing. It refuses a folder that another user owns
// or could write to: who can, could put a compose file or a socket of their own there. Others may read home, not run
// and state.
func EnsureHome(p Paths) error {
	for _, dir := range [...]struct {
		path   string
		others fs.FileMode // bits that others must not have
	}{{p.Home, 0o022}, {p.RunDir, 0o077}, {p.StateDir, 0o077}} {
		if err := makePrivate(dir.path); err != nil {
			return err
		}
		if err := checkPrivate(dir.path, dir.others, os.Geteuid()); err != nil {
			return err
		}
	}
	return nil
}

// makePrivate makes dir with mode 0700 whatever the umask, unless something is there.
func makePrivate(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil // checkPrivate reports what is wrong with it
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("protect folder: %w", err)
	}
	return nil
}

func checkPrivate(dir string, others fs.FileMode, uid int) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at folder: %w", err)
	}
	if !info.IsDir() {
		return hint.Wrap(fmt.Errorf("%s is not a folder", dir), "move it away")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != uid {
		err := fmt.Errorf("%s belongs to uid %d, not to %d", dir, st.Uid, uid)
		return hint.Wrap(err, "run this as its owner, or choose another MINIBOT_HOME")
	}
	if bits := info.Mode().Perm() & others; bits != 0 {
		advice := "chmod go-w " + dir
		if others == 0o077 {
			advice = "chmod 700 " + dir
		}
		return hint.Wrap(fmt.Errorf("%s has mode %04o: other users can get at it", dir, info.Mode().Perm()), "%s", advice)
	}
	return nil
}
