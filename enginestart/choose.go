package enginestart

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"minibot/hint"
	"minibot/stack"
)

// ErrCannot is wrapped by what Choose says where there is nothing that it may start.
var ErrCannot = errors.New("minibotd cannot start the engine")

// Command is what starts an engine.
type Command struct {
	Product string   // such as stack.OrbStack
	Argv    []string // the program's absolute path first
}

// String is the command as a person would type it.
func (c Command) String() string {
	return strings.Join(append([]string{filepath.Base(c.Argv[0])}, c.Argv[1:]...), " ")
}

// Machine is where engines are looked for. Tests give their own.
type Machine struct {
	GOOS         string
	Path         []string // folders of programs, best first
	Open         string   // macOS's program open
	Applications []string // folders of applications
	Units        []string // folders of systemd's units of users
}

// ThisMachine is the one that the process runs on: PATH, and the folders that a LaunchAgent's PATH may lack.
func ThisMachine() (Machine, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return Machine{}, fmt.Errorf("find programs that start an engine: %w", err)
	}
	return Machine{
		GOOS: runtime.GOOS, Open: "/usr/bin/open",
		Path: append(filepath.SplitList(os.Getenv("PATH")), "/opt/homebrew/bin", "/usr/local/bin",
			filepath.Join(home, ".orbstack/bin"), "/usr/bin", "/bin"),
		Applications: []string{"/Applications", filepath.Join(home, "Applications")},
		Units: []string{filepath.Join(home, ".config/systemd/user"), "/etc/systemd/user", "/usr/local/lib/systemd/user",
			"/usr/lib/systemd/user", "/lib/systemd/user"},
	}, nil
}

// Choose says what starts the engine that [stack.Places] looks for. Where a person named one, it is that or none; else,
// of the installed products, it is the one that was used last. The error wraps ErrCannot where there is none.
func (m Machine) Choose(places []stack.Candidate) (Command, error) {
	var best Command
	var used time.Time
	for _, place := range places {
		if place.Chosen {
			return m.chosen(place)
		}
		c, ok := m.command(place)
		if !ok {
			continue
		}
		if at := lastUse(place); best.Argv == nil || at.After(used) {
			best, used = c, at
		}
	}
	if best.Argv != nil {
		return best, nil
	}
	if m.GOOS == "darwin" {
		return Command{}, hint.Wrap(fmt.Errorf("%w: neither Docker Desktop, OrbStack nor Colima is installed", ErrCannot), "install one of them")
	}
	return Command{}, hint.Wrap(fmt.Errorf("%w: the system's is for an administrator to start, and there is no rootless one", ErrCannot),
		"run `sudo systemctl enable --now docker`")
}

func (m Machine) chosen(place stack.Candidate) (Command, error) {
	c, ok := m.command(place)
	switch {
	case ok:
		return c, nil
	case place.Product == "":
		return Command{}, hint.Wrap(fmt.Errorf("%w that %s names", ErrCannot, place.From), "start it, or let minibotd look for another one")
	}
	return Command{}, hint.Wrap(fmt.Errorf("%w that %s names: no program of %s is found that starts it", ErrCannot, place.From, place.Product),
		"start it, or let minibotd look for another one")
}

// command is what starts the product of a place, where it is installed.
func (m Machine) command(place stack.Candidate) (Command, bool) {
	var argv []string
	switch {
	case m.GOOS != "darwin": // an engine of anything else would end with the daemon's own unit
		argv = m.unit(map[string]string{stack.RootlessDocker: "docker", stack.DockerDesktop: "docker-desktop"}[place.Product])
	case place.Product == stack.DockerDesktop:
		argv = m.application("Docker")
	case place.Product == stack.OrbStack:
		if orb := m.program("orb"); orb != "" { // works without the application's window
			argv = []string{orb, "start"}
		} else {
			argv = m.application("OrbStack")
		}
	case place.Product == stack.Colima:
		if colima := m.program("colima"); colima != "" {
			argv = []string{colima, "start"}
			if place.Profile != "" && place.Profile != "default" {
				argv = append(argv, "--profile", place.Profile)
			}
		}
	}
	return Command{Product: place.Product, Argv: argv}, argv != nil
}

func (m Machine) application(name string) []string {
	for _, folder := range m.Applications {
		if info, err := os.Stat(filepath.Join(folder, name+".app")); err == nil && info.IsDir() {
			return []string{m.Open, "-g", "-a", name}
		}
	}
	return nil
}

func (m Machine) unit(name string) []string {
	if name == "" {
		return nil
	}
	for _, folder := range m.Units {
		if _, err := os.Stat(filepath.Join(folder, name+".service")); err == nil {
			if systemctl := m.program("systemctl"); systemctl != "" {
				return []string{systemctl, "--user", "start", name}
			}
		}
	}
	return nil
}

// program finds a program that may be executed, by its absolute path; "" where there is none.
func (m Machine) program(name string) string {
	for _, folder := range m.Path {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// lastUse is when the product's socket came or went: every start makes it anew. Zero where it never was.
func lastUse(place stack.Candidate) time.Time {
	var last time.Time
	socket := strings.TrimPrefix(place.Host, "unix://")
	for _, path := range []string{socket, filepath.Dir(socket)} {
		if info, err := os.Lstat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
