package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// socket is the path of the engine's.
func socket() string {
	return cmp.Or(strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://"), "/var/run/docker.sock")
}

// engine is a plain HTTP client of the Docker API, so that a measurement is not one of some client.
func engine() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket())
	}}}
}

func post(ctx context.Context, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker"+path, nil)
	if err != nil {
		return err
	}
	answer, err := engine().Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // read to its end or not wanted
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("%s: %s: %s", path, answer.Status, text)
	}
	return nil
}

// engineEvent is one container event with the engine's own time.
type engineEvent struct {
	Action   string
	TimeNano int64 `json:"timeNano"`
	Actor    struct{ Attributes map[string]string }
}

// service is the compose service, or what a peer's container is called.
func (e engineEvent) service() string {
	return cmp.Or(e.Actor.Attributes["com.docker.compose.service"], e.Actor.Attributes[peerLabel])
}

func (e engineEvent) at() time.Time { return time.Unix(0, e.TimeNano) }

// events streams the events of the project's containers, and of the peers', until ctx ends.
func (p *project) events(ctx context.Context) (<-chan engineEvent, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/events", nil)
	if err != nil {
		return nil, err
	}
	r.URL.RawQuery = url.Values{"filters": {`{"type":["container"],"event":["start","die","kill","health_status"]}`}}.Encode()
	answer, err := engine().Do(r) //nolint:bodyclose // by the goroutine below
	if err != nil {
		return nil, err
	}
	out := make(chan engineEvent, 256)
	go func() {
		defer close(out)
		defer func() { _ = answer.Body.Close() }() // ends the stream
		for decoder := json.NewDecoder(answer.Body); ; {
			var e engineEvent
			if decoder.Decode(&e) != nil { // ctx ended
				return
			}
			if e.Actor.Attributes["com.docker.compose.project"] == p.name || e.Actor.Attributes[peerLabel] != "" {
				out <- e
			}
		}
	}()
	return out, nil
}
