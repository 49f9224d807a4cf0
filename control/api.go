package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// api answers the requests of one Serve.
type api struct {
	backend Backend
	log     *slog.Logger
	redact  *secrets.Redaction
	record  func(Event) error // see Server
	running gate              // requests and operations
	broken  func()            // ends the server, which something unexpected befell
	streams chan struct{}     // holds a token for each stream of events or logs
	reveals reveals
}

// routes returns the handler. life ends when operations must; stopping closes when streams that follow must.
func (a *api) routes(life context.Context, stopping <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := a.backend.Status(r.Context())
		a.answer(w, status, reasonOf(r.Context(), err))
	})
	mux.HandleFunc("GET /v1/secrets", func(w http.ResponseWriter, r *http.Request) {
		list, err := a.backend.Secrets(r.Context())
		a.answer(w, list, reasonOf(r.Context(), err))
	})
	mux.HandleFunc("GET /v1/secrets/{name}", a.reveal)
	mux.HandleFunc("DELETE /v1/secrets/{name}", func(w http.ResponseWriter, r *http.Request) {
		name, err := secrets.ParseName(r.PathValue("name"))
		if err == nil {
			err = a.backend.Delete(life, name)
		}
		a.answer(w, struct{}{}, err)
	})
	mux.HandleFunc("POST /v1/operations", func(w http.ResponseWriter, r *http.Request) { a.operate(life, w, r) })
	mux.HandleFunc("POST /v1/secrets", func(w http.ResponseWriter, r *http.Request) { a.change(life, w, r) })
	mux.HandleFunc("POST /v1/rotations", func(w http.ResponseWriter, r *http.Request) { a.rotate(life, w, r) })
	mux.HandleFunc("GET /v1/plan", a.plan)
	mux.HandleFunc("GET /v1/history", a.history)
	mux.HandleFunc("POST /v1/migrations", func(w http.ResponseWriter, r *http.Request) { a.migrate(life, w, r) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { a.events(w, r, stopping) })
	mux.HandleFunc("GET /v1/audit", func(w http.ResponseWriter, r *http.Request) { a.audit(w, r, stopping) })
	mux.HandleFunc("GET /v1/logs", func(w http.ResponseWriter, r *http.Request) { a.logs(w, r, stopping) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		a.fail(w, http.StatusNotFound, &Error{Code: CodeUsage, Message: "there is no such call"})
	})
	return a.guard(mux)
}

// guard does for every request what no handler may forget: count it, compare versions, catch panics.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		introduce(w.Header(), Wire, program())
		w.Header().Set("Cache-Control", "no-store")
		if !a.running.enter() {
			a.answer(w, nil, ErrStopping)
			return
		}
		defer a.running.leave()
		client := r.Header.Get(headerVersion)
		if err := checkWire(client, r.Header.Get(headerWire), program(), fmt.Sprint(Wire)); err != nil {
			a.answer(w, nil, err)
			return
		}
		if r.Method != http.MethodPost && r.ContentLength != 0 {
			w.Header().Set("Connection", "close") // what follows is not read
			a.answer(w, nil, fmt.Errorf("%w: %s takes no body", ErrUsage, r.Method))
			return
		}
		if r.Method == http.MethodPost {
			r.Body = wholeBody{http.MaxBytesReader(w, r.Body, maxBody), func() bool { return begun(r.Context()) }}
		} else if !begun(r.Context()) {
			panic(http.ErrAbortHandler) // nobody is there any more
		}
		tracked := &tracker{ResponseWriter: w, conn: connOf(r.Context())}
		if err := a.protect(func() error { next.ServeHTTP(tracked, r); return nil }); err != nil {
			if tracked.wrote {
				panic(http.ErrAbortHandler) // the answer breaks off, so the caller sees that it is not whole
			}
			a.answer(w, nil, err)
		}
	})
}

// protect calls f, makes a panic of it an error, and has the server end. What was panicked with may hold anything, so
// only its type is logged, or its text when the runtime made it; the stack holds addresses only.
func (a *api) protect(f func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		what := fmt.Sprintf("%T", p)
		if r, ok := p.(runtime.Error); ok {
			what = r.Error()
		}
		a.log.Error("a request failed in an unexpected way", "panic", what, "stack", string(debug.Stack()))
		a.broken()
		err = hint.Wrap(errInternal, "look at the daemon's log and report what stands there")
	}()
	return f()
}

// answer sends v, or err with the status of what it wraps.
func (a *api) answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		e := AsError(err)
		a.fail(w, kindOf(e.Code).status, e)
		return
	}
	body, err := json.Marshal(redacted(a.redact, v))
	if err != nil {
		a.fail(w, http.StatusInternalServerError, AsError(fmt.Errorf("encode the answer: %w", err)))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	a.write(w, body)
}

