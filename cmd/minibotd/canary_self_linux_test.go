package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCanarySearchFindsEveryForm plants a value in every form and place that a canary run searches.
func TestCanarySearchFindsEveryForm(t *testing.T) {
	t.Parallel()
	var set secretSet
	value := set.special("K", `canary "+/%`, " 'ü\\")
	jsonText, err := json.Marshal(map[string]string{"k": value})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": value, "json": string(jsonText), "query": url.QueryEscape(value), "path": url.PathEscape(value), "quoted": fmt.Sprintf("%+q", value),
		"base64-0": base64.StdEncoding.EncodeToString([]byte(value)), "base64-1": base64.StdEncoding.EncodeToString([]byte("x" + value)),
		"base64-2": base64.URLEncoding.EncodeToString([]byte("xx" + value)), "hex": hex.EncodeToString([]byte(value)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(value))),
		"cut": value[:28], "rest": value[20:], "percent": "%" + strings.ReplaceAll(fmt.Sprintf("% x", value), " ", "%"), "octets": `\x` + strings.ReplaceAll(fmt.Sprintf("% x", value), " ", `\x`), "binary": "\x00\xff\x00" + value + "\x00", "deep/in/folders": value, "middle": strings.Repeat("x\n", 1<<20) + value + strings.Repeat("\x00", 1<<20),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found := set.tree(t, dir); !slices.ContainsFunc(found.hits, func(h hit) bool { return h.path == path }) {
			t.Errorf("%s is not found: %v", name, found.hits)
		}
	}
	clean, names := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(clean, "f"), []byte("canary ü"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := set.tree(t, clean); found.files != 1 || found.bytes != 9 || len(found.hits) > 0 {
		t.Errorf("found in what is clean: %+v", found)
	}
	if err := os.Symlink(strings.ReplaceAll(value, "/", ""), filepath.Join(names, "link")); err != nil {
		t.Fatal(err)
	}
	if found := set.tree(t, names); len(found.hits) == 0 {
		t.Error("the target of a link is not searched")
	}
}

