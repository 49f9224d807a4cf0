package lockdown

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/stack"
)

// daemonPatience is how long Down waits for the daemon before it goes ahead by itself. The daemon's work goes on beside it.
const daemonPatience = time.Second

// Down locks the stack down: it records that, then has the daemon kill every container of the project, or kills them itself
// where no daemon runs or it does not answer within a second. report may be nil; it is called from one goroutine at a time. It
// returns once it is seen that nothing runs. A record that could not be written, or an engine that does not answer, is an
// error, after all else was done.
func Down(ctx context.Context, paths config.Paths, reason string, report func(string)) error {
	if report == nil {
		report = func(string) {}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	file := In(paths)
	_, recorded := file.Begin(ctx, reason)
	asked, told := make(chan error, 1), make(chan string, 16)
	go func() {
		op := control.Operation{Verb: control.VerbLockdown, Reason: reason}
		asked <- (&control.Client{Socket: paths.Socket}).Operate(ctx, op, func(p control.Progress) {
			select {
			case told <- p.Message:
			default: // nobody listens any more
			}
		})
	}()
	late := time.NewTimer(daemonPatience)
	defer late.Stop()
	for {
		select {
		case message := <-told:
			report(message)
		case err := <-asked:
			for len(told) > 0 {
				report(<-told)
			}
			if err == nil {
				return recorded
			}
			if !errors.Is(err, control.ErrUnreachable) {
				report("minibotd could not do it: " + err.Error())
			}
			return errors.Join(recorded, killDirectly(ctx, paths, report))
		case <-late.C:
			report("minibotd does not answer; going ahead without it")
			return errors.Join(recorded, killDirectly(ctx, paths, report))
		case <-ctx.Done():
			return errors.Join(recorded, ctx.Err())
		}
	}
}

// killDirectly kills without the daemon.
func killDirectly(ctx context.Context, paths config.Paths, report func(string)) error {
	c, err := config.Load(paths.Home)
	if err != nil { // no reason to let anything run
		report(err.Error() + ": the engine is looked for as docker would")
		c = config.Default()
	}
	engine, err := stack.Dial(ctx, c.DockerHost)
	if err != nil {
		return hint.Wrap(fmt.Errorf("the lockdown is recorded, but containers may run: %w", err),
			"see that the engine answers, then `minibotd lockdown` again; minibotd kills them when it sees the engine")
	}
	killed, err := Kill(ctx, engine, In(paths), paths.With(c).Compose)
	for _, project := range killed {
		report(fmt.Sprintf("nothing of project %s runs", project))
	}
	if err == nil && len(killed) == 0 {
		report("no project was ever started here: nothing to kill")
	}
	return errors.Join(err, engine.Close())
}

// Engine is what a Kill asks of the engine; *stack.Engine implements it.
type Engine interface {
	ProjectsOf(ctx context.Context, composeFile string) ([]string, error)
	KillProject(ctx context.Context, project string) error
}

// Kill kills every container of the installation's projects: the one that the daemon loaded last, and every one whose containers
// were made from its compose file, which it does not read. It returns the names of those of which nothing runs now.
func Kill(ctx context.Context, engine Engine, f File, compose string) (killed []string, err error) {
	names, err := engine.ProjectsOf(ctx, compose)
	last, readErr := f.lastProject()
	if last != "" && !slices.Contains(names, last) {
		names = append(names, last)
	}
	errs := []error{err, readErr}
	for _, name := range names {
		if err := engine.KillProject(ctx, name); err != nil {
			errs = append(errs, err)
			continue
		}
		killed = append(killed, name)
	}
	return killed, errors.Join(errs...)
}

// NoteProject keeps the name of the project that the daemon has loaded, for a Kill that cannot read the compose file.
func (f File) NoteProject(name string) error {
	if last, err := f.lastProject(); err == nil && last == name {
		return nil
	}
	if err := config.ReplaceFile(f.project, []byte(name+"\n")); err != nil {
		return fmt.Errorf("note the project's name: %w", err)
	}
	return nil
}

// LastProject returns the name of the project that the daemon loaded last, or "" when it loaded none.
func (f File) LastProject() (string, error) { return f.lastProject() }

func (f File) lastProject() (string, error) {
	data, err := os.ReadFile(f.project)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the project's name: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
