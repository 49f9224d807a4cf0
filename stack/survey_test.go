package stack

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// fakeEngine answers with what stands under a path without the version; a path that is not there is a 404.
type fakeEngine map[string]func(http.ResponseWriter, *http.Request)

func (f fakeEngine) engine(t *testing.T) *Engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := f[strings.TrimPrefix(r.URL.Path, "/v1.41")]; answer != nil {
			answer(w, r)
			return
		}
		http.Error(w, `{"message":"no such thing"}`, http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	docker, err := client.NewClientWithOpts(client.WithHost("tcp://"+server.Listener.Addr().String()), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close() }) // idle connections of a test
	return &Engine{docker: docker}
}

func says(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func refuses(status int, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"message":"`+text+`"}`)
	}
}

// one is a fake engine with one container, c, whose inspect says what is given beside the name.
func one(inspect string) fakeEngine {
	return fakeEngine{
		"/_ping":                  says("OK"),
		"/volumes":                says(`{"Volumes":[{"Name":"mem","Driver":"local","Options":{"type":"tmpfs","o":"size=1m"}},{"Name":"disk","Driver":"local"}]}`),
		"/networks":               says(`[]`),
		"/images/json":            says(`[]`),
		"/containers/json":        says(`[{"Id":"c0ffee","Names":["/c"],"Labels":{"com.docker.compose.project":"p","com.docker.compose.service":"s"}}]`),
		"/containers/c0ffee/json": says(`{"Id":"c0ffee","Name":"/c",` + inspect + `}`),
		"/containers/c0ffee/logs": says(""), "/containers/c0ffee/changes": says("[]"),
	}
}

// archive answers a request for a path of a container with a tar of these files, named as the engine names them.
func archive(files ...[2]string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		stat, _ := json.Marshal(container.PathStat{Name: "x"})
		w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
		out := tar.NewWriter(w)
		for _, f := range files {
			_ = out.WriteHeader(&tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o600}) // into memory; the reader would see it
			_, _ = io.WriteString(out, f[1])
		}
		_ = out.Close()
	}
}

// surveyed is what a survey shows, one line each; those of inspects only where they have the mark.
func surveyed(t *testing.T, s *survey) (lines []string) {
	t.Helper()
	s.visit = func(x Exhibit) error {
		body := ""
		if x.Body != nil {
			data, err := io.ReadAll(x.Body)
			if err != nil {
				t.Errorf("%s %s fails: %v", x.Object, x.Part, err)
			}
			body = string(data)
		}
		if x.Kind == "inspect" && !strings.Contains(body, "canary") {
			return nil
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s|%s|%s/%s|%s|%s %v", x.Kind, x.Object, x.Project, x.Service, x.Part, body, x.Err)))
		return nil
	}
	for _, step := range []func(context.Context) error{s.listVolumes, s.containers, s.images, s.networks, s.volumes} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const running = `"State":{"Running":true,"Pid":7},"HostConfig":{"LogConfig":{"Type":"json-file"}}`

// unmounted is what a survey says of the volume disk where no container mounts it.
const unmounted = `volume|volumes that no container mounts|/||the engine shows the files of a volume through a container only: 1 not searched`

func fixed(lines []string) []string {
	for i := range lines {
		lines[i] = strings.ReplaceAll(strings.TrimSuffix(lines[i], " <nil>"), "| the engine", "|the engine")
	}
	return lines
}

func TestSurveyShowsEveryStringAndKeyOfAnInspect(t *testing.T) {
	f := one(running + `,"Config":{"Env":["A=1","B=canary-1"],"Labels":{"a.b":"canary-2","canary-3":""},"Healthcheck":{"Test":["CMD","canary-4"]}}`)
	f["/networks"] = says(`[{"Name":"n","Id":"n1","Labels":{"com.docker.compose.project":"p"}}]`)
	f["/networks/n1"] = says(`{"Name":"n","Labels":{"l":"canary-5"}}`)
	f["/volumes/disk"] = says(`{"Name":"disk","Options":{"o":"canary-6"}}`)
	f["/images/json"] = says(`[{"Id":"sha256:1234567890abcdef","RepoTags":["i:1"]}]`)
	f["/images/sha256:1234567890abcdef/json"] = says(`{"Config":{"Labels":{"l":"canary-7"}}}`)
	f["/images/sha256:1234567890abcdef/history"] = says(`[{"CreatedBy":"RUN canary-8","Comment":"canary-9"}]`)
	expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})),
		`inspect|container c|p/s|Config.Env[1]|B=canary-1`,
		`inspect|container c|p/s|Config.Healthcheck.Test[1]|canary-4`,
		`inspect|container c|p/s|Config.Labels["a.b"]|canary-2`,
		`inspect|container c|p/s|Config.Labels key 2|canary-3`,
		`log|container c|p/s|stdout|`, `log|container c|p/s|stderr|`,
		`inspect|image i:1|/|Config.Labels.l|canary-7`,
		`image-history|image i:1|/|history[0].created_by|RUN canary-8`,
		`image-history|image i:1|/|history[0].comment|canary-9`,
		`inspect|network n|p/|Labels.l|canary-5`,
		`inspect|volume disk|/|Options.o|canary-6`, unmounted)
}

func TestSurveyShowsExecsAndArguments(t *testing.T) {
	f := one(running + `,"Config":{},"ExecIDs":["e1","gone"]`)
	f["/exec/e1/json"] = says(`{"ProcessConfig":{"entrypoint":"sh","arguments":["-c","canary-1"]}}`)
	f["/containers/c0ffee/top"] = says(`{"Titles":["PID","PPID","UID","COMMAND"],"Processes":[["7","1","0","sh -c canary-2"]]}`)
	got := surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})
	for _, want := range []string{`exec|container c|p/s|ProcessConfig.arguments[1]|canary-1 <nil>`, `process|container c|p/s|arguments of process 7|sh -c canary-2 <nil>`} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// frame is a piece of a log as the engine sends it: its stream, its length, its text.
func frame(stream byte, text string) string {
	head := make([]byte, 8)
	head[0] = stream
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return string(head) + text
}

func TestSurveyShowsALogWithoutItsFrames(t *testing.T) {
	f := one(running + `,"Config":{}`)
	f["/containers/c0ffee/logs"] = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("stdout") == "1" {
			_, _ = io.WriteString(w, frame(1, "cana")+frame(1, "ry-1"))
		} else {
			_, _ = io.WriteString(w, frame(2, "canary-2"))
		}
	}
	expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})),
		`log|container c|p/s|stdout|canary-1`, `log|container c|p/s|stderr|canary-2`, unmounted)
	f["/containers/c0ffee/json"] = says(`{"Id":"c0ffee",` + running + `,"Config":{"Tty":true}}`)
	f["/containers/c0ffee/logs"] = says("canary-3")
	expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})), `log|container c|p/s|terminal|canary-3`, unmounted)
}

// What cannot be read is said; what is gone, or keeps nothing, is not.
func TestSurveySaysWhatItCannotRead(t *testing.T) {
	f := one(running + `,"Config":{}`)
	f["/containers/c0ffee/logs"] = refuses(http.StatusNotImplemented, "configured logging driver does not support reading")
	f["/containers/c0ffee/changes"] = refuses(http.StatusInternalServerError, "the layer is broken")
	got := strings.Join(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom}), "\n")
	for _, want := range []string{"log|container c|p/s|stdout| Error response from daemon: configured logging driver does not support reading", "layer|container c|p/s|| Error response from daemon: the layer is broken"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	f = one(`"State":{},"HostConfig":{"LogConfig":{"Type":"none"}},"Config":{}`)
	f["/containers/c0ffee/logs"] = refuses(http.StatusInternalServerError, "nobody asks")
	expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})), unmounted)
	delete(f, "/containers/c0ffee/json")
	expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})), unmounted)
}

func TestSurveySaysThatAStreamBroke(t *testing.T) {
	f := one(running + `,"Config":{}`)
	f["/containers/c0ffee/logs"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, frame(1, "canary-1"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	got := surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom})
	if len(got) < 2 || !strings.HasPrefix(got[0], "log|container c|p/s|stdout|canary-1") || !strings.Contains(got[1], "unexpected EOF") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestSurveyEndsWithTheEngine(t *testing.T) {
	f := one(running + `,"Config":{}`)
	delete(f, "/_ping")
	f["/containers/c0ffee/changes"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	f["/_ping"] = f["/containers/c0ffee/changes"]
	err := f.engine(t).Survey(t.Context(), func(Exhibit) error { return nil })
	if !errors.Is(err, ErrEngineUnreachable) {
		t.Errorf("got %v", err)
	}
	refused := errors.New("enough")
	if err := f.engine(t).Survey(t.Context(), func(Exhibit) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

func TestAStreamThatSaysNothingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, in := io.Pipe()
		s := &stream{from: out, idle: time.Minute, left: -1, cancel: func() { _ = in.CloseWithError(context.Canceled) }}
		if n, err := io.Copy(io.Discard, s); n != 0 || err != nil || s.err == nil || !strings.Contains(s.err.Error(), "nothing for 1m") {
			t.Errorf("%d bytes, %v, %v", n, err, s.err)
		}
	})
}
