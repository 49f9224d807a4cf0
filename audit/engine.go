package audit

import (
	"cmp"
	"context"
	"strings"

	"minibot/control"
	"minibot/stack"
)

// engine searches what the engine shows, or says that none answers.
func (r *run) engine(ctx context.Context) error {
	if r.Engine == nil {
		return r.found(control.Finding{Code: "engine-not-searched", Severity: control.SeverityNote, Place: "engine",
			Message: "no engine answers: containers, images and volumes were not searched", Hint: "start the engine and run the audit again"})
	}
	last := ""
	err := r.Engine.Survey(ctx, func(x stack.Exhibit) error {
		if area := x.Kind + " of " + x.Object; area != last {
			last = area
			r.progress(r.text(area))
		}
		return r.exhibit(ctx, x)
	})
	if err != nil && ctx.Err() == nil && r.stopped == nil {
		r.incomplete("engine", err)
		return nil
	}
	return err
}

// exhibitCodes are the codes by kinds of exhibits; others are as what an inspect shows.
var exhibitCodes = map[string]string{
	"exec": "secret-in-exec", "process": "secret-in-arguments", "log": "secret-in-container-log", "layer": "secret-in-layer",
	"volume": "secret-in-volume", "image-history": "secret-in-image",
}

func (r *run) exhibit(ctx context.Context, x stack.Exhibit) error {
	name := strings.Join([]string{x.Object, cmp.Or(x.Part, x.Kind)}, ", ")
	if x.Err != nil {
		r.incomplete(name, x.Err)
	}
	if x.Body == nil {
		return nil
	}
	code := cmp.Or(exhibitCodes[x.Kind], "secret-in-inspect")
	if code == "secret-in-inspect" && strings.HasPrefix(x.Object, "image ") {
		code = "secret-in-image"
	}
	return r.search(ctx, place{code, name, x.Service}, x.Body)
}

// postures says which doors of the engine stand open, and learns which containers are the project's.
func (r *run) postures(ctx context.Context) error {
	if r.Engine == nil {
		return nil
	}
	all, err := r.Engine.Postures(ctx)
	if err != nil {
		r.incomplete("how containers stand", err)
		return ctx.Err()
	}
	project := ""
	if r.Project != nil {
		project = r.Project.Name
	}
	for _, p := range all {
		if p.ID != "" && project != "" && p.Project == project {
			r.stacks[p.ID] = container{p.Container, p.Service}
		}
	}
	for _, f := range postureFindings(project, all) {
		if err := r.found(f); err != nil {
			return err
		}
	}
	return nil
}
