package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"minibot/hint"
	"minibot/secrets"
)

// maxAnswer bounds an answer that is no stream, and maxLine a line of one.
const (
	maxAnswer = 16 << 20
	maxLine   = 1 << 20
)

// Client asks the daemon behind a socket; it is a Backend. Each call is one connection, so a Client needs no closing
// and may be used concurrently. Before it says anything it makes sure that the daemon runs under this user.
//
// Calls block until the answer is whole or ctx ends; then they return ctx's error, and an operation goes on. Failures of
// the daemon come back as *[Error]. One that nobody answers is CodeUnreachable, with how to start the daemon as its hint.
type Client struct {
	Socket string

	wire int // 0 means Wire; tests speak another one
	dial func(ctx context.Context) (net.Conn, error)
	peer func(net.Conn) (peer, error) // nil is peerOf, as in Server
}

var _ Backend = (*Client)(nil)

// Status implements Backend.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.get(ctx, "/v1/status", &s)
}

// Secrets implements Backend.
func (c *Client) Secrets(ctx context.Context) ([]Secret, error) {
	var list []Secret
	return list, c.get(ctx, "/v1/secrets", &list)
}

// Reveal implements Backend.
func (c *Client) Reveal(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/secrets/"+url.PathEscape(string(name)), nil)
	if err != nil {
		return secrets.Value{}, err
	}
	defer closeBody(resp)
	plain, err := io.ReadAll(io.LimitReader(resp.Body, secrets.MaxValueSize+1))
	if err != nil {
		return secrets.Value{}, c.lost(ctx, err)
	}
	value, err := secrets.NewValue(plain)
	if err != nil {
		return secrets.Value{}, fmt.Errorf("read %s from the daemon: %w", name, err)
	}
	return value, nil
}

// Delete implements Backend.
func (c *Client) Delete(ctx context.Context, name secrets.Name) error {
	resp, err := c.do(ctx, http.MethodDelete, "/v1/secrets/"+url.PathEscape(string(name)), nil)
	if err == nil {
		closeBody(resp)
	}
	return err
}

// Operate implements Backend. report may be nil; it is called from this goroutine, line by line, as they arrive.
func (c *Client) Operate(ctx context.Context, op Operation, report func(Progress)) error {
	return c.run(ctx, "/v1/operations", op, report)
}

// Change implements Backend. report is as in Operate.
func (c *Client) Change(ctx context.Context, order ChangeOrder, report func(Progress)) error {
	return c.run(ctx, "/v1/secrets", order, report)
}

// Rotate implements Backend. report is as in Operate.
func (c *Client) Rotate(ctx context.Context, r Rotation, report func(Progress)) error {
	return c.run(ctx, "/v1/rotations", r, report)
}

// Plan implements Backend. Rehearse and Order are not asked for.
func (c *Client) Plan(ctx context.Context, r Rotation) (Plan, error) {
	var plan Plan
	return plan, c.get(ctx, "/v1/plan?"+r.query().Encode(), &plan)
}

// History implements Backend.
func (c *Client) History(ctx context.Context, name secrets.Name) ([]Receipt, error) {
	var receipts []Receipt
	return receipts, c.get(ctx, "/v1/history?"+url.Values{"name": {string(name)}}.Encode(), &receipts)
}

// Migrate implements Backend. report is as in Operate.
func (c *Client) Migrate(ctx context.Context, m Migration, report func(Progress)) error {
	return c.run(ctx, "/v1/migrations", m, report)
}

// Events implements Backend.
func (c *Client) Events(ctx context.Context, q EventQuery, yield func(Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events?"+q.query().Encode(), nil)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	lines := newLines(resp.Body)
	for {
		var line eventLine
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return c.lost(ctx, err)
		}
		if line.Error != nil {
			return line.Error
		}
		if err := yield(line.Event); err != nil {
			return err
		}
	}
}

