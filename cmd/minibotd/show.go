package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/console"
	"minibot/control"
	"minibot/supervisor"
)

func newStatus(c *commands) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "show the stack's state; exit 1 unless healthy", Example: "  minibotd status\n  minibotd status --json", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := c.client().Status(cmd.Context())
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

func showStatus(io *console.IO, s control.Status, now time.Time) error {
	line := fmt.Sprintf("%s for %s", paintPhase(io, s.Phase), console.Age(now.Sub(s.Since)))
	if s.Reason != "" {
		line += ": " + console.Escape(s.Reason)
	}
	if _, err := fmt.Fprintln(io.Out, line); err != nil {
		return err
	}
	if s.Hint != "" {
		if _, err := fmt.Fprintln(io.Out, "  hint:", console.Escape(s.Hint)); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(io.Out, "engine %s (API %s), store %s (%s), minibotd %s, pid %d\n\n",
		orDash(s.Engine.Version), orDash(s.Engine.API), s.Store.Kind, s.Store.State, s.Version, s.PID); err != nil {
		return err
	}
	rows := [][]string{}
	for _, v := range s.Services {
		since := "-"
		if !v.Since.IsZero() {
			since = console.Age(now.Sub(v.Since))
		}
		rows = append(rows, []string{v.Name, v.Container, v.State, orDash(v.Health), fmt.Sprint(v.Restarts), since, console.Escape(v.Reason)})
	}
	if err := io.Table([]string{"SERVICE", "CONTAINER", "STATE", "HEALTH", "HEALED", "SINCE", "REASON"}, rows); err != nil {
		return err
	}
	for _, v := range s.Services {
		for _, text := range v.LastLog {
			if _, err := fmt.Fprintf(io.Out, "  %s | %s\n", v.Name, console.Escape(text)); err != nil {
				return err
			}
		}
	}
	return showUnset(io, s.Secrets)
}

// paintPhase colours what is well, what moves and what is not well.
func paintPhase(io *console.IO, phase control.Phase) string {
	style := console.Yellow
	switch phase {
	case control.PhaseHealthy:
		style = console.Green
	case control.PhaseDegraded:
		style = console.Red
	}
	return console.Paint(io.Out, style, string(phase))
}

// showUnset names the secrets that want a person; mb-secrets list shows them all.
func showUnset(io *console.IO, list []control.Secret) error {
	for _, v := range list {
		text := ""
		switch v.State {
		case "missing":
			text = fmt.Sprintf("secret %s is not set: mb-secrets set %s", v.Name, v.Name)
		case "pending":
			text = fmt.Sprintf("secret %s: a new value waits for %s to take it", v.Name, strings.Join(v.UsedBy, ", "))
		default:
			continue
		}
		if _, err := fmt.Fprintln(io.Out, text); err != nil {
			return err
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// stateDegraded is the supervisor's word for a service that keeps failing.
const stateDegraded = "degraded"

// well says that a service is as good as it gets: healthy, running without a healthcheck, or completed.
func well(status supervisor.Status, service string) bool {
	s, ok := status.Service(service)
	return ok && status.Phase != supervisor.Unreachable && s.Settled && s.State != "stopped"
}

// resting says that a service will not change by itself soon: as it is wanted, given up, or held back.
func resting(s supervisor.ServiceStatus) bool {
	return s.Settled || s.Stuck || s.State == stateDegraded
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
