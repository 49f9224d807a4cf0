package control

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
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
