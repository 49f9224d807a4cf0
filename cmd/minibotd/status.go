package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/supervisor"
)

// setPhase sets a phase of the daemon's own, before the supervisor runs; "" ends it.
func (d *daemon) setPhase(phase control.Phase, reason error) {
	d.mu.Lock()
	changed := d.phase != phase || errorText(d.reason) != errorText(reason)
	d.phase, d.reason = phase, reason
	d.mu.Unlock()
	if changed && reason != nil {
		d.log.Warn("waiting", keyPhase, string(phase), keyError, reason)
		d.record(control.Event{Kind: "phase", Message: string(phase) + ": " + reason.Error()})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// announce logs and records each change of the phase.
func (d *daemon) announce(ctx context.Context) {
	var last control.Phase
	for {
		status, err := d.supervisor.Wait(ctx, func(s supervisor.Status) bool { return d.overall(s) != last })
		if err != nil {
			return
		}
		last = d.overall(status)
		d.log.Info("phase", keyPhase, string(last))
		d.record(control.Event{Kind: "phase", Message: string(last)})
		if last == control.PhaseHealthy {
			d.shrink()
		}
	}
}

// overall is the phase that a person sees.
func (d *daemon) overall(status supervisor.Status) control.Phase {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.standing(status)
}

// standing is overall for a caller that holds mu.
func (d *daemon) standing(status supervisor.Status) control.Phase {
	phase := d.phase
	switch {
	case d.lock.record.Locked():
		phase = control.PhaseLockedDown
	case phase != "":
	case status.Phase == supervisor.Unreachable:
		phase = control.PhaseWaitingForEngine
	case d.changes > 0:
		phase = control.PhaseRotating
	case status.Phase == supervisor.AllStopped:
		phase = control.PhaseStopped
	case status.Phase == supervisor.Degraded:
		phase = control.PhaseDegraded
	case status.Phase == supervisor.AllHealthy:
		phase = control.PhaseHealthy
	default:
		phase = control.PhaseConverging
	}
	if phase != d.shown {
		d.shown, d.shownAt = phase, time.Now()
	}
	return phase
}

// Status is what `minibotd status` shows. It answers in every phase, without a call to the engine.
func (d *daemon) Status(ctx context.Context) (control.Status, error) {
	seen := d.supervisor.Status()
	out := control.Status{
		Version: control.Version, PID: os.Getpid(),
		Store: control.Store{Kind: d.storeKind(), State: "open"}, Services: []control.Service{}, Secrets: []control.Secret{},
	}
	d.mu.Lock()
	out.Phase = d.standing(seen) // with its reason: a lockdown may begin at any moment
	out.Since, out.Reason, out.Hint = d.shownAt, errorText(d.reason), hint.Of(d.reason)
	waiting := d.phase == control.PhaseWaitingForStore
	if waiting {
		out.Store.State = storeState(d.reason)
	}
	if d.phase == "" {
		out.Reason, out.Hint = seen.Reason, seen.Hint
	}
	if d.lock.record.Locked() {
		d.lock.show(&out)
	}
	if d.project != nil {
		out.Project, out.Exposed, out.NewVolumes = d.project.Name, exposures(d.project), d.volumes.show(time.Now())
		for _, service := range d.project.Services {
			s := control.Service{Name: service.Name, Container: service.Container, State: "missing", Secrets: []string{}}
			for _, name := range needs(service) {
				s.Secrets = append(s.Secrets, string(name))
			}
			if have, ok := seen.Service(service.Name); ok {
				if have.Failed || !have.Settled {
					s.LastLog = d.lastLines[s.Name]
				}
				s.State, s.Health, s.Restarts, s.Since, s.Reason = have.State, have.Health, have.Restarts, have.Since, have.Reason
			}
			if until := d.intent.Maintenance[service.Name]; time.Now().Before(until) {
				s.Maintenance = &until
			}
			out.Services = append(out.Services, s)
		}
	}
	d.mu.Unlock()
	out.Reason = strings.ReplaceAll(d.redact.Text(out.Reason), "\n", "; ") // a value may have lines
	slices.SortFunc(out.Services, func(a, b control.Service) int { return cmp.Compare(a.Name, b.Name) })
	d.world.mu.Lock()
	out.Engine = control.Engine{Version: d.world.info.Version, API: d.world.info.API, Host: d.world.info.Host, Reason: d.world.info.Reason}
	d.world.mu.Unlock()
	if waiting { // to ask the store would be to wait with it
		return out, nil
	}
	return d.addSecrets(ctx, out)
}

// addSecrets fills in the secrets; a store that does not answer is a state, not a failure of status.
func (d *daemon) addSecrets(ctx context.Context, out control.Status) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	list, err := d.rows(ctx)
	if err != nil {
		if out.Store.State == "open" {
			out.Store.State = storeState(err)
		}
		return out, nil
	}
	out.Secrets = d.withNotify(list)
	return out, nil
}

// storeState names what stands between the daemon and its store.
func storeState(err error) string {
	switch {
	case errors.Is(err, secrets.ErrNoStore):
		return "missing"
	case errors.Is(err, secrets.ErrDenied):
		return "denied"
	case errors.Is(err, secrets.ErrUnavailable):
		return "unavailable"
	case err == nil, errors.Is(err, secrets.ErrLocked):
		return "locked"
	}
	return "error"
}
