package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// auditReport is what `audit --json` prints.
type auditReport struct {
	Findings []control.Finding    `json:"findings"` // the worst first, then as they were found
	Summary  control.AuditSummary `json:"summary"`
}

func (c *commands) auditCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Look for leaked secrets and open doors; exit 1 for findings",
		Long: "audit looks for the values of your secrets, former and waiting ones too, plain, in base64, hex and URL-encoded, in all that the\n" +
			"engine keeps in the clear (what docker inspect says of containers, images, volumes and networks; how images were made; commands of\n" +
			"execs; arguments of processes; changed files of containers; files in volumes that a container mounts, 256 MiB of each; logs) and in\n" +
			"what lies around on this machine (processes, shell histories, .env files, LaunchAgents, logs, minibot's own files). It checks\n" +
			"permissions, the keeper, published ports, root and privileged services, and who has the engine's socket.\n\n" +
			"It names the place and the secret, never the value, and changes nothing. high: a live value lies where others, or a backup, can read\n" +
			"it. medium: a former value does, or a door stands open. note: known, or another project's. Files inside images, and volumes that no\n" +
			"container mounts, are not searched. Without minibotd it opens the store itself.\n\n" +
			"Exit code 1 for high and medium findings, 0 where there are only notes.",
		Example: "  minibotd audit\n  minibotd audit --json | jq '.findings[] | select(.severity == \"high\")'",
		Args:    commandline.Arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := c.audit(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = c.io.JSON(report)
			} else {
				err = showAudit(c.io, report)
			}
			if err == nil && report.Summary.High+report.Summary.Medium > 0 {
				err = errFindings
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// audit asks the daemon, or searches itself where none runs.
func (c *commands) audit(ctx context.Context) (auditReport, error) {
	paths, err := c.paths()
	if err != nil {
		return auditReport{}, err
	}
	if _, err := os.Stat(paths.Home); errors.Is(err, fs.ErrNotExist) {
		return auditReport{}, hint.Wrap(fmt.Errorf("%w: %s does not exist", secrets.ErrNoStore, paths.Home), "mb-secrets init")
	}
	if err := config.EnsureHome(paths); err != nil {
		return auditReport{}, err
	}
	report := auditReport{Findings: []control.Finding{}}
	heard := false
	c.io.StartClock()
	collect := func(line control.AuditLine) error {
		heard = true
		switch {
		case line.Finding != nil:
			report.Findings = append(report.Findings, *line.Finding)
		case line.Summary != nil:
			report.Summary = *line.Summary
		case console.IsTerminal(c.io.Err):
			c.io.Progress("", line.Progress)
		}
		return nil
	}
	err = (&control.Client{Socket: paths.Socket}).Audit(ctx, collect)
	if errors.Is(err, control.ErrUnreachable) && !heard {
		err = c.auditAlone(ctx, paths, collect)
	}
	if report.Summary.Incomplete == nil {
		report.Summary.Incomplete = []string{}
	}
	slices.SortStableFunc(report.Findings, func(a, b control.Finding) int { return rank(a.Severity) - rank(b.Severity) })
	return report, err
}

// severities, the worst first.
var severities = []control.Severity{control.SeverityHigh, control.SeverityMedium, control.SeverityNote}

func rank(s control.Severity) int {
	if i := slices.Index(severities, s); i >= 0 {
		return i
	}
	return len(severities)
}

// showAudit prints the findings of each severity in columns, with what to do below; once for neighbours with the same advice.
func showAudit(io *console.IO, report auditReport) error {
	style := map[control.Severity]console.Style{control.SeverityHigh: console.Red, control.SeverityMedium: console.Yellow, control.SeverityNote: console.Plain}
	for _, severity := range severities {
		list := slices.DeleteFunc(slices.Clone(report.Findings), func(f control.Finding) bool { return f.Severity != severity })
		if len(list) == 0 {
			continue
		}
		if err := io.Print("%s", console.Paint(io.Out, style[severity], fmt.Sprintf("%s (%d)", severity, len(list)))); err != nil {
			return err
		}
		if err := showRows(io, list); err != nil {
			return err
		}
	}
	s := report.Summary
	for _, what := range s.Incomplete {
		if err := io.Print("not searched: %s", console.Escape(what)); err != nil {
			return err
		}
	}
	verdict := "nothing leaked, no door stands open"
	if s.High+s.Medium > 0 {
		verdict = fmt.Sprintf("%d high, %d medium", s.High, s.Medium)
	}
	if s.Notes > 0 {
		verdict += fmt.Sprintf(", %d to note", s.Notes)
	}
	return io.Print("%s; %.1f MiB in %d places searched", verdict, float64(s.Searched)/(1<<20), s.Places)
}

func showRows(io *console.IO, list []control.Finding) error {
	rows, width := make([][2]string, len(list)), [2]int{}
	for i, f := range list {
		rows[i] = [2]string{console.Escape(f.Place), console.Escape(subject(f))}
		for column, cell := range rows[i] {
			width[column] = max(width[column], utf8.RuneCountInString(cell))
		}
	}
	for i, f := range list {
		line := "  "
		for column, cell := range rows[i] {
			if width[column] > 0 {
				line += cell + strings.Repeat(" ", width[column]-utf8.RuneCountInString(cell)+2)
			}
		}
		if err := io.Print("%s", strings.TrimRight(line+console.Escape(f.Message), " ")); err != nil {
			return err
		}
		if f.Hint == "" || i+1 < len(list) && list[i+1].Hint == f.Hint {
			continue
		}
		if err := io.Print("    %s %s", console.Paint(io.Out, console.Faint, "hint:"), console.Escape(f.Hint)); err != nil {
			return err
		}
	}
	return nil
}

// subject says which value a finding is about: none for an open door.
func subject(f control.Finding) string {
	if f.Secret == "" {
		return ""
	}
	var more []string
	if f.Slot != "" && f.Slot != secrets.Current.String() {
		more = append(more, f.Slot)
	}
	if f.Form != "" && f.Form != "plain" {
		more = append(more, f.Form)
	}
	if len(more) == 0 {
		return string(f.Secret)
	}
	return fmt.Sprintf("%s (%s)", f.Secret, strings.Join(more, ", "))
}
