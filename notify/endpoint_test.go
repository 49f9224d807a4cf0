package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
)

const canary = "canary-services-T0-B0-x9"

// rig is a notifier whose log can be read.
type rig struct {
	*Notifier
	log     bytes.Buffer
	secrets map[secrets.Name]string
}

func newRig(t *testing.T, c config.Notify) *rig {
	t.Helper()
	r := &rig{secrets: map[secrets.Name]string{}}
	if c.On == nil {
		c.On = config.NotifyKinds
	}
	if c.HeartbeatEvery == "" {
		c.HeartbeatEvery = "1m"
	}
	if c.Repeat == "" {
		c.Repeat = "6h"
	}
	redact := &secrets.Redaction{}
	value, err := secrets.NewValue([]byte("canary-of-the-store"))
	if err != nil {
		t.Fatal(err)
	}
	redact.Learn(value)
	r.Notifier = New(Options{Config: c, File: filepath.Join(t.TempDir(), "notify.json"), Host: "mini", Home: "/h", User: "/u",
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Redact: redact,
		Secret: func(_ context.Context, name secrets.Name) (secrets.Value, error) {
			text, there := r.secrets[name]
			if !there {
				return secrets.Value{}, secrets.ErrNotFound
			}
			return secrets.NewValue([]byte(text))
		}})
	return r
}

// quiet fails where a text shows more of the URL than its host.
func quiet(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, "canary") {
		t.Errorf("%s: %s", what, text)
	}
}

func TestAnswersOfAWebhook(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	release := make(chan struct{})
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // of the error; "" is none
		final  bool
		after  time.Duration
	}{
		{"200", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, "", false, 0},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "", false, 0},
		{"a body without end", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 32<<20)) }, "", false, 0},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/"+canary, http.StatusTemporaryRedirect)
		}, "redirects (307)", true, 0},
		{"400", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no "+r.URL.String(), http.StatusBadRequest)
		}, "answers 400", true, 0},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "answers 404", true, 0},
		{"408", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestTimeout) }, "answers 408", false, 0},
		{"429", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answers 429", false, 7 * time.Second},
		{"429 for a day", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answers 429", false, 5 * time.Minute},
		{"503", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "soon")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "answers 503", false, 0},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
				_ = conn.Close()
			}
		}, "EOF", false, 0},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "SSH-2.0-"+canary+"\r\n")
				_ = conn.Close()
			}
		}, "no proper answer", false, 0},
		{"nothing", func(http.ResponseWriter, *http.Request) { <-release }, "no answer within 900ms", false, 0},
		{"drops", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			for _, c := range "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 4000) {
				select {
				case <-release:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := fmt.Fprintf(conn, "%c", c); err != nil {
					return
				}
			}
		}, "no answer within 900ms", false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got Message
			var method, kind string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				method, kind = r.Method, r.Header.Get("Content-Type")
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				test.answer(w, r)
			}))
			r := newRig(t, config.Notify{Webhook: server.URL + "/" + canary + "?token=" + canary})
			hook := r.endpoint("webhook", r.o.Config.Webhook)
			if strings.Contains(test.want, "900ms") {
				hook.most = 900 * time.Millisecond
			}
			sent := Message{Event: Degraded, Service: "redis", Reason: "exited", Seq: 7}
			err := hook.post(t.Context(), sent)
			if test.name == "nothing" || test.name == "drops" {
				select {
				case release <- struct{}{}:
				case <-time.After(10 * time.Second):
					t.Error("nobody waits to be released")
				}
			}
			server.Close()
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "webhook http://127.0.0.1:") && !errors.Is(err, errRefused)) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if got != sent || method != "POST" || kind != "application/json" {
				t.Errorf("%s %s: %+v", method, kind, got)
			}
			if err == nil {
				return
			}
			quiet(t, "the error", err.Error()+hint.Of(err)+fmt.Sprintf("%v %+v %#v", hook, err, hook))
			if errors.Is(err, errRefused) != test.final {
				t.Errorf("final: %v, want %v", !test.final, test.final)
			}
			var l *later
			if test.after > 0 && (!errors.As(err, &l) || l.after != test.after) {
				t.Errorf("%+v, want %v", l, test.after)
			}
		})
	}
	if elsewhere > 0 {
		t.Error("a redirect was followed")
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://" + l.Addr().String() + "/" + canary, "https://user:" + canary + "@" + l.Addr().String() + "/" + canary} {
		hook := newRig(t, config.Notify{}).endpoint("webhook", url)
		err := hook.get(t.Context())
		if err == nil || !strings.Contains(err.Error(), "refused") || errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		quiet(t, url, err.Error())
	}
}

func TestAURLFromTheStore(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if calls++; r.URL.Path != "/"+canary {
			t.Errorf("%s", r.URL)
		}
	}))
	defer server.Close()
	r := newRig(t, config.Notify{Webhook: "secret:SLACK_URL", Command: nil})
	hook := r.endpoint("webhook", "secret:SLACK_URL")
	if err := hook.get(t.Context()); !errors.Is(err, errRefused) || hint.Of(err) != "mb-secrets set SLACK_URL" || !strings.Contains(err.Error(), "SLACK_URL") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	for _, wrong := range []string{"canary", "http://canary.example.com/", "https:canary", "ftp://127.0.0.1/canary", "https://canary example.com", "https:///canary"} {
		r.secrets["SLACK_URL"] = wrong
		err := hook.get(t.Context())
		if !errors.Is(err, errRefused) || hint.Of(err) != "mb-secrets set SLACK_URL" {
			t.Errorf("%q: %v", wrong, err)
		}
		quiet(t, wrong, err.Error())
	}
	r.secrets["SLACK_URL"] = server.URL + "/" + canary + "\n"
	if err := hook.get(t.Context()); err != nil || calls != 1 {
		t.Errorf("%v, %d calls", err, calls)
	}
	quiet(t, "what was learnt", r.o.Redact.Text("GET /"+canary+" and "+server.URL+"/"+canary))
}

func TestPerseverance(t *testing.T) {
	fails := errors.New("again")
	for _, test := range []struct {
		name   string
		err    func(i int) error
		at     []float64 // seconds
		wanted error
	}{
		{"never works", func(int) error { return fails }, []float64{0, 1, 3, 7, 15, 31}, fails},
		{"works at last", func(i int) error {
			if i < 2 {
				return fails
			}
			return nil
		}, []float64{0, 1, 3}, nil},
		{"is asked to wait", func(i int) error {
			if i == 0 {
				return &later{fails, 20 * time.Second}
			}
			return nil
		}, []float64{0, 20}, nil},
		{"is asked to wait less", func(int) error { return &later{fails, time.Second} }, []float64{0, 1, 3, 7, 15, 31}, fails},
		{"is refused", func(int) error { return refused("no") }, []float64{0}, errRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, at := time.Now(), []float64{}
				err := persevere(t.Context(), func(context.Context) error {
					at = append(at, time.Since(begin).Seconds())
					return test.err(len(at) - 1)
				})
				if fmt.Sprint(at) != fmt.Sprint(test.at) || !errors.Is(err, test.wanted) {
					t.Errorf("at %v, want %v; %v", at, test.at, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		err := persevere(ctx, func(context.Context) error { return &later{fails, time.Hour} })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "soon": 0, "-5": 0, "0": 0, "3": 3 * time.Second, "999999999999": maxRetryAfter, "99999999999999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2020 03:05:05 GMT": 0, "Fri, 02 Jan 2099 03:05:05 GMT": maxRetryAfter} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
