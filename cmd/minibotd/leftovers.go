package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"minibot/config"
	"minibot/console"
	"minibot/deploy"
	"minibot/hint"
	installer "minibot/install"
	"minibot/launchd"
	"minibot/secrets/security"
	"minibot/stack"
	"minibot/takeover"
)

// leftoversTimeout is how long the engine, and on a Mac the Keychain, may take to say what an older stack left there; it goes on without.
const leftoversTimeout = 10 * time.Second

// leftovers sees to what shell scripts left behind, before anything is installed: it says what there is, refuses while there are data
// that minibotd would start without, and has login agents that would start the old stack disabled, with consent.
func (c *commands) leftovers(ctx context.Context, i *installer.Installation, f installFlags) error {
	found, adopted, err := c.detect(ctx, i.Paths)
	if err != nil {
		return err
	}
	for _, one := range found {
		text := one.Place + ": " + one.What
		if one.Advice != "" {
			text += "; " + one.Advice
		}
		c.io.Warn("%s", text)
	}
	if lines := found.Lines(); len(lines) > 0 {
		c.io.Say("remove by hand, they are about secrets or programs of minibot's:\n  %s", escaped(lines))
	}
	if f.dryRun {
		return nil
	}
	installed, err := isInstalled(i.Manager)
	if err != nil {
		return err
	}
	if place := unadopted(found); place != "" && !adopted && !f.leaveData && !installed {
		err := fmt.Errorf("there are, or may be, data of an older stack (%s), and minibotd would start a new one without them", place)
		return hint.Wrap(err, "`minibotd adopt` takes them over and deletes nothing; `minibotd install --leave-data` starts without them")
	}
	return c.disableAgents(ctx, found.Of(takeover.KindAgent), i, f)
}

// isInstalled tells whether something is set up already: what there is to adopt was decided then, and an upgrade asks nothing.
func isInstalled(m installer.Manager) (bool, error) {
	path, _, err := m.Definition()
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for what is installed: %w", err)
	}
	return true, nil
}

// escaped puts each line below the other.
func escaped(lines []string) string {
	shown := make([]string, len(lines))
	for n, line := range lines {
		shown[n] = console.Escape(line)
	}
	return strings.Join(shown, "\n  ")
}

// unadopted is a place with data that adopt would take over, or may; "" for none.
func unadopted(found takeover.Findings) string {
	for _, kind := range []takeover.Kind{takeover.KindContainer, takeover.KindData} {
		for _, one := range found.Of(kind) {
			if one.Will != "" {
				return one.Place
			}
		}
	}
	for _, one := range found.Of(takeover.KindUnread) {
		if one.Folder != "" { // adopt has the engine look into it
			return one.Place
		}
	}
	return ""
}

// detect looks for leftovers, and whether data were adopted already. Without an engine it leaves
// containers out, and warns of it.
func (c *commands) detect(ctx context.Context, paths config.Paths) (found takeover.Findings, adopted bool, err error) {
	user, err := os.UserHomeDir()
	if err != nil {
		return nil, false, hint.Wrap(fmt.Errorf("find the user's home: %w", err), "set HOME")
	}
	journal, err := takeover.ReadJournal(paths)
	if err != nil {
		return nil, false, err
	}
	cfg, err := config.Load(paths.Home)
	if err != nil {
		return nil, false, err
	}
	s := takeover.Surroundings{UserHome: user, Home: paths.Home, Keychain: keychain()}
	project, err := c.expected(ctx, paths, cfg)
	if err == nil {
		s.Project = project
		for _, r := range project.Requirements {
			s.Required = append(s.Required, r.Name)
		}
		s.Residents, err = residents(ctx, cfg)
	}
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if err != nil {
		c.io.Warn("containers of an older stack were not looked for: %v", err)
	}
	found, err = takeover.Detect(ctx, s)
	return found, journal != nil && journal.Done != nil, err
}

// expected is the project that minibotd is to keep up: that of the compose file, or, where there is none of minibot's yet, the shipped one.
func (c *commands) expected(ctx context.Context, paths config.Paths, cfg config.Config) (project *stack.Project, err error) {
	o := stack.LoadOptions{File: paths.Compose, Env: cfg.Env, AllowExposed: cfg.Exposure == config.ExposureWarn}
	if _, none := os.Lstat(paths.Compose); !errors.Is(none, fs.ErrNotExist) {
		const rename = "if it is an older stack's, rename it: minibot's own belongs there"
		project, err := stack.Load(ctx, o)
		switch {
		case err == nil && len(project.Requirements) > 0:
			return project, nil
		case err == nil:
			c.io.Warn("%s asks for no secrets; %s", paths.Compose, rename)
		default:
			c.io.Warn("%v; %s", err, rename)
		}
	}
	dir, err := os.MkdirTemp("", "minibot-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.File = filepath.Join(dir, "compose.yaml")
	if err := os.WriteFile(o.File, deploy.ComposeFile, 0o600); err != nil {
		return nil, err
	}
	return stack.Load(ctx, o)
}

// keychain asks macOS's program security which items there are; nil on another system. It reads no value and opens no dialog.
func keychain() func(context.Context) ([]security.Address, error) {
	program := standInOf(security.DefaultProgram)
	if _, err := os.Stat(program); err != nil {
		return nil
	}
	return func(ctx context.Context) ([]security.Address, error) {
		ctx, cancel := context.WithTimeout(ctx, leftoversTimeout)
		defer cancel()
		store, err := security.Open(ctx, security.Options{Program: program})
		if err != nil {
			return nil, err
		}
		return store.Addresses(ctx)
	}
}

// residents are the containers of the engine.
func residents(ctx context.Context, cfg config.Config) ([]stack.Resident, error) {
	ctx, cancel := context.WithTimeout(ctx, leftoversTimeout)
	defer cancel()
	engine, err := stack.Dial(ctx, cfg.DockerHost)
	if err != nil {
		return nil, err
	}
	all, err := engine.Residents(ctx)
	return all, errors.Join(err, engine.Close())
}

// disableAgents asks for each agent, and says how to undo it.
func (c *commands) disableAgents(ctx context.Context, agents takeover.Findings, i *installer.Installation, f installFlags) error {
	m, ok := i.Manager.(*launchd.Manager)
	if !ok {
		return nil // no launchd, no agents that run
	}
	for _, agent := range agents {
		if !f.yes {
			answer, err := c.io.Confirm(ctx, console.Escape(agent.What)+". Disable it?", true)
			if errors.Is(err, console.ErrNoTerminal) {
				return hint.Wrap(fmt.Errorf("%s would start the old stack beside minibot's", agent.Place), "minibotd install --yes disables it")
			}
			if err != nil {
				return err
			}
			if !answer {
				c.io.Warn("%s stays: two will start services at login", agent.Place)
				continue
			}
		}
		err := takeover.DisableAgent(ctx, agent, m.Launchctl, func(undo []string) error {
			c.io.Say("disabling %s; to undo it:\n  %s", console.Escape(agent.Place), escaped(undo))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
