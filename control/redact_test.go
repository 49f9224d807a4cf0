package control

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

const leaked = "canary/LEAKED+7f3a"

func learnt(t testing.TB, values ...string) *secrets.Redaction {
	t.Helper()
	r := &secrets.Redaction{}
	for _, plain := range values {
		v, err := secrets.NewValue([]byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		r.Learn(v)
	}
	return r
}

// leak puts the canary into every string of what a pointer points at, makes lists of one, and follows pointers.
func leak(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x " + leaked)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		leak(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(leaked))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		leak(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		leak(key)
		leak(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				leak(v.Field(i))
			}
		}
	}
}

func leaking[T any]() T {
	var v T
	leak(reflect.ValueOf(&v).Elem())
	return v
}

// leaky is a backend that leaks wherever it can: in answers, in reports, and in errors when fails is set.
type leaky struct{ fails bool }

func (l leaky) err() error {
	if !l.fails {
		return nil
	}
	return hint.Wrap(errors.New("the engine says "+leaked), "try %s", leaked)
}

func (l leaky) reports(report func(Progress)) error {
	report(leaking[Progress]())
	return l.err()
}

func (l leaky) Status(context.Context) (Status, error)    { return leaking[Status](), l.err() }
func (l leaky) Secrets(context.Context) ([]Secret, error) { return leaking[[]Secret](), l.err() }
func (l leaky) Delete(context.Context, secrets.Name) error {
	return l.err()
}
func (l leaky) Plan(context.Context, Rotation) (Plan, error) { return leaking[Plan](), l.err() }
func (l leaky) History(context.Context, secrets.Name) ([]Receipt, error) {
	return leaking[[]Receipt](), l.err()
}
func (l leaky) Reveal(context.Context, secrets.Name) (secrets.Value, error) {
	v, err := secrets.NewValue([]byte(leaked))
	return v, errors.Join(err, l.err())
}
func (l leaky) Operate(_ context.Context, _ Operation, report func(Progress)) error {
	return l.reports(report)
}
func (l leaky) Change(_ context.Context, _ ChangeOrder, report func(Progress)) error {
	return l.reports(report)
}
func (l leaky) Rotate(_ context.Context, _ Rotation, report func(Progress)) error {
	return l.reports(report)
}
func (l leaky) Migrate(_ context.Context, _ Migration, report func(Progress)) error {
	return l.reports(report)
}
func (l leaky) Events(_ context.Context, _ EventQuery, yield func(Event) error) error {
	return errors.Join(yield(leaking[Event]()), l.err())
}
func (l leaky) Audit(_ context.Context, report func(AuditLine) error) error {
	return errors.Join(report(leaking[AuditLine]()), l.err())
}
func (l leaky) Logs(_ context.Context, _ string, _ bool, _ int, w io.Writer) error {
	for _, piece := range []string{"redis | ", leaked[:7], leaked[7:] + "\n", base64.StdEncoding.EncodeToString([]byte(leaked)), "\nend " + leaked} {
		if _, err := io.WriteString(w, piece); err != nil {
			return err
		}
	}
	return l.err()
}

// shows reports whether text holds the canary in the forms in which an answer could.
func shows(text string) bool {
	for _, form := range []string{leaked, "LEAKED", base64.StdEncoding.EncodeToString([]byte(leaked))[:20], hex.EncodeToString([]byte(leaked))} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// patterns finds every route that a file of this package registers.
func patterns(t *testing.T) (found []string) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "HandleFunc" && f.Sel.Name != "Handle" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Fatal("a route's pattern is no literal: this test cannot see it")
			}
			pattern, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pattern)
			return true
		})
	}
	return found
}

