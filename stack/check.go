package stack

import (
	"context"
	"errors"
	"os"
	"strings"

	"minibot/hint"
)

// Check returns everything that is to be mended about a compose file: what [Lint] finds, and why it cannot be loaded.
// AllowExposed and Exposed are of no consequence. It needs no engine and no value of a secret. The error, a [*LoadError], says that
// there is no such file.
func Check(ctx context.Context, o LoadOptions) ([]Finding, error) {
	if _, err := os.Stat(o.File); err != nil {
		return nil, &LoadError{File: o.File, Err: cause(err)}
	}
	findings, err := Lint(ctx, o)
	if err == nil {
		o.AllowExposed, o.Exposed = true, nil
		_, err = Load(ctx, o)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		findings = append(findings, faultFinding(err))
	}
	return findings, nil
}

// faultFinding is a load's error as a finding.
func faultFinding(err error) Finding {
	f := Finding{Code: CodeInvalid, Message: err.Error()}
	var located *LoadError
	if errors.As(err, &located) {
		f.File, f.Line, f.Path, f.Message = located.File, located.Line, located.Path, located.Err.Error()
	}
	if errors.Is(err, errTarget) {
		f.Code = CodeTargetOutside
	}
	if steps := strings.Split(f.Path, "."); len(steps) > 1 && steps[0] == "services" {
		f.Service = steps[1]
	}
	if advice := hint.Of(err); advice != "" && advice != mendHint {
		f.Message += "; " + advice
	}
	f.Path, f.Service, f.Message = printable(f.Path), printable(f.Service), printable(f.Message)
	return f
}
