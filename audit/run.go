package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"minibot/audit/search"
	"minibot/control"
	"minibot/secrets"
)

// The bounds of what an audit says.
const (
	perPlace      = 20  // findings of one place
	maxIncomplete = 100 // places that could not be read
	maxText       = 400 // bytes of a name or a path that somebody else chose
)

// run is one audit.
type run struct {
	*Auditor
	machine  machine
	searcher *search.Searcher
	searched []Secret // what the searcher's indexes mean
	redactor *secrets.Redactor
	report   func(control.Finding) error
	progress func(string)
	stopped  error // what report said
	summary  Summary
	unread   int // places beyond maxIncomplete
	seen     map[fileID]bool
	stacks   map[string]container // of the project, by the containers' ids
}

// container is what is known about a container of the project.
type container struct{ name, service string }

// place is one thing to search.
type place struct {
	code    string
	name    string
	service string
}

// prepare makes the searcher. A value that two slots of a secret share is looked for once, as the first of them.
func (r *run) prepare() error {
	var values []secrets.Value
	for _, s := range r.Secrets {
		again := false
		for _, other := range r.searched {
			again = again || other.Name == s.Name && other.Value.Equal(s.Value)
		}
		if s.Value.IsZero() || again {
			continue
		}
		r.searched = append(r.searched, s)
		values = append(values, s.Value)
	}
	r.redactor = secrets.NewRedactor(values...)
	var err error
	r.searcher, err = search.New(values...)
	return err
}

// shortSecrets says which values are not looked for as the others are.
func (r *run) shortSecrets() error {
	for _, i := range r.searcher.Short() {
		s := r.searched[i]
		how := "it is looked for as a whole word only, and in no encoding"
		if s.Value.Len() < search.MinWord {
			how = "it is not looked for"
		}
		err := r.found(control.Finding{Code: "short-secret", Severity: control.SeverityNote, Secret: s.Name, Slot: s.Slot.String(), Place: "store",
			Message: fmt.Sprintf("the value has fewer than %d bytes, which occur anywhere by chance: %s", search.MinAnywhere, how),
			Hint:    fmt.Sprintf("choose a longer one: `mb-secrets rotate %s`", s.Name)})
		if err != nil {
			return err
		}
	}
	return nil
}

// found passes a finding on, without a value in it and no longer than bounded.
func (r *run) found(f control.Finding) error {
	f.Place, f.Service = r.text(f.Place), r.text(f.Service)
	f.Message, f.Hint = r.text(f.Message), r.text(f.Hint)
	switch f.Severity {
	case control.SeverityHigh:
		r.summary.High++
	case control.SeverityMedium:
		r.summary.Medium++
	default:
		r.summary.Notes++
	}
	r.stopped = r.report(f)
	return r.stopped
}

// text is text that others may have had a part in: redacted first, then bounded.
func (r *run) text(text string) string {
	text = r.redactor.String(text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// incomplete notes a place that was not searched, or not whole.
func (r *run) incomplete(name string, why error) {
	if len(r.summary.Incomplete) < maxIncomplete {
		r.summary.Incomplete = append(r.summary.Incomplete, r.text(name)+": "+r.text(cause(why).Error()))
		return
	}
	r.unread++
}

// cause is an error without what a file operation adds to it: the place's name stands beside it.
func cause(err error) error {
	var operation *fs.PathError
	if errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

// search looks for every value in body and reports each once. What cannot be read is noted; only an end of ctx, or of report,
// is an error.
func (r *run) search(ctx context.Context, p place, body io.Reader) error {
	r.summary.Places++
	hits := map[int]secrets.Encoding{}
	n, err := r.searcher.Search(ctx, body, func(h search.Hit) error {
		if before, ok := hits[h.Value]; !ok || h.Encoding == secrets.Plain && before != secrets.Plain {
			hits[h.Value] = h.Encoding
		}
		return nil
	})
	r.summary.Searched += n
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.incomplete(p.name, err)
	}
	said := 0
	for i, s := range r.searched {
		encoding, ok := hits[i]
		if !ok {
			continue
		}
		if said++; said > perPlace {
			continue
		}
		if err := r.found(leak(p, s, encoding)); err != nil {
			return err
		}
	}
	if said > perPlace {
		return r.found(control.Finding{Code: p.code, Severity: control.SeverityHigh, Place: p.name, Service: p.service,
			Message: fmt.Sprintf("%d more values are in it", said-perPlace), Hint: codes[p.code].mend})
	}
	return nil
}
