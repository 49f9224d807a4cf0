package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"minibot/hint"
)

// home is a home directory with sockets on which fake engines answer.
type home struct {
	t   *testing.T
	dir string
	env map[string]string
	// other answers what an engine's identity does not; nil refuses.
	other http.HandlerFunc
}

func newHome(t *testing.T) *home {
	dir, err := os.MkdirTemp("", "mb") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &home{t: t, dir: dir, env: map[string]string{}}
}

func (h *home) surroundings() surroundings {
	return surroundings{getenv: func(key string) string { return h.env[key] }, home: h.dir, system: filepath.Join(h.dir, "var.sock"),
		goos: "darwin", uid: os.Getuid()}
}

func (h *home) file(name, text string) {
	h.t.Helper()
	name = filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) context(name, meta string) {
	sum := sha256.Sum256([]byte(name))
	h.file(filepath.Join(".docker/contexts/meta", hex.EncodeToString(sum[:]), "meta.json"), meta)
}

// serve lets an engine of this version answer on a socket.
func (h *home) serve(socket, version string) string {
	h.t.Helper()
	socket = filepath.Join(h.dir, socket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		h.t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		h.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/version"):
			_, _ = w.Write([]byte(`{"Version":"` + version + `","ApiVersion":"1.41","Arch":"arm64","Os":"linux"}`))
		case strings.HasSuffix(r.URL.Path, "/info"):
			_, _ = w.Write([]byte(`{"KernelVersion":"6.10.14-linuxkit","OSType":"linux"}`))
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			_, _ = w.Write([]byte("OK"))
		case h.other != nil:
			h.other(w, r)
		default:
			http.Error(w, `{"message":"not in this test"}`, http.StatusNotImplemented)
		}
	}))
	server.Listener = listener
	server.Start()
	h.t.Cleanup(server.Close)
	return "unix://" + socket
}

func TestCandidates(t *testing.T) {
	meta := func(host string) string { return `{"Name":"x","Endpoints":{"docker":{"Host":"` + host + `"}}}` }
	known := []string{".docker/run/docker.sock", ".orbstack/run/docker.sock", ".colima/default/docker.sock", "var.sock"}
	for name, test := range map[string]struct {
		set  func(*home)
		want []string // hosts; relative ones are sockets below home
		bad  string   // in the problem of the only candidate
	}{
		"nothing":           {func(*home) {}, known, ""},
		"DOCKER_HOST first": {func(h *home) { h.env["DOCKER_HOST"] = "tcp://127.0.0.1:1"; h.env["DOCKER_CONTEXT"] = "x" }, []string{"tcp://127.0.0.1:1"}, ""},
		"DOCKER_CONTEXT":    {func(h *home) { h.env["DOCKER_CONTEXT"] = "x"; h.context("x", meta("unix:///x.sock")) }, []string{"unix:///x.sock"}, ""},
		"default context": {func(h *home) {
			h.env["DOCKER_CONTEXT"] = "default"
			h.file(".docker/config.json", `{"currentContext":"x"}`)
		}, known, ""},
		"current context": {func(h *home) {
			h.file(".docker/config.json", `{"currentContext":"x"}`)
			h.context("x", meta("unix:///x.sock"))
		}, []string{"unix:///x.sock"}, ""},
		"current is default": {func(h *home) { h.file(".docker/config.json", `{"currentContext":"default"}`) }, known, ""},
		"no current":         {func(h *home) { h.file(".docker/config.json", `{"auths":{}}`) }, known, ""},
		"DOCKER_CONFIG": {func(h *home) {
			h.env["DOCKER_CONFIG"] = filepath.Join(h.dir, "other")
			h.file("other/config.json", `{"currentContext":"x"}`)
		}, []string{""}, "read the context"},
		"torn config":         {func(h *home) { h.file(".docker/config.json", `{"currentCont`) }, []string{""}, "config.json"},
		"unknown context":     {func(h *home) { h.env["DOCKER_CONTEXT"] = "y" }, []string{""}, "read the context"},
		"torn context":        {func(h *home) { h.env["DOCKER_CONTEXT"] = "x"; h.context("x", "{") }, []string{""}, "read the context"},
		"context of nothing":  {func(h *home) { h.env["DOCKER_CONTEXT"] = "x"; h.context("x", "{}") }, []string{""}, "no docker endpoint"},
		"ssh is not for this": {func(h *home) { h.env["DOCKER_HOST"] = "ssh://mini" }, []string{"ssh://mini"}, "only unix:// and tcp://"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			test.set(h)
			got := h.surroundings().candidates("")
			var hosts []string
			for _, c := range got {
				hosts = append(hosts, strings.TrimPrefix(c.Host, "unix://"+h.dir+"/"))
			}
			if !slices.Equal(hosts, test.want) {
				t.Errorf("got %q, want %q", hosts, test.want)
			}
			if problem := got[0].Err; (problem == nil) != (test.bad == "") || problem != nil && !strings.Contains(problem.Error(), test.bad) {
				t.Errorf("problem: %v", problem)
			}
		})
	}
}

func TestDialTakesTheFirstThatAnswers(t *testing.T) {
	h := newHome(t)
	h.file(".docker/run/docker.sock", "not a socket")
	h.serve("var.sock", "27.0.0") // could be another user's
	colima := h.serve(".colima/default/docker.sock", "28.5.2")
	e, err := h.surroundings().dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := EngineInfo{Version: "28.5.2", API: "1.41", Host: colima, Arch: "arm64", Reason: "Colima; Docker Desktop: nobody listens on the socket"}
	if e.Info() != want || !e.noswap {
		t.Errorf("got %+v, noswap %v", e.Info(), e.noswap)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	orb := h.serve(".orbstack/run/docker.sock", "29.0.0") // it came late: found at the next dial
	if e, err = h.surroundings().dial(t.Context(), ""); err != nil || e.Info().Host != orb {
		t.Errorf("got %v, %v", e, err)
	}
}

func TestDialSaysWhatWasTried(t *testing.T) {
	h := newHome(t)
	_, err := h.surroundings().dial(t.Context(), "")
	if !IsUnreachable(err) || hint.Of(err) != "start Docker Desktop, OrbStack or Colima" {
		t.Fatalf("%v, hint %q", err, hint.Of(err))
	}
	for _, word := range []string{"the system's socket", "Docker Desktop", "OrbStack", "Colima", h.dir} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in %v", word, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
	h.env["DOCKER_HOST"] = "unix://" + h.dir + "/none.sock"
	h.serve("var.sock", "28.5.2")
	if _, err := h.surroundings().dial(t.Context(), ""); !IsUnreachable(err) || !strings.Contains(err.Error(), "DOCKER_HOST") {
		t.Errorf("DOCKER_HOST stands alone: %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	h := newHome(t)
	socket := filepath.Join(h.dir, "deaf.sock")
	listener, err := net.Listen("unix", socket) // accepts by itself, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, "unix://"+socket); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