// Logs implements Backend.
func (c *Client) Logs(ctx context.Context, service string, follow bool, tail int, w io.Writer) error {
	q := url.Values{"service": {service}, "follow": {strconv.FormatBool(follow)}, "tail": {strconv.Itoa(tail)}}
	resp, err := c.do(ctx, http.MethodGet, "/v1/logs?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	to := &target{w: w}
	if _, err := io.Copy(to, resp.Body); to.err != nil {
		return fmt.Errorf("write the log: %w", to.err)
	} else if err != nil {
		return c.lost(ctx, err)
	}
	if t := resp.Trailer.Get(trailerError); t != "" {
		e, err := decodeTrailer(t)
		if err != nil {
			return c.lost(ctx, err)
		}
		return e
	}
	return nil
}

// target tells a failure to write from a failure to read.
type target struct {
	w   io.Writer
	err error
}

func (t *target) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	t.err = err
	return n, err
}

// get asks for one JSON answer.
func (c *Client) get(ctx context.Context, path string, into any) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return c.lost(ctx, err)
	}
	return nil
}

// run posts body and follows the progress until the line that says it is done.
func (c *Client) run(ctx context.Context, path string, body any, report func(Progress)) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPost, path, encoded)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	lines := newLines(resp.Body)
	for {
		var p Progress
		if err := lines.Decode(&p); err != nil {
			if ctx.Err() != nil {
				return hint.Wrap(ctx.Err(), "the operation goes on; see `minibotd status`")
			}
			return c.lost(ctx, err)
		}
		if p.Done {
			if p.Error != nil {
				return p.Error
			}
			return nil
		}
		if report != nil {
			report(p)
		}
	}
}

// do sends one request and returns an answer of status 200. The error is ctx's, or an *Error.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://minibotd"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	wire := c.wire
	if wire == 0 {
		wire = Wire
	}
	introduce(req.Header, wire, program())
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) }}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	fail := func(err error) (*http.Response, error) {
		closeBody(resp)
		return nil, err
	}
	err = checkWire(program(), strconv.Itoa(wire), resp.Header.Get(headerVersion), resp.Header.Get(headerWire))
	if err != nil {
		return fail(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	e := new(Error)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(e); err != nil || e.Code == "" {
		return fail(&Error{Code: CodeFailed, Message: fmt.Sprintf("minibotd answered %s without a reason", resp.Status), cause: err})
	}
	return fail(e)
}

// connect dials the socket and makes sure that who listens there may know secrets.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	if c.dial != nil {
		return c.dial(ctx)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return nil, err
	}
	ask := c.peer
	if ask == nil {
		ask = peerOf
	}
	p, err := ask(conn)
	if err == nil && p.uid != os.Geteuid() {
		err = &Error{
			Code:    CodeUnreachable,
			Message: fmt.Sprintf("the daemon on %s runs as uid %d, not as %d", c.Socket, p.uid, os.Geteuid()),
			HintMsg: "run this as the user who runs minibotd",
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// unreachable explains why no answer came.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	advice := "minibotd is not running: start it with `minibotd run` or `" + startCommand() + "`"
	switch {
	case errors.Is(err, fs.ErrPermission):
		advice = "the socket belongs to another user: run this as the user who runs minibotd"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		advice = "minibotd closed the connection: look at its log"
	}
	return &Error{Code: CodeUnreachable, Message: "cannot reach minibotd: " + hint.Cut(err.Error(), maxQuoted), HintMsg: advice, cause: err}
}

// maxQuoted bounds, in bytes, what is told of a failed call: net/http quotes what it was answered, whoever listens there.
const maxQuoted = 1000

// lost explains that an answer broke off.
func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{
		Code:    CodeUnreachable,
		Message: "minibotd went away in the middle of its answer: " + hint.Cut(err.Error(), maxQuoted),
		HintMsg: "what became of it is visible with `minibotd status`",
		cause:   err,
	}
}

func closeBody(resp *http.Response) { _ = resp.Body.Close() } // closes the connection; the answer was read or is not wanted