// requests has one for each route: query or body.
var requests = map[string]string{
	"GET /v1/status":            "",
	"GET /v1/secrets":           "",
	"GET /v1/secrets/{name}":    "",
	"DELETE /v1/secrets/{name}": "",
	"POST /v1/operations":       `{"verb":"restart","service":"redis"}`,
	"POST /v1/secrets":          `{"changes":[{"name":"A","generate":true}]}`,
	"POST /v1/rotations":        `{"names":["A"]}`,
	"GET /v1/plan":              "name=A",
	"GET /v1/history":           "name=A",
	"POST /v1/migrations":       `{"to":"age"}`,
	"GET /v1/events":            "after=0",
	"GET /v1/audit":             "",
	"GET /v1/logs":              "service=redis",
	"/":                         "",
}

const revealing = "GET /v1/secrets/{name}" // the one that shows a value

// TestNoRouteShowsAValueButTheOneThatReveals asks every route of a backend that leaks whatever it can.
func TestNoRouteShowsAValueButTheOneThatReveals(t *testing.T) {
	all := patterns(t)
	if len(all) < len(requests) {
		t.Errorf("only these routes were found: %v", all)
	}
	for _, pattern := range all {
		given, ok := requests[pattern]
		if !ok {
			t.Errorf("no request is known for the route %q: add one, so that this test sees what it shows", pattern)
			continue
		}
		for _, fails := range []bool{false, true} {
			t.Run(strings.NewReplacer(" ", "_", "/", "_").Replace(pattern)+map[bool]string{true: "_failing"}[fails], func(t *testing.T) {
				var log bytes.Buffer
				redaction := learnt(t, leaked)
				w := ask(t, pattern, given, &Server{Backend: leaky{fails}, Redact: redaction,
					Logger: slog.New(slog.NewTextHandler(redaction.Writer(&log), &slog.HandlerOptions{Level: slog.LevelDebug}))})
				text := w.Body.String() + log.String()
				for key, values := range w.Header() {
					for _, v := range values {
						raw, _ := base64.StdEncoding.DecodeString(v) // a trailer is
						text += key + v + string(raw)
					}
				}
				if want := pattern == revealing && !fails; shows(text) != want {
					t.Errorf("the answer shows the value: %v\n%s", !want, text)
				}
				if fails && pattern != "/" && !strings.Contains(text, "[redacted]") {
					t.Errorf("the backend was not asked: %s", text)
				}
				if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
					t.Errorf("no valid JSON: %s", w.Body)
				}
			})
		}
	}
}

// ask sends one request through all that a server's handlers pass.
func ask(t *testing.T, pattern, given string, s *Server) *httptest.ResponseRecorder {
	t.Helper()
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		method, path = http.MethodGet, "/nothing/here"
	}
	body := ""
	if method == http.MethodPost {
		body = given
	} else {
		path += "?" + given
	}
	r := httptest.NewRequestWithContext(t.Context(), method, strings.ReplaceAll(path, "{name}", "A"), strings.NewReader(body))
	r.Header.Set(headerWire, strconv.Itoa(Wire))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	w := httptest.NewRecorder()
	a := &api{backend: s.Backend, log: s.Logger, redact: s.Redact, record: func(Event) error { return nil },
		broken: func() { t.Error("a handler panicked") }, streams: make(chan struct{}, maxStreams)}
	a.routes(t.Context(), nil).ServeHTTP(w, r)
	return w
}

func TestASillyValueBreaksNoAnswer(t *testing.T) {
	redaction := learnt(t, "name", "healthy", "redis-state", "MY_KEY", "failed", "message", "true", "2026", "running")
	due := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	before := Status{Phase: PhaseHealthy, Reason: "redis is healthy, its name is MY_KEY", Services: []Service{{Name: "redis", State: "running", Health: "healthy",
		Secrets: []string{"MY_KEY"}}}, Secrets: []Secret{{Name: "MY_KEY", Set: true, Due: &due, Age: AgeOK}}}
	after := redacted(redaction, before)
	want := before
	want.Reason = "redis is [redacted], its [redacted] is [redacted]"
	if !reflect.DeepEqual(after, want) {
		t.Errorf("got %+v", after)
	}
	if before.Reason != "redis is healthy, its name is MY_KEY" {
		t.Error("the original changed")
	}
	if e := redacted(redaction, AsError(hint.Wrap(ErrRolledBack, "so failed"))); e.Code != CodeRolledBack || !errors.Is(e, ErrRolledBack) || e.HintMsg != "so [redacted]" {
		t.Errorf("got %+v", e)
	}
	body, err := json.Marshal(after)
	var decoded Status
	if err = errors.Join(err, json.Unmarshal(body, &decoded)); err != nil || !reflect.DeepEqual(decoded.Secrets, before.Secrets) {
		t.Errorf("%v: %s", err, body)
	}
}

