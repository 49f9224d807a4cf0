package stack

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPortsOfAProject(t *testing.T) {
	p := load(t, `
name: ports
services:
  web: { image: "web:1", ports: ["8080:80", "127.0.0.1:9000-9002:90-92/udp", "7070"] }
  api: { image: "api:1", ports: ["[::1]:65535:1"] }
  none: { image: "none:1" }
`)
	want := []Port{
		{Service: "api", Address: "::1", Port: 65535, Protocol: "tcp"},
		{Service: "web", Port: 8080, Protocol: "tcp"},
		{Service: "web", Address: "127.0.0.1", Port: 9000, Protocol: "udp"},
		{Service: "web", Address: "127.0.0.1", Port: 9001, Protocol: "udp"},
		{Service: "web", Address: "127.0.0.1", Port: 9002, Protocol: "udp"},
	}
	if got := p.Ports(); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// checked is a project of two services.
func checked(t *testing.T) *Project {
	t.Helper()
	return load(t, "name: checked\nservices:\n  web: { image: \"web:1\" }\n  api: { image: \"api:1\" }\n")
}

// infoAt is an engine's answer about itself when its clock is ahead by so much.
func infoAt(ahead time.Duration) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"SystemTime": time.Now().Add(ahead).Format(time.RFC3339Nano)}) // the client says so
	}
}

// well is an engine with both images, one of whose containers publishes a port.
func well() fakeEngine {
	return fakeEngine{
		"/info": infoAt(0), "/images/web:1/json": says(`{"Id":"sha256:1"}`), "/images/api:1/json": says(`{"Id":"sha256:2"}`),
		"/containers/json": says(`[{"Names":["/other/web","/checked-web"],"Labels":{"com.docker.compose.project":"checked","com.docker.compose.service":"web"},
			"Ports":[{"IP":"127.0.0.1","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"}]},
			{"Names":["/alone"],"Ports":[{"IP":"::","PrivatePort":53,"PublicPort":53,"Type":"udp"}]}]`),
	}
}

func TestCheckup(t *testing.T) {
	project, engine := checked(t), well()
	c, err := engine.engine(t).Checkup(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	ports := []Port{
		{Service: "web", Container: "checked-web", Project: "checked", Address: "127.0.0.1", Port: 8080, Protocol: "tcp"},
		{Container: "alone", Address: "::", Port: 53, Protocol: "udp"},
	}
	if !slices.Equal(c.Ports, ports) || len(c.Missing) > 0 || c.Off.Abs() > 30*time.Second || time.Since(c.Clock).Abs() > time.Minute {
		t.Errorf("%+v", c)
	}
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		engine["/info"] = infoAt(ahead)
		if c, err := engine.engine(t).Checkup(t.Context(), project); err != nil || (c.Off-ahead).Abs() > 30*time.Second {
			t.Errorf("a clock that is ahead by %v: %v, %v", ahead, c.Off, err)
		}
	}
	engine["/info"] = says(`{}`)
	if c, err := engine.engine(t).Checkup(t.Context(), project); err != nil || !c.Clock.IsZero() || c.Off != 0 {
		t.Errorf("no clock: %v, %v, %v", c.Clock, c.Off, err)
	}
	delete(engine, "/images/api:1/json")
	if c, err := engine.engine(t).Checkup(t.Context(), project); err != nil || !maps.Equal(c.Missing, map[string]string{"api:1": "api"}) {
		t.Errorf("an image that is not there: %v, %v", c.Missing, err)
	}
}

// What the engine refuses is an error that says what was asked, and never an answer.
func TestCheckupSaysWhatFailed(t *testing.T) {
	for path, says := range map[string]string{
		"/info": "about itself", "/images/web:1/json": "service web: look for image web:1", "/containers/json": "list the containers",
	} {
		engine := well()
		engine[path] = refuses(http.StatusInternalServerError, "broken")
		c, err := engine.engine(t).Checkup(t.Context(), checked(t))
		if err == nil || !strings.Contains(err.Error(), says) || c.Missing != nil || c.Ports != nil {
			t.Errorf("%s: %v, %+v", path, err, c)
		}
	}
}

func TestFreeOfAnEngineOnThisMachine(t *testing.T) {
	e := fakeEngine{"/info": says(`{"DockerRootDir":"` + t.TempDir() + `"}`)}.engine(t)
	e.info.Host = "unix:///run/docker.sock"
	if free, err := e.Free(t.Context(), checked(t)); err != nil || free == 0 {
		t.Errorf("%d, %v", free, err)
	}
}

// An engine whose folder is not on this machine, or that is reached over the network, has only its containers to be asked.
func TestFreeOfAnEngineElsewhere(t *testing.T) {
	elsewhere := fakeEngine{"/info": says(`{"DockerRootDir":"/nonexistent/docker"}`), "/containers/json": says(`[]`)}
	for _, host := range []string{"unix:///run/docker.sock", "tcp://engine:2376"} {
		e := elsewhere.engine(t)
		e.info.Host = host
		if free, err := e.Free(t.Context(), checked(t)); !errors.Is(err, ErrUnseen) || free != 0 {
			t.Errorf("%s: %d, %v", host, free, err)
		}
	}
	elsewhere["/containers/json"] = refuses(http.StatusInternalServerError, "broken")
	if _, err := elsewhere.engine(t).Free(t.Context(), checked(t)); err == nil || errors.Is(err, ErrUnseen) {
		t.Errorf("an engine that does not list its containers: %v", err)
	}
}

// A container of the project that runs tells what is free where it runs.
func TestFreeInsideAContainer(t *testing.T) {
	r := newRig(t, "services:\n  a: { image: IMAGE, entrypoint: SLEEP, network_mode: none }\n")
	r.create()
	if _, err := r.engine.freeInside(t.Context(), r.project); !errors.Is(err, ErrUnseen) {
		t.Errorf("nothing runs: %v", err)
	}
	id := r.container("a").ID
	r.must(r.engine.Start(t.Context(), id))
	if free, err := r.engine.freeInside(t.Context(), r.project); err != nil || free < 1<<20 {
		t.Errorf("%d, %v", free, err)
	}
}

func TestParseDF(t *testing.T) {
	const titles = "Filesystem     1024-blocks    Used Available Capacity Mounted on\n"
	for name, test := range map[string]struct {
		text string
		free uint64
		ok   bool
	}{
		"GNU":                 {titles + "overlay 61255492 20 41000000 33% /\n", 41000000 << 10, true},
		"BusyBox":             {"Filesystem           1024-blocks    Used Available Capacity Mounted on\noverlay               10 3 0 100% /\n", 0, true},
		"nothing":             {"", 0, false},
		"titles alone":        {titles, 0, false},
		"more than one":       {titles + "a 10 3 7 33% /\nb 10 3 7 33% /\n", 0, false},
		"another place":       {titles + "tmpfs 10 3 7 33% /data\n", 0, false},
		"a broken line":       {titles + "a-very-long-name\n", 0, false},
		"a number that fails": {titles + "overlay 10 3 -7 33% /\n", 0, false},
		"far too much":        {titles + "overlay 10 3 18014398509481984 33% /\n", 0, false},
	} {
		if free, ok := parseDF(test.text); ok != test.ok || ok && free != test.free {
			t.Errorf("%s: %d, %v", name, free, ok)
		}
	}
}
