package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"minibot/config"
	"minibot/control"
	"minibot/deploy"
	"minibot/hint"
	"minibot/launchd"
)

// loadTimeout is for what must not be left half done: longer than both managers need at worst (a stop of 60 s, then retries).
const loadTimeout = 3 * time.Minute

// Installation is what Install sees to. All but Patience is required.
type Installation struct {
	Paths   config.Paths
	Program string // absolute; the definition names it
	Manager Manager
	Store   string                                        // the kind that was asked for; "" leaves it to Choose
	Choose  func(context.Context) (kind, why string)      // for a home without config.toml
	Status  func(context.Context) (control.Status, error) // asks the daemon

	Patience time.Duration // how long the daemon may take to answer; 0 is DefaultPatience
}

// DefaultPatience is how long a daemon may take to answer after its start: it waits up to 10 s for the lock, and on a machine that
// has just come up everything is slow.
const DefaultPatience = 60 * time.Second

// Check finds what stands in the way of Install, before anything is changed: a daemon that somebody started by hand (ErrByHand), and
// the definition of another installation (ErrOtherHome), which Install replaces when it is called all the same.
func (i *Installation) Check(ctx context.Context) error {
	if err := ByHand(ctx, i.Paths, i.Manager); err != nil {
		return err
	}
	path, _, err := i.Manager.Definition()
	if err != nil {
		return err
	}
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, syscall.EISDIR) {
		err = hint.Wrap(err, "move it away: `mv %s %s`", hint.Word(path), hint.Word(path+".away"))
	}
	if err != nil {
		return fmt.Errorf("read what is installed: %w", err)
	}
	if home := homeOf(i.Manager, have); home != "" && home != i.Paths.Home {
		return hint.Wrap(fmt.Errorf("%w: %s has MINIBOT_HOME=%s", ErrOtherHome, path, home),
			"to replace it: `minibotd install --yes`; what it runs goes on, and nothing heals it")
	}
	return nil
}

// handover is how long a daemon that the manager has just started may differ from the one that the lock names.
const handover = 5 * time.Second

// ByHand returns ErrByHand when a daemon holds the lock that the manager did not start. It blocks for 5 s before it says so of a manager
// that has one loaded.
func ByHand(ctx context.Context, paths config.Paths, m Manager) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(handover); ; {
		pid, err := control.DaemonPID(paths.DaemonLock)
		if err != nil || pid == 0 {
			return err
		}
		state, err := m.State(ctx)
		if err != nil || state.PID == pid {
			return err
		}
		if !state.Loaded || time.Now().After(deadline) {
			return hint.Wrap(fmt.Errorf("%w (pid %d)", ErrByHand, pid), "end it with `kill %d`, which leaves the stack running, and try again", pid)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Install carries the steps out, or tells them. It can be repeated, whatever interrupted it. Without a desktop session the last
// ones are Skipped, and the daemon starts at the next login.
func (i *Installation) Install(ctx context.Context, s Sequence) error {
	path, content, err := i.Manager.Definition()
	if err != nil {
		return err
	}
	load := &loading{Installation: i, path: path, content: content, mark: markOf(i.Paths)}
	err = s.run(ctx, []step{
		{"program", "try " + i.Program, never, func(ctx context.Context, _ func(string)) (string, error) {
			version, err := Version(ctx, i.Program)
			return fmt.Sprintf("%s is minibotd %s", i.Program, version), err
		}},
		{"folders", fmt.Sprintf("make %s and %s, for this user alone", i.Paths.Home, i.Paths.LogDir), i.haveFolders, i.makeFolders},
		i.configuration(ctx),
		{"compose", fmt.Sprintf("write the shipped stack to %s", i.Paths.Compose), i.haveCompose, func(context.Context, func(string)) (string, error) {
			return "", config.ReplaceFile(i.Paths.Compose, deploy.ComposeFile)
		}},
		{"definition", "write " + path, defined(path, content), func(context.Context, func(string)) (string, error) {
			return "", define(path, content)
		}},
		{"stack", "let the stack up again, which uninstall stopped", i.stackLetUp, func(context.Context, func(string)) (string, error) {
			return "", restoreIntent(i.Paths)
		}},
	})
	if err != nil {
		return err
	}
	return s.inTurn(ctx, path, []step{
		{"start", fmt.Sprintf("have %s start minibotd now and at each login; containers are not touched", i.Manager.Name()), load.done, load.do},
		{"answer", "wait until minibotd answers", load.answers, load.await},
	})
}

// haveCompose leaves a compose file outside of the home to whoever named it.
func (i *Installation) haveCompose(context.Context) (string, bool, error) {
	if path := i.Paths.Compose; !exists(path) && !below(path, i.Paths.Home) {
		return path + " is missing; minibotd waits for it", true, nil
	}
	return "there is " + i.Paths.Compose, exists(i.Paths.Compose), nil
}

func (i *Installation) haveFolders(context.Context) (string, bool, error) {
	for _, dir := range []string{i.Paths.Home, i.Paths.RunDir, i.Paths.StateDir, i.Paths.LogDir} {
		if !exists(dir) {
			return "", false, nil
		}
	}
	return "there is " + i.Paths.Home, true, config.EnsureHome(i.Paths) // makes nothing where all is there
}

func (i *Installation) makeFolders(context.Context, func(string)) (string, error) {
	if err := config.EnsureHome(i.Paths); err != nil {
		return "", err
	}
	if err := os.MkdirAll(i.Paths.LogDir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of logs: %w", err)
	}
	return "", nil
}

// configuration is the step of config.toml. The store is chosen when it is not there, and only then.
func (i *Installation) configuration(ctx context.Context) step {
	kind, why := i.Store, "as asked for"
	switch {
	case exists(i.Paths.Config): // nothing is chosen
	case kind == "" && exists(filepath.Join(i.Paths.Home, "store.age")):
		kind, why = config.StoreAge, "there is one already"
	case kind == "":
		kind, why = i.Choose(ctx)
	}
	does := fmt.Sprintf("write %s with store = %q: %s", i.Paths.Config, kind, why)
	return step{"config", does, func(context.Context) (string, bool, error) {
		if !exists(i.Paths.Config) {
			return "", false, nil
		}
		c, err := config.Load(i.Paths.Home)
		if err == nil && i.Store != "" && i.Store != c.Store {
			err = hint.Wrap(fmt.Errorf("%w: this installation's store is another one already", control.ErrUsage), "mb-secrets migrate --to %s moves the secrets there", i.Store)
		}
		return fmt.Sprintf("there is %s, with store = %q", i.Paths.Config, c.Store), true, err
	}, func(context.Context, func(string)) (string, error) {
		c := config.Default()
		c.Store = kind
		return "", config.Write(i.Paths.Config, c)
	}}
}

// defined tells whether the file at path is what it should be, to the byte, and nobody else's to write.
func defined(path string, content []byte) func(context.Context) (string, bool, error) {
	return func(context.Context) (string, bool, error) {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0) {
			return "", false, nil
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return "", false, fmt.Errorf("read what is installed: %w", err)
		}
		return path + " is as it should be", bytes.Equal(have, content), nil
	}
}

// define puts content in place of the file at path; a crash leaves the old file or the new one.
func define(path string, content []byte) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = config.ReplaceFile(path, content)
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("write the definition: %w", err), "look at the disk and the owner of %s", filepath.Dir(path))
	}
	return nil
}