func TestRedactedCopiesDeeply(t *testing.T) {
	type inner struct{ Text string }
	type outer struct {
		List  []inner
		Map   map[string]any
		Array [1]string
		Any   any
		None  *inner
		Some  *inner
		when  time.Time
	}
	before := outer{List: []inner{{leaked}}, Map: map[string]any{leaked: []string{leaked}}, Array: [1]string{leaked}, Any: &inner{leaked}, Some: &inner{leaked}, when: time.Unix(1, 0)}
	after := redacted(learnt(t, leaked), before)
	want := outer{List: []inner{{"[redacted]"}}, Map: map[string]any{"[redacted]": []string{"[redacted]"}}, Array: [1]string{"[redacted]"},
		Any: &inner{"[redacted]"}, Some: &inner{"[redacted]"}, when: time.Unix(1, 0)}
	if !reflect.DeepEqual(after, want) {
		t.Errorf("got %+v", after)
	}
	if before.List[0].Text != leaked || before.Some.Text != leaked || before.Array[0] != leaked {
		t.Error("the original changed")
	}
}

func TestEventsAreKeptRedacted(t *testing.T) {
	path := t.TempDir() + "/events.jsonl"
	log, err := OpenEventLog(path)
	if err != nil {
		t.Fatal(err)
	}
	log.Redact = learnt(t, leaked)
	err = errors.Join(log.Append(leaking[Event]()), log.Read(t.Context(), EventQuery{}, func(e Event) error {
		if shows(e.Message + e.Service + e.Secret + e.Kind) {
			t.Errorf("memory holds %+v", e)
		}
		return nil
	}), log.Close())
	file, readErr := os.ReadFile(path)
	if err = errors.Join(err, readErr); err != nil || shows(string(file)) || !strings.Contains(string(file), "[redacted]") {
		t.Errorf("%v: the file holds %s", err, file)
	}
}

// keeping is a backend that keeps hold of what it was given.
type keeping struct {
	leaky
	order  ChangeOrder
	reason string
}

func (k *keeping) Change(_ context.Context, order ChangeOrder, _ func(Progress)) error {
	if string(order.Changes[0].Value) != leaked {
		return errors.New("it came cleared")
	}
	k.order = order
	return nil
}

func (k *keeping) Operate(_ context.Context, op Operation, _ func(Progress)) error {
	k.reason = op.Reason
	return nil
}

func TestADecodedValueIsClearedOnceItWasTaken(t *testing.T) {
	k := &keeping{}
	body, err := json.Marshal(ChangeOrder{Changes: []Change{{Name: "A", Value: []byte(leaked)}}})
	if err != nil {
		t.Fatal(err)
	}
	w := ask(t, "POST /v1/secrets", string(body), &Server{Backend: k, Logger: slog.New(slog.DiscardHandler)})
	if got := k.order.Changes; len(got) != 1 || !bytes.Equal(got[0].Value, make([]byte, len(leaked))) {
		t.Errorf("%s: the backend's order is still %q", w.Body, got[0].Value)
	}
}

func TestAValueTypedAsAReasonIsNotKept(t *testing.T) {
	k := &keeping{}
	ask(t, "POST /v1/operations", `{"verb":"lockdown","reason":"they have `+leaked+`"}`, &Server{Backend: k, Redact: learnt(t, leaked), Logger: slog.New(slog.DiscardHandler)})
	if k.reason != "they have [redacted]" {
		t.Errorf("got %q", k.reason)
	}
}