func (a *api) fail(w http.ResponseWriter, status int, e *Error) {
	body, err := json.Marshal(redacted(a.redact, e))
	if err != nil { // strings alone always encode
		a.log.Error("an error could not be encoded", "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	a.write(w, body)
}

func (a *api) write(w http.ResponseWriter, body []byte) {
	if t, ok := w.(*tracker); ok {
		t.conn.rest()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // in-memory writers know none
	if _, err := w.Write(body); err != nil {
		a.log.Debug("the caller left before its answer", "err", err)
	}
}

func (a *api) operate(life context.Context, w http.ResponseWriter, r *http.Request) {
	var op Operation
	err := decode(r.Body, &op)
	if err == nil {
		err = op.check()
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	op.Reason = a.redact.Text(op.Reason) // it is kept
	a.stream(life, w, r, string(op.Verb), func(ctx context.Context, report func(Progress)) error {
		return a.backend.Operate(ctx, op, report)
	})
}

func (a *api) migrate(life context.Context, w http.ResponseWriter, r *http.Request) {
	var m Migration
	err := decode(r.Body, &m)
	if err == nil && !validService(m.To) {
		err = fmt.Errorf("%w: a migration wants a kind of store", ErrUsage)
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	a.stream(life, w, r, "migration", func(ctx context.Context, report func(Progress)) error {
		return a.backend.Migrate(ctx, m, report)
	})
}

// stream runs op on a goroutine of its own under life, and passes its progress on for as long as the caller reads.
func (a *api) stream(life context.Context, w http.ResponseWriter, r *http.Request, name string,
	op func(context.Context, func(Progress)) error) {
	if !a.running.enter() {
		a.answer(w, nil, ErrStopping)
		return
	}
	f, left := newFeed(), r.Context()
	go func() {
		defer a.running.leave()
		err := a.protect(func() error { return op(life, f.report) })
		if err != nil && hasLeft(left) {
			a.log.Warn("an operation failed after its caller left", "operation", name, "err", err)
		}
		f.finish(err)
	}()
	out := a.lines(w)
	for {
		lines := f.next(left)
		if len(lines) == 0 && !hasLeft(left) { // the daemon stops: what the operation comes to is still to be told
			lines = f.next(context.WithoutCancel(left))
		}
		for _, p := range lines {
			_ = out.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // in-memory writers know none
			if err := out.send(p); err != nil {
				a.log.Debug("the caller left; the operation goes on", "operation", name, "err", err)
				return
			}
		}
		if len(lines) == 0 || lines[len(lines)-1].Done {
			return
		}
	}
}

// enterStream takes one of the places of streams, or returns an error that wraps ErrTooMany.
func (a *api) enterStream() error {
	select {
	case a.streams <- struct{}{}:
		return nil
	default:
		return hint.Wrap(fmt.Errorf("%w: %d streams of events and logs are open", ErrTooMany, cap(a.streams)), "end some of them")
	}
}

// events sends the event log. An error that ends it is a line of its own.
func (a *api) events(w http.ResponseWriter, r *http.Request, stopping <-chan struct{}) {
	q, err := parseQuery(r, "after", "follow", "since", "until", "service", "kind")
	if err == nil && q.follow && !q.until.IsZero() {
		err = fmt.Errorf("%w: following has no end", ErrUsage)
	}
	if err == nil {
		err = a.enterStream()
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	defer func() { <-a.streams }()
	ctx, cancel := whileServing(r.Context(), q.follow, stopping)
	defer cancel()
	out := a.lines(w)
	want := EventQuery{After: q.after, Follow: q.follow, Since: q.since, Until: q.until, Service: q.service, Kind: q.kind}
	err = a.backend.Events(ctx, want, func(e Event) error { return out.send(eventLine{Event: e}) })
	if err = reasonOf(ctx, err); err != nil && !hasLeft(r.Context()) {
		a.finish(w, err, func(e *Error) error { return out.send(eventLine{Error: e}) })
	}
}

// logs sends the services' logs, redacted and otherwise as they are. An error that ends them is a trailer.
func (a *api) logs(w http.ResponseWriter, r *http.Request, stopping <-chan struct{}) {
	q, err := parseQuery(r, "service", "follow", "tail")
	if err == nil {
		err = a.enterStream()
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	defer func() { <-a.streams }()
	ctx, cancel := whileServing(r.Context(), q.follow, stopping)
	defer cancel()
	out := a.lines(w)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Trailer", trailerError)
	clean := a.redact.Writer(out)
	err = a.backend.Logs(ctx, q.service, q.follow, q.tail, clean)
	err = errors.Join(err, clean.Close())
	if err = reasonOf(ctx, err); err != nil && !hasLeft(r.Context()) {
		a.finish(w, err, func(e *Error) error {
			w.Header().Set(trailerError, encodeTrailer(redacted(a.redact, e)))
			return nil
		})
	}
}

// finish tells the caller of a stream why it ended: by the status while nothing was sent, by last otherwise.
func (a *api) finish(w http.ResponseWriter, err error, last func(*Error) error) {
	if t, ok := w.(*tracker); ok && !t.wrote {
		w.Header().Del("Trailer")
		a.answer(w, nil, err)
		return
	}
	if err := last(AsError(err)); err != nil {
		a.log.Debug("the caller left before the end of its stream", "err", err)
	}
}

// whileServing returns a context that also ends, with ErrStopping, when the daemon stops, if the stream follows.
func whileServing(parent context.Context, follow bool, stopping <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	if follow {
		go func() {
			select {
			case <-stopping:
				cancel(ErrStopping)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// hasLeft says whether a request's context ended because its caller is gone, not because the daemon stops.
func hasLeft(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrStopping)
}

// reasonOf replaces "context canceled", and silence, by what cancelled it.
func reasonOf(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return context.Cause(ctx)
	}
	return err
}