// stackLetUp is done unless an uninstall left a note of what was to be down before it.
func (i *Installation) stackLetUp(context.Context) (string, bool, error) {
	return "nothing keeps the stack down that uninstall did", !exists(intentBefore(i.Paths)), nil
}

// loading has the manager load the definition and sees that the daemon answers.
type loading struct {
	*Installation
	path    string
	content []byte
	mark    string // the file in which a load that worked is noted
}

// loaded is what the manager loaded last: a definition, and the file that it names.
type loaded struct {
	Definition string `json:"definition"` // its SHA-256
	Program    string `json:"program"`    // device, inode, size and time of change
}

func markOf(paths config.Paths) string { return filepath.Join(paths.StateDir, "installed.json") }

// wanted is what is to be noted once the load has worked.
func (l *loading) wanted() ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Stat(l.Program, &st); err != nil {
		return nil, fmt.Errorf("look at the program: %w", err)
	}
	return json.Marshal(loaded{
		Definition: fmt.Sprintf("%x", sha256.Sum256(l.content)),
		Program:    fmt.Sprintf("%d %d %d %d.%09d", st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec),
	})
}

// done tells whether this very program runs by this very definition.
func (l *loading) done(ctx context.Context) (string, bool, error) {
	state, err := l.Manager.State(ctx)
	if err != nil || !state.Loaded || state.Disabled || state.PID == 0 {
		return "", false, err
	}
	have, err := os.ReadFile(l.mark)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read what was loaded: %w", err)
	}
	want, err := l.wanted()
	return fmt.Sprintf("%s runs this program (pid %d)", l.Manager.Name(), state.PID), bytes.Equal(have, want), err
}

// do is not ended by an interruption: between the end of the old daemon and the start of the new one there is none.
func (l *loading) do(ctx context.Context, report func(string)) (string, error) {
	if err := os.Remove(l.mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("forget what was loaded: %w", err)
	}
	ctx, cancel := insist(ctx, loadTimeout)
	defer cancel()
	err := l.Manager.Load(ctx, report)
	if errors.Is(err, launchd.ErrNoSession) {
		return "", errSkipped{"there is no desktop session: minibotd starts at the next login at the Mac's desktop, also over Screen Sharing"}
	}
	return fmt.Sprintf("%s started %s", l.Manager.Name(), l.Program), err
}

func (l *loading) answers(ctx context.Context) (string, bool, error) {
	_, loadedIt, err := l.done(ctx)
	if err != nil || !loadedIt {
		return "", false, err
	}
	status, err := l.Status(ctx)
	return fmt.Sprintf("minibotd %s answers (pid %d): %s", status.Version, status.PID, status.Phase), err == nil, nil
}

func (l *loading) await(ctx context.Context, report func(string)) (string, error) {
	state, err := l.Manager.State(ctx)
	if err != nil {
		return "", err
	}
	if !state.Session {
		return "", errSkipped{"nothing runs before the next login"}
	}
	status, err := Await(ctx, Awaited{Manager: l.Manager, Status: l.Status, Paths: l.Paths, Patience: l.Patience}, report)
	if err != nil {
		return "", err
	}
	mark, err := l.wanted()
	if err == nil {
		err = config.ReplaceFile(l.mark, mark)
	}
	return fmt.Sprintf("minibotd %s answers (pid %d): %s", status.Version, status.PID, status.Phase), err
}
