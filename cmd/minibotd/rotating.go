package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"minibot/control"
	"minibot/database"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
	"minibot/supervisor"
)

const (
	awaitTimeout  = 2 * time.Minute // how long a change waits for its database to be up before it is rolled back
	settleTimeout = 5 * time.Minute // how long the users of a new value may take to be well
	adoptAttempts = 3               // failed starts in a row after which one is not well
	faultyLines   = 10              // of the log of a user that is not
)

// saying tells a person what happens to a service.
type saying func(service, message string)

// noting passes the notes of a rotation on as saying does.
func (say saying) noting(n rotation.Note) { say(n.Service, n.Message) }

// openJournal opens the journal of rotations. One that cannot be read is put aside: what waits in pending is carried out
// all the same, and the databases are made sure of.
func openJournal(path string, events *control.EventLog) (*rotation.Journal, error) {
	journal, err := rotation.OpenJournal(path)
	if !errors.Is(err, rotation.ErrJournal) {
		return journal, err
	}
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
	if err := errors.Join(os.Rename(path, aside), events.Append(control.Event{Kind: "error", Message: err.Error() + "; it is kept as " + aside})); err != nil {
		return nil, err
	}
	return rotation.OpenJournal(path)
}

// Await returns once a service is up.
func (d *daemon) Await(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	status, err := d.supervisor.Wait(ctx, func(s supervisor.Status) bool { return well(s, service) || isStopped(s, service) })
	if err != nil {
		return hint.Wrap(fmt.Errorf("service %s did not get healthy: %s: %w", service, serviceReason(status, service), err),
			"run `minibotd status` and `minibotd logs %s`", service)
	}
	if !well(status, service) {
		return hint.Wrap(fmt.Errorf("service %s is stopped", service), "run `minibotd start %s`", service)
	}
	return nil
}

func isStopped(status supervisor.Status, service string) bool {
	s, ok := status.Service(service)
	return ok && s.State == "stopped"
}

// Restart restarts a service and returns when it is up.
func (d *daemon) Restart(ctx context.Context, service string) error {
	if err := d.supervisor.Restart(ctx, service); err != nil {
		return err
	}
	return d.Await(ctx, service)
}

// Silent lists the running users of a secret that take it without a word; the service that holds it is none.
func (d *daemon) Silent(name secrets.Name) []string {
	status := d.supervisor.Status()
	d.mu.Lock()
	defer d.mu.Unlock()
	var silent []string
	for _, r := range d.project.Requirements {
		if r.Name != name {
			continue
		}
		for _, service := range r.UsedBy {
			s := d.project.Services[service]
			if service != r.Rotate.Service && s.OnChange == "none" && !slices.Contains(s.Exposed, name) && well(status, service) {
				silent = append(silent, service)
			}
		}
	}
	return silent
}

// Prepare makes a delivery ready. Its Commit puts the values into force here too.
func (d *daemon) Prepare(ctx context.Context, values map[secrets.Name]secrets.Value) (database.Switch, error) {
	project, err := d.projectWith(ctx, values)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	all := maps.Clone(d.values)
	d.mu.Unlock()
	for _, r := range project.Requirements {
		if v, ok := values[r.Name]; ok {
			all[r.Name] = v
		}
	}
	if stopped := d.supervisor.Status().Phase == supervisor.AllStopped; stopped || d.forbidden() != nil { // the files are delivered at the next start
		return &switching{daemon: d, project: project, values: all}, nil //nolint:nilerr // why nothing may start is no failure of the change
	}
	prepared, err := d.world.prepare(ctx, project, all)
	if err != nil {
		return nil, err
	}
	return &switching{d, project, all, prepared}, nil
}

// switching is a delivery that is prepared, and what the daemon takes for wanted afterwards.
type switching struct {
	daemon   *daemon
	project  *stack.Project // with the values in it that it passes on
	values   map[secrets.Name]secrets.Value
	prepared *preparedFeed // nil for nothing to deliver
}

// Commit implements database.Switch.
func (s *switching) Commit(ctx context.Context) error {
	if s.prepared != nil {
		if err := s.prepared.commit(ctx); err != nil {
			return err
		}
	}
	s.daemon.mu.Lock()
	defer s.daemon.mu.Unlock()
	s.daemon.adopt(s.project)
	s.daemon.want(s.values)
	return nil
}

// Abort implements database.Switch.
func (s *switching) Abort() {
	if s.prepared != nil {
		s.prepared.abort()
	}
}

// Adopt has the users of the named secrets take what is delivered, and returns when all are up, or why one is not.
func (d *daemon) Adopt(ctx context.Context, names []secrets.Name, report rotation.Report) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	ticket, err := d.update(ctx)
	if err != nil {
		return err
	}
	users := d.withoutHeld(d.usersOf(names))
	if len(users) == 0 { // the rest takes it at its start
		return nil
	}
	err = d.settleWithin(ctx, ticket, users, func(service, message string) {
		report(rotation.Note{Step: rotation.StepAdopt, Service: service, Message: message})
	}, adoptAttempts)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) { // a daemon that ends has no time for words
		d.lastWords(ctx, users, report)
	}
	return err
}

// lastWords reports the last lines of the users that are not well.
func (d *daemon) lastWords(ctx context.Context, users map[string]bool, report rotation.Report) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), excerptTimeout)
	defer cancel()
	status := d.supervisor.Status()
	for _, service := range slices.Sorted(maps.Keys(users)) {
		if well(status, service) || isStopped(status, service) {
			continue
		}
		_, err := d.serviceLog(ctx, service, stack.LogOptions{Tail: faultyLines}, "", func(line string) error {
			report(rotation.Note{Step: rotation.StepAdopt, Service: service, Message: "log: " + line})
			return nil
		})
		if err != nil {
			d.log.Warn("read the log of a service that is not well", keyService, service, keyError, err)
		}
	}
}

func (d *daemon) usersOf(names []secrets.Name) map[string]bool {
	users := map[string]bool{}
	for _, r := range d.requirements() {
		for _, name := range names {
			if r.Name == name {
				for _, service := range r.UsedBy {
					users[service] = true
				}
			}
		}
	}
	return users
}

func serviceReason(status supervisor.Status, service string) string {
	s, ok := status.Service(service)
	if !ok {
		return "unknown service"
	}
	return describe(s)
}
