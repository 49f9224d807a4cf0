// Package audit looks for the live values of secrets where they must not be, and for doors that stand open.
//
// It owns what is searched on this machine (processes, logs, shell histories, files of the user, the installation's own
// files) and turns what the engine shows (package stack) into findings. It guarantees that a finding names place and
// secret and never holds a value or a part of one, that nothing it cannot read is passed over in silence
// ([Summary.Incomplete]), and that it needs the same memory for a small machine and a large one. It changes nothing.
package audit

import (
	"context"
	"fmt"

	"minibot/config"
	"minibot/control"
	"minibot/secrets"
	"minibot/stack"
)

// Secret is one live value to look for.
type Secret struct {
	Name  secrets.Name
	Slot  secrets.Slot
	Value secrets.Value
}

// Engine is what an audit asks of the engine; *stack.Engine implements it.
type Engine interface {
	// Survey shows everything on the engine that a secret might have leaked into.
	Survey(ctx context.Context, visit func(stack.Exhibit) error) error
	// Postures tells how each container runs.
	Postures(ctx context.Context) ([]stack.Posture, error)
}

// Auditor looks for leaks. Its fields are fixed once Run is called.
type Auditor struct {
	Secrets  []Secret
	Paths    config.Paths // the installation
	UserHome string       // the user's home folder
	Engine   Engine       // nil: no engine answers; then a note says that the engine was not searched
	Project  *stack.Project

	machine *machine // of tests; nil for this one
}

// Summary says what an audit covered.
type Summary struct {
	Searched            int64    // bytes
	Places              int      // files, processes, exhibits
	High, Medium, Notes int      // findings
	Incomplete          []string // what could not be read, and why
}

// Run searches everything once. It calls report for each finding as it is found, and progress with a short line for
// each area and with the bytes searched at the end; both from this goroutine. It blocks until all is searched, which takes minutes
// where there is much to read. An error of report, or the end of ctx, ends it. What could not be read is in the Summary, not an error; a lost
// engine too.
func (a *Auditor) Run(ctx context.Context, report func(control.Finding) error, progress func(string)) (Summary, error) {
	r := &run{Auditor: a, machine: thisMachine(), report: report, progress: progress, seen: map[fileID]bool{}, stacks: map[string]container{}}
	if a.machine != nil {
		r.machine = *a.machine
	}
	if err := r.prepare(); err != nil {
		return Summary{}, err
	}
	for _, area := range [...]struct {
		name string
		step func(context.Context) error
	}{
		{"", func(context.Context) error { return r.shortSecrets() }},
		{"permissions", r.permissions},
		{"swap", r.swap},
		{"minibot's own files", r.ownFiles},
		{"minibot's journal", r.journal},
		{"files of the user", r.userFiles},
		{"crash reports", r.crashes},
		{"how containers stand", r.postures},
		{"processes", r.processes},
		{"the engine", r.engine},
	} {
		if area.name != "" {
			progress(area.name)
		}
		if err := area.step(ctx); err != nil {
			return r.summary, err
		}
		if err := ctx.Err(); err != nil {
			return r.summary, err
		}
	}
	if r.unread > 0 {
		r.summary.Incomplete = append(r.summary.Incomplete, fmt.Sprintf("%d more places", r.unread))
	}
	progress(fmt.Sprintf("%d places, %.1f MB searched", r.summary.Places, float64(r.summary.Searched)/1e6))
	return r.summary, nil
}
