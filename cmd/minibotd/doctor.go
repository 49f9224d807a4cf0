package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/doctor"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/migration"
	"minibot/secrets/stores"
	"minibot/stack"
)

// doctorReport is what `doctor --json` prints.
type doctorReport struct {
	Findings []doctor.Finding `json:"findings"` // in the order of the checks
	Failures int              `json:"failures"`
	Warnings int              `json:"warnings"`
}

func (c *commands) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and name the command that mends it; exit 1 for failures",
		Long: "doctor looks at the installation and the machine: folders and permissions, config.toml and the compose file, the store and each\n" +
			"required secret, the engine, images, ports, disks and clock, what starts minibotd at login, versions, and on a Mac the signature,\n" +
			"the session, FileVault, auto-login and sleep. Each line is ok, a warning or a failure, with the command that mends it.\n\n" +
			"It changes nothing, asks for nothing and works without minibotd; while that runs, it asks it about the store. What it cannot tell\n" +
			"is a warning. docs/doctor.md lists the checks. Exit code 1 for failures, 0 where there are only warnings.",
		Example: "  minibotd doctor\n  minibotd doctor --json | jq -r '.findings[] | select(.state != \"ok\") | .command'",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := c.paths()
			if err != nil {
				return err
			}
			d, err := newDoctor(cmd.Context(), paths)
			if err != nil {
				return err
			}
			findings, err := d.Run(cmd.Context())
			if err != nil {
				return err
			}
			return c.showDoctor(findings, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// newDoctor is a doctor for this machine and this user.
func newDoctor(ctx context.Context, paths config.Paths) (*doctor.Doctor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("find the home folder: %w", err), "set HOME")
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved
	}
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	d := &doctor.Doctor{
		Paths: paths, GOOS: runtime.GOOS, UID: os.Geteuid(), User: name, UserHome: home, Self: self, Version: control.Version,
		Getenv: os.Getenv, Programs: doctor.SystemPrograms(runtime.GOOS), Apps: "/Applications", DiskFree: diskFree,
		Listen: (&net.ListenConfig{}).Listen,
		Daemon: (&control.Client{Socket: paths.Socket}).Status,
		Dial: func(ctx context.Context, host string) (doctor.Engine, error) {
			engine, err := stack.Dial(ctx, host)
			if err != nil { // a nil pointer is no nil interface
				return nil, err
			}
			return engine, nil
		},
		ReadStore: func(ctx context.Context, kind string, read func(secrets.Store) error) error {
			return readUnowned(ctx, paths, kind, read)
		},
	}
	d.Agent = startsAtLogin(ctx, paths, self)
	return d, nil
}

// readUnowned opens the store without asking for anything, where no daemon has it.
func readUnowned(ctx context.Context, paths config.Paths, kind string, read func(secrets.Store) error) error {
	if err := migration.Unfinished(paths.Migration, kind); err != nil {
		return err
	}
	open := func() (err error) {
		store, err := stores.Open(ctx, stores.Options{Kind: kind, Home: paths.Home})
		if err != nil {
			return err
		}
		if closer, ok := store.(io.Closer); ok {
			defer func() { err = errors.Join(err, closer.Close()) }()
		}
		return read(store)
	}
	if info, err := os.Stat(paths.RunDir); err != nil || !info.IsDir() { // where the lock would lie: no daemon runs either
		return open()
	}
	return control.WithLock(ctx, paths.DaemonLock, open)
}

// diskFree is how many bytes this user may write to the disk of path.
func diskFree(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return fs.Bavail * uint64(fs.Bsize), nil //nolint:gosec // the kernel's, positive
}

// states as they are shown.
var states = map[doctor.State]struct {
	style console.Style
	text  string
}{
	doctor.OK: {console.Green, "ok"}, doctor.Warning: {console.Yellow, "warning"}, doctor.Failure: {console.Red, "failure"},
}

func (c *commands) showDoctor(findings []doctor.Finding, asJSON bool) error {
	report := doctorReport{Findings: findings}
	for _, f := range findings {
		switch f.State {
		case doctor.Failure:
			report.Failures++
		case doctor.Warning:
			report.Warnings++
		case doctor.OK:
		}
	}
	show := func() error { return showFindings(c.io, report) }
	if asJSON {
		show = func() error { return c.io.JSON(report) }
	}
	if err := show(); err != nil {
		return err
	}
	if report.Failures > 0 {
		return errFindings
	}
	return nil
}

// showFindings prints a line for each finding, and below it what mends it.
func showFindings(io *console.IO, report doctorReport) error {
	for _, f := range report.Findings {
		shown := states[f.State]
		state := console.Paint(io.Out, shown.style, fmt.Sprintf("%-7s", shown.text))
		if err := io.Print("%s  %-10s  %s", state, console.Escape(f.Check), console.Escape(f.Message)); err != nil {
			return err
		}
		if f.Command == "" {
			continue
		}
		if err := io.Print("                     %s %s", console.Paint(io.Out, console.Faint, "mend:"), console.Escape(f.Command)); err != nil {
			return err
		}
	}
	switch {
	case report.Failures > 0:
		return io.Print("%s, %s", counted(report.Failures, "failure"), counted(report.Warnings, "warning"))
	case report.Warnings > 0:
		return io.Print("no failures, %s", counted(report.Warnings, "warning"))
	}
	return io.Print("all is well")
}

// counted is a number of things in words.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
