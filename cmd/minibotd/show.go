package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/plan"
	"minibot/supervisor"
)

func (c *commands) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the stack's state; exit 1 unless healthy",
		Long: "status shows the overall state and why, then every service. HEALED counts since minibotd started; SINCE is\n" +
			"when the container started, or when its state began. Below stand the last lines of a run that failed, until its service\n" +
			"was well for ten minutes, and the secrets that want a person: not set, due, overdue, or with a change that was rolled\n" +
			"back. Beside the engine stands who named it, or whose it is and what was in the way at the places that come first. A\n" +
			"warning names each place at which the compose file passes a secret on in the clear, and each data volume that is new\n" +
			"and empty although the stack had one of its name before.",
		Example: "  minibotd status\n  minibotd status --json",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = c.io.JSON(status)
			} else {
				err = showStatus(c.io, status, time.Now())
			}
			if err == nil && status.Phase != control.PhaseHealthy {
				err = errNotHealthy
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// showStatus prints everything that a person wants to know first.
func showStatus(io *console.IO, s control.Status, now time.Time) error {
	line := paintPhase(io, s.Phase) + " since " + console.Age(now.Sub(s.Since))
	if now.Sub(s.Since) >= time.Minute {
		line = paintPhase(io, s.Phase) + " for " + console.Age(now.Sub(s.Since))
	}
	if s.Reason != "" {
		line += ": " + console.Escape(s.Reason)
	}
	if s.Hint != "" {
		line += "\n  hint: " + console.Escape(s.Hint)
	}
	engine := "engine not seen yet"
	if s.Engine.Version != "" {
		engine = fmt.Sprintf("engine %s (API %s)", console.Escape(s.Engine.Version), console.Escape(s.Engine.API))
		if s.Engine.Reason != "" {
			engine += " by " + console.Escape(s.Engine.Reason)
		}
	}
	if err := io.Print("%s\n%s, store %s (%s), minibotd %s, pid %d\n", line, engine, console.Escape(s.Store.Kind),
		console.Escape(s.Store.State), console.Escape(s.Version), s.PID); err != nil {
		return err
	}
	rows := [][]string{}
	for _, v := range s.Services {
		since := "-"
		if !v.Since.IsZero() {
			since = console.Age(now.Sub(v.Since))
		}
		rows = append(rows, []string{v.Name, v.Container, v.State, cmp.Or(v.Health, "-"), strconv.Itoa(v.Restarts), since, v.Reason})
	}
	if err := io.Table([]string{"SERVICE", "CONTAINER", "STATE", "HEALTH", "HEALED", "SINCE", "REASON"}, rows); err != nil {
		return err
	}
	for _, v := range s.Services {
		for _, text := range v.LastLog {
			if err := io.Print("  %s | %s", console.Escape(v.Name), console.Escape(text)); err != nil {
				return err
			}
		}
	}
	for _, v := range s.Exposed {
		where := v.Path
		if v.Line > 0 {
			where += fmt.Sprintf(" (%s:%d)", v.File, v.Line)
		}
		if err := io.Print("warning: secret %s is passed on in the clear: %s", console.Escape(v.Secret), console.Escape(where)); err != nil {
			return err
		}
	}
	if err := showVolumes(io, s.NewVolumes); err != nil {
		return err
	}
	return showSecrets(io, s.Secrets, now)
}

// showVolumes names the data volumes that are not the ones before.
func showVolumes(io *console.IO, list []control.NewVolume) error {
	for _, v := range list {
		if err := io.Print("warning: volume %s of %s was made anew, empty, because the one before is gone: %s\n  hint: %s", console.Escape(v.Name),
			console.Escape(strings.Join(v.Services, ", ")), v.Since.Local().Format(time.DateTime), console.Escape(v.Hint)); err != nil {
			return err
		}
	}
	return nil
}

// paintPhase colours what is well, what moves and what is not well.
func paintPhase(io *console.IO, phase control.Phase) string {
	style := console.Yellow
	switch phase {
	case control.PhaseHealthy:
		style = console.Green
	case control.PhaseDegraded, control.PhaseLockedDown:
		style = console.Red
	}
	return console.Paint(io.Out, style, console.Escape(string(phase)))
}

// showSecrets names the secrets that want a person; mb-secrets list shows them all.
func showSecrets(io *console.IO, list []control.Secret, now time.Time) error {
	for _, v := range list {
		for _, text := range wants(v, now) {
			if err := io.Print("secret %s", console.Escape(v.Name+text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// wants says why a secret wants a person, and what the command is.
func wants(v control.Secret, now time.Time) []string {
	var texts []string
	switch v.State {
	case "missing":
		texts = append(texts, fmt.Sprintf(" is not set: mb-secrets set %s", v.Name))
	case "pending":
		texts = append(texts, fmt.Sprintf(": a new value waits for %s to take it", strings.Join(v.UsedBy, ", ")))
	}
	if v.Failed != "" {
		texts = append(texts, fmt.Sprintf(": the last change was rolled back: %s (mb-secrets history %s)", v.Failed, v.Name))
	}
	if v.Age == control.AgeDue || v.Age == control.AgeOverdue {
		texts = append(texts, fmt.Sprintf(" is %s: %s", plan.Due(v, now), plan.Remedy(v)))
	}
	return texts
}

// stateDegraded is the supervisor's word for a service that keeps failing.
const stateDegraded = "degraded"

// stateMaintenance is its word for a service that is sick while its healing is paused.
const stateMaintenance = "maintenance"

// well says that a service is as good as it gets: healthy, running without a healthcheck, or completed.
func well(status supervisor.Status, service string) bool {
	s, ok := status.Service(service)
	return ok && status.Phase != supervisor.Unreachable && s.Settled && s.State != "stopped"
}

// resting says that a service will not change by itself soon: as it is wanted, given up, or held back.
func resting(s supervisor.ServiceStatus) bool {
	return s.Settled || s.Stuck || s.State == stateDegraded || s.State == stateMaintenance
}

// describe is one service's state in a line of progress.
func describe(s supervisor.ServiceStatus) string {
	text := s.State
	if s.Settled && s.Health != "" {
		text = s.Health
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}
