package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"minibot/secrets"
)

// Severity says how bad a [Finding] is.
type Severity string

// The severities. High and medium ones make an audit fail; a note is worth knowing and no more.
const (
	SeverityHigh   Severity = "high"   // a live value lies where others, or a backup, can read it
	SeverityMedium Severity = "medium" // a former value does, or a door stands open
	SeverityNote   Severity = "note"   // known and accepted, or not to be told from here
)

// Finding is one leak or weakness that an audit found. It never holds a value, nor a part of one.
type Finding struct {
	Code     string       `json:"code"` // such as "exposed-secret"; stable, for scripts
	Severity Severity     `json:"severity"`
	Secret   secrets.Name `json:"secret,omitempty"`
	Slot     string       `json:"slot,omitempty"`    // which of the secret's values: current, pending, previous
	Form     string       `json:"form,omitempty"`    // how it is written: plain, base64, hex, url
	Place    string       `json:"place"`             // such as "container minibot-redis, Config.Env[2]" or a file's path
	Service  string       `json:"service,omitempty"` // of the project
	Message  string       `json:"message"`
	Hint     string       `json:"hint,omitempty"` // what to do, with the command
}

// AuditSummary says what an audit covered and found.
type AuditSummary struct {
	Searched   int64    `json:"searched"`   // bytes
	Places     int      `json:"places"`     // files, processes, exhibits of the engine
	High       int      `json:"high"`       // findings
	Medium     int      `json:"medium"`     // findings
	Notes      int      `json:"notes"`      // findings
	Incomplete []string `json:"incomplete"` // what could not be read, and why
}

// AuditLine is one line of GET /v1/audit. Exactly one of its fields is set. The last line is the Summary, or an Error.
type AuditLine struct {
	Progress string        `json:"progress,omitempty"` // what is being searched
	Finding  *Finding      `json:"finding,omitempty"`
	Summary  *AuditSummary `json:"summary,omitempty"`
	Error    *Error        `json:"error,omitempty"`
}

// AuditBackend looks for leaks.
type AuditBackend interface {
	// Audit searches everything once. It reports each finding as it is found, what it is at meanwhile, and the Summary
	// last; Error is the server's to set. It ends with report's error, and with ctx, which is the caller's: it changes
	// nothing. While another one runs it fails with ErrBusy.
	Audit(ctx context.Context, report func(AuditLine) error) error
}

// audit sends what an audit finds. An error that ends it is a line of its own.
func (a *api) audit(w http.ResponseWriter, r *http.Request, stopping <-chan struct{}) {
	if _, err := parseQuery(r); err != nil {
		a.answer(w, nil, err)
		return
	}
	ctx, cancel := whileServing(r.Context(), true, stopping)
	defer cancel()
	out := a.lines(w)
	send := func(line AuditLine) error {
		_ = out.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // in-memory writers know none
		return out.send(line)
	}
	err := a.backend.Audit(ctx, send)
	if err = reasonOf(ctx, err); err != nil && !hasLeft(r.Context()) {
		a.finish(w, err, func(e *Error) error { return send(AuditLine{Error: e}) })
	}
}

// Audit implements Backend. report is called from this goroutine, line by line, as they arrive.
func (c *Client) Audit(ctx context.Context, report func(AuditLine) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/audit", nil)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	lines := newLines(resp.Body)
	for whole := false; ; {
		var line AuditLine
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF) && whole:
			return nil
		case err != nil:
			return c.lost(ctx, err)
		case line.Error != nil:
			return line.Error
		}
		whole = line.Summary != nil
		if err := report(line); err != nil {
			return err
		}
	}
}
