package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/console"
	"minibot/control"
	"minibot/plan"
	"minibot/secrets"
)

// showPlan prints a plan: the secrets, the steps in their order, and what is left to a person.
func (a *app) showPlan(p control.Plan, asJSON bool) error {
	if asJSON {
		return a.io.JSON(p)
	}
	now := time.Now()
	rows := make([][]string, 0, len(p.Secrets))
	for _, s := range p.Secrets {
		age := "-"
		if s.Changed != nil {
			age = console.Age(now.Sub(*s.Changed))
		}
		rows = append(rows, []string{s.Name, age, plan.Due(control.Secret{Due: s.Due, Age: s.Age}, now), s.How})
	}
	if err := a.io.Table([]string{"SECRET", "AGE", "DUE", "HOW"}, rows); err != nil {
		return err
	}
	if len(p.Steps) > 0 {
		if err := a.showSteps(p); err != nil {
			return err
		}
	}
	for _, note := range p.Notes {
		if err := a.io.Print("%s", console.Escape(note)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showSteps(p control.Plan) error {
	if err := a.io.Print(""); err != nil {
		return err
	}
	rows := make([][]string, 0, len(p.Steps))
	for _, s := range p.Steps {
		rows = append(rows, []string{s.Step, cmp.Or(s.Secret, "-"), cmp.Or(s.Service, "-"), took(s.LastMS), s.Effect})
	}
	if err := a.io.Table([]string{"STEP", "SECRET", "SERVICE", "LAST", "EFFECT"}, rows); err != nil {
		return err
	}
	if p.LastTookMS > 0 {
		return a.io.Print("it took %s last time", took(p.LastTookMS))
	}
	return nil
}

// took says a duration in milliseconds for a person; "-" for none.
func took(ms float64) string {
	switch {
	case ms <= 0:
		return "-"
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", max(ms, 1))
	case ms < 100_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.0f min", ms/60_000)
}

func (a *app) historyCommand() *cobra.Command {
	var asJSON, steps bool
	cmd := &cobra.Command{
		Use:   "history [NAME]",
		Short: "Show what was changed: when, by whom, how long it took, how it ended",
		Long: "history shows the receipt of every change that minibotd carried out, of one secret or of all, the newest last; never a\n" +
			"value. What is stored while no minibotd runs has one once minibotd has brought it into force. Outcomes: done, rolled-back\n" +
			"(everything is as it was), unfinished (it goes on, or the next start carries it on).",
		Example:           "  mb-secrets history\n  mb-secrets history POSTGRES_PASSWORD --steps\n  mb-secrets history --json",
		Annotations:       commandline.TakesValue,
		Args:              commandline.Arguments(0, 1, "at most one NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := parseNames(args)
			if err != nil {
				return err
			}
			var name secrets.Name
			if len(names) > 0 {
				name = names[0]
			}
			return a.history(cmd.Context(), name, asJSON, steps)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with every step")
	cmd.Flags().BoolVar(&steps, "steps", false, "show every step of each change")
	return cmd
}

func (a *app) history(ctx context.Context, name secrets.Name, asJSON, steps bool) error {
	backend, _, err := a.backend(ctx)
	if err != nil {
		return err
	}
	receipts, err := backend.History(ctx, name)
	if err != nil {
		return err
	}
	if asJSON {
		return a.io.JSON(receipts)
	}
	var rows [][]string
	for _, r := range receipts {
		rows = append(rows, []string{r.Began.Local().Format(time.DateTime), r.Kind, strings.Join(r.Secrets, ", "), cmp.Or(r.By, "-"),
			took(r.TookMS), strings.TrimSuffix(r.Outcome+": "+r.Reason, ": ")})
		if !steps {
			continue
		}
		for _, s := range r.Steps {
			rows = append(rows, []string{"", "  " + s.Step, cmp.Or(s.Secret, "-"), cmp.Or(s.Service, "-"), took(s.TookMS), ""})
		}
	}
	if err := a.io.Table([]string{"WHEN", "KIND", "SECRETS", "BY", "TOOK", "OUTCOME"}, rows); err != nil {
		return err
	}
	for _, r := range receipts {
		if r.Hint != "" {
			a.io.Say("%s: %s", r.ID, console.Escape(r.Hint))
		}
	}
	return nil
}