// fakeEngine answers at a socket of its own like an engine in which everything shows the value.
func fakeEngine(t *testing.T, value string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mb-fake-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the temporary folder
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	half := len(value) / 2
	frame := func(kind byte, text string) string {
		return string([]byte{kind, 0, 0, 0, 0, 0, 0, byte(len(text))}) + text
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1.41/answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, value) })
	mux.HandleFunc("/v1.41/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Value", value) })
	mux.HandleFunc("/v1.41/chunked", func(w http.ResponseWriter, _ *http.Request) {
		for _, part := range []string{value[:half], value[half:]} {
			_, _ = io.WriteString(w, part)
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/v1.41/logs", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, frame(1, value[:half])+frame(2, "between")+frame(1, value[half:]))
	})
	mux.HandleFunc("/containers/{name}/json", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"Config":{"Labels":{"com.docker.compose.service":%q}}}`, r.PathValue("name"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.Header.Get("Upgrade") == "" {
			return
		}
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		line, _ := both.ReadString('\n')
		if strings.HasPrefix(line, "say") {
			_, _ = io.WriteString(conn, frame(1, value[:half]))
			_, _ = io.WriteString(conn, frame(1, value[half:]))
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// TestCanaryProxyFindsWhatIsPlanted puts a value into every channel of an engine's socket, whole and split, and sees that
// only an exec's input and what is copied into a keeper are let through.
func TestCanaryProxyFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	core := "canaryPLANTED0123456789abcdefghij"
	for _, test := range []struct {
		name, request, then string
		class               string // of what it is found in; "" is exempt
	}{
		{"query", "GET /v1.41/x?q=" + core + " HTTP/1.1\r\n\r\n", "", "request GET x"},
		{"path", "GET /v1.41/x/" + core + " HTTP/1.1\r\n\r\n", "", "request GET x " + core},
		{"request header", "GET /v1.41/x HTTP/1.1\r\nX-V: " + core + "\r\n\r\n", "", "request GET x"},
		{"request body", "POST /v1.41/x HTTP/1.1\r\nContent-Length: 33\r\n\r\n" + core, "", "request POST x body"},
		{"chunked request", "POST /v1.41/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + core[:16] + "\r\n11\r\n" + core[16:] + "\r\n0\r\n\r\n", "", "request POST x body"},
		{"answer", "GET /v1.41/answer HTTP/1.1\r\n\r\n", "", "answer GET answer body"},
		{"answer's header", "GET /v1.41/header HTTP/1.1\r\n\r\n", "", "answer GET header"},
		{"chunked answer", "GET /v1.41/chunked HTTP/1.1\r\n\r\n", "", "answer GET chunked body"},
		{"frames of a log", "GET /v1.41/logs HTTP/1.1\r\n\r\n", "", "answer GET logs output 1"},
		{"an exec's output", "POST /v1.41/exec/e/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "say\n", "answer POST exec e start output 1"},
		{"an exec's start", "POST /v1.41/exec/e/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 33\r\n\r\n" + core, "\n", "request POST exec e start body"},
		{"an exec's input", "POST /v1.41/exec/e/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", core + "\n", ""},
		{"a container's input", "POST /v1.41/containers/c/attach HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", core + "\n", "answer POST containers c attach input"},
		{"a copy into the keeper", "PUT /v1.41/containers/keeper/archive HTTP/1.1\r\nContent-Length: 33\r\n\r\n" + core, "", ""},
		{"a copy into another", "PUT /v1.41/containers/other/archive HTTP/1.1\r\nContent-Length: 33\r\n\r\n" + core, "", "request PUT containers other archive body"},
		{"a copy by another method", "POST /v1.41/containers/keeper/archive HTTP/1.1\r\nContent-Length: 33\r\n\r\n" + core, "", "request POST containers keeper archive body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			engine := fakeEngine(t, core)
			e := newEvidence(t)
			proxy := proxyTo(t, engine, newRecorder(t, e, engine).record)
			say(t, proxy.socket, strings.Replace(test.request, "\r\n", "\r\nHost: docker\r\n", 1), test.then)
			proxy.close()
			e.flush()
			var set secretSet
			set.add("K", core, core)
			hits, exempt := set.tree(t, e.part(false)).hits, set.tree(t, e.part(true)).hits
			if test.class == "" {
				if len(hits) > 0 || len(exempt) == 0 {
					t.Errorf("found in %v, and where it may be in %v", hits, exempt)
				}
				return
			}
			if !slices.ContainsFunc(hits, func(h hit) bool { return filepath.Base(h.path) == test.class }) || len(exempt) > 0 {
				t.Errorf("found in %v, and where it may be in %v, want %q", hits, exempt, test.class)
			}
		})
	}
}

// say sends a request, then more when the answer has begun, and reads to the end of what comes back.
func say(t *testing.T, socket, request, then string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if then == "" {
		_, err = io.Copy(io.Discard, answer.Body)
	} else if _, err = io.WriteString(conn, then); err == nil {
		_, err = io.Copy(io.Discard, conn)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCanaryEvidenceKeepsWhatLongStreamsCut has a value lie on every boundary at which a long stream may be cut.
func TestCanaryEvidenceKeepsWhatLongStreamsCut(t *testing.T) {
	t.Parallel()
	const core = "canaryPLANTED0123456789abcdefghij"
	for _, shift := range []int{0, 1, len(core) / 2, len(core)} {
		e := newEvidence(t)
		s := e.stream(false, "long")
		for _, part := range []string{strings.Repeat("x", piece-shift), core[:5], core[5:], strings.Repeat("y", piece)} {
			if _, err := io.WriteString(s, part); err != nil {
				t.Fatal(err)
			}
			e.keep(false, "long", "another's")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(e.part(false), "long")); err != nil || !strings.Contains(string(text), core) || !strings.Contains(string(text), "another's") {
			t.Errorf("a value %d bytes before the boundary is cut: %v", shift, err)
		}
	}
}
