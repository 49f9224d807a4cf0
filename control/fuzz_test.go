package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"minibot/secrets"
)

// FuzzHandlers holds that no request makes a handler panic, and that every failure is an Error whose status is the
// one of its code. The backend itself fails in no way but not-found.
func FuzzHandlers(f *testing.F) {
	f.Add("GET", "/v1/status", "", "")
	f.Add("GET", "/v1/secrets/A", "", "")
	f.Add("DELETE", "/v1/secrets/A", "", "")
	f.Add("GET", "/v1/events", "after=1", "")
	f.Add("GET", "/v1/logs", "service=redis&tail=3", "")
	f.Add("POST", "/v1/operations", "", `{"verb":"restart","service":"redis"}`)
	f.Add("POST", "/v1/secrets", "", `{"changes":[{"name":"A","value":"YQ=="},{"name":"B","generate":true}]}`)
	f.Add("POST", "/v1/rotations", "", `{"names":["A","B"],"rollback":true,"by":"ops","no_wait":true}`)
	f.Add("POST", "/v1/rotations", "", `{"all":true,"rehearse":true}`)
	f.Add("GET", "/v1/plan", "name=A&name=B&all=&due=0&rollback=true", "")
	f.Add("GET", "/v1/history", "name=A", "")
	f.Add("POST", "/v1/migrations", "", `{"to":"age","remove":true,"overwrite":true}`)
	f.Add("", "*", "%", "\x00")
	fake := newFake(f)
	stopping := make(chan struct{})
	close(stopping) // a stream that follows ends at once
	a := &api{backend: fake, log: slog.New(slog.DiscardHandler), streams: make(chan struct{}, maxStreams),
		record: func(Event) error { return nil }}
	handler := a.routes(context.Background(), stopping)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if path == "/v1/secrets/PANICS" {
			return
		}
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "x", ContentLength: int64(len(body)),
			Header: http.Header{headerWire: {strconv.Itoa(Wire)}}, Body: io.NopCloser(strings.NewReader(body)),
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code < 400 || w.Header().Get("Content-Type") != "application/json" {
			if w.Code >= 400 {
				t.Errorf("%d without an error: %s", w.Code, w.Body)
			}
			return
		}
		var e Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" {
			t.Fatalf("%d: %s, %v", w.Code, w.Body, err)
		}
		if want := kindOf(e.Code).status; w.Code != want && (w.Code != 404 || e.Code != CodeUsage) {
			t.Errorf("code %s with status %d, want %d", e.Code, w.Code, want)
		}
		if w.Code >= 500 && e.Code != CodeStopping && path != "/v1/secrets/LOCKED" {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
	})
}

// FuzzAnswers holds that whatever a daemon answers, a client neither panics nor hangs nor hands on more than it may, and
// that its errors are short enough to be shown.
func FuzzAnswers(f *testing.F) {
	f.Add(byte(0), "{\"phase\":\"healthy\",\"services\":[{\"name\":\"a\"}]}")
	f.Add(byte(1), "{\"seq\":1,\"kind\":\"exit\"}\n{\"error\":{\"code\":\"failed\",\"message\":\"m\"}}\n")
	f.Add(byte(2), "{\"message\":\"half\"}\n{\"done\":true,\"error\":{\"code\":\"rolled-back\",\"message\":\"m\",\"hint\":\"h\"}}\n")
	f.Add(byte(3), "canary")
	f.Add(byte(4), "line\n")
	f.Add(byte(5), "[{\"id\":\"1\",\"steps\":[{\"step\":\"prove\",\"took_ms\":1e308}]}]")
	f.Add(byte(0x80), "HTTP/1.1 200 OK\r\n"+wireHead+"Transfer-Encoding: chunked\r\nTrailer: Minibot-Error\r\n\r\n0\r\nMinibot-Error: e30=\r\n\r\n")
	f.Add(byte(0x83), "HTTP/1.1 429 X\r\n"+wireHead+"Content-Length: 31\r\n\r\n{\"code\":\"too-many\",\"message\":\"m\"}")
	f.Fuzz(func(t *testing.T, kind byte, body string) {
		text := body
		if kind&0x80 == 0 {
			text = wireAnswer + "Connection: close\r\n\r\n" + body
		}
		near, far := net.Pipe()
		go func() {
			_, _ = far.Read(make([]byte, 4096))
			_, _ = io.WriteString(far, text) // the client may hang up before its end
			_ = far.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c := &Client{dial: func(context.Context) (net.Conn, error) { return near, nil }}
		var err error
		switch kind & 0x7f % 6 {
		case 0:
			_, err = c.Status(ctx)
		case 1:
			err = c.Events(ctx, EventQuery{Follow: true}, func(Event) error { return nil })
		case 2:
			err = c.Operate(ctx, Operation{Verb: VerbReload}, func(Progress) {})
		case 3:
			var v secrets.Value
			if v, err = c.Reveal(ctx, "A"); err == nil && (v.IsZero() || v.Len() > secrets.MaxValueSize) {
				t.Errorf("a value of %d bytes", v.Len())
			}
		case 4:
			err = c.Logs(ctx, "", true, 0, io.Discard)
		case 5:
			_, err = c.History(ctx, "")
		}
		_ = near.Close()
		if ctx.Err() != nil {
			t.Error("it hangs")
		}
		if err != nil && (err.Error() == "" || len(err.Error()) > 2000+len(body)) {
			t.Errorf("%q", err)
		}
		if code := ExitCode(err); (err == nil) != (code == 0) || code < 0 || code > 130 {
			t.Errorf("exit code %d of %v", code, err)
		}
	})
}

// FuzzQuery holds that what is taken from a query is within its bounds.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"after=1&follow=true", "service=redis&tail=3", "name=A", "name=A&name=B&rollback=true", "all=1", "a=%zz;b", "kind=heal&since=2026-01-02T03:04:05.6Z", "tail=-9223372036854775809"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: raw}}
		q, err := parseQuery(r, "after", "follow", "tail", "service", "name", "kind", "since", "until")
		if err != nil && !errors.Is(err, ErrUsage) {
			t.Errorf("%v", err)
		}
		if err == nil && q.service != "" && !validService(q.service) {
			t.Errorf("service %q", q.service)
		}
		if _, nameErr := secrets.ParseName(string(q.name)); err == nil && q.name != "" && nameErr != nil {
			t.Errorf("name %q", q.name)
		}
		if rotation, err := parseRotation(r); err == nil {
			again := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: rotation.query().Encode()}}
			if same, err := parseRotation(again); err != nil || fmt.Sprint(same) != fmt.Sprint(rotation) {
				t.Errorf("%+v became %+v, %v", rotation, same, err)
			}
		}
	})
}

// FuzzTrailer holds that what one side encodes the other one decodes, and that nothing else panics.
func FuzzTrailer(f *testing.F) {
	f.Add("failed", "message", "hint")
	f.Add("e30=", "", "\xff")
	f.Fuzz(func(t *testing.T, code, message, advice string) {
		if e, err := decodeTrailer(code); err == nil && e == nil {
			t.Error("neither an error nor one to show")
		}
		for _, s := range []*string{&code, &message, &advice} {
			*s = strings.ToValidUTF8(*s, "?")
		}
		e, err := decodeTrailer(encodeTrailer(&Error{Code: code, Message: message, HintMsg: advice}))
		if err != nil || e.Code != code || e.Message != message || e.HintMsg != advice {
			t.Errorf("%+v, %v", e, err)
		}
	})
}
