package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	hammerWarm   = 100              // requests to each server before the change
	hammerWindow = time.Second      // how long clients of the single role may fail on a busy machine, beyond what a request takes
	hammerLimit  = 30 * time.Minute // for all of a test's requests
)

// hammerService is a client of both databases that never keeps a connection and reads its secrets for each one.
const hammerService = `
services:
  hammer:
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: ${MINIBOT_NAME}-hammer
    entrypoint: [/hammer]
    command:
      - -redis=redis:6379
      - -postgres=host=postgres port=5432 user=minibot dbname=minibot sslmode=disable
      - -pgservice=/run/secrets/APP_DB.pgservice
    volumes: [%q]
    networks: [net]
    stop_grace_period: 2s
    secrets: [{ source: REDIS_PASSWORD, mode: 0444 }, { source: POSTGRES_PASSWORD, mode: 0444 }, { source: APP_DB, mode: 0444 }]
    depends_on: { postgres: { condition: service_healthy }, redis: { condition: service_healthy } }
    x-minibot: { on_change: none }
`

// hammerTally is what the hammer says of one server.
type hammerTally struct {
	Requests, Failures int
	Window             float64 `json:"window_ms"`
	Slowest            float64 `json:"slowest_ms"`
	Reason             string
}

// hammerLog follows what the hammer prints.
type hammerLog struct {
	in    *installation
	lines *json.Decoder
	said  *logBuffer // its stderr
	last  map[string]hammerTally
}

// buildHammer returns the path of the hammer, static so that it runs in any image.
func buildHammer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hammer")
	cmd := exec.Command("go", "build", "-o", path, "minibot/bench/hammer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the hammer: %v: %s", err, out)
	}
	return path
}

// hammers follows the hammer's log from its last line on, until the test ends.
func (in *installation) hammers() *hammerLog {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hammerLimit)
	cmd := exec.CommandContext(ctx, "docker", "logs", "-f", "--tail", "1", in.container("hammer"))
	h := &hammerLog{in: in, said: &logBuffer{}}
	cmd.Env, cmd.Stderr = in.environ(), h.said
	lines, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it was killed
	h.lines = json.NewDecoder(lines)
	return h
}

// until reads on until each server has had as many requests as it is named with.
func (h *hammerLog) until(requests map[string]int) map[string]hammerTally {
	h.in.t.Helper()
	for {
		tallies := map[string]hammerTally{}
		if err := h.lines.Decode(&tallies); err != nil {
			h.in.t.Fatalf("the hammer's log ended before %v requests: %v, %+v: %s", requests, err, h.last, h.said)
		}
		h.last = tallies
		enough := true
		for server, n := range requests {
			enough = enough && tallies[server].Requests >= n
		}
		if enough {
			return tallies
		}
	}
}

// hammerRequests is how many requests each server without a window has to answer.
func hammerRequests(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MINIBOT_HAMMER_REQUESTS")
	if text == "" {
		return 300 // a login of Postgres takes some 50 ms of its time; make soak has them all
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRotationWithoutAFailedRequest changes all databases' passwords while clients in a container log in again and again.
func TestRotationWithoutAFailedRequest(t *testing.T) {
	in := rotating(t, "", fmt.Sprintf(hammerService, buildHammer(t)+":/hammer:ro"))
	in.start()
	in.healthy(5 * time.Minute)
	h := in.hammers()
	first := h.until(map[string]int{"redis": hammerWarm, "postgres": hammerWarm, "pair": hammerWarm})
	if first["postgres"].Failures != 0 { // a pair's role is made when Postgres has come up, just after its clients were started
		t.Fatalf("the single role failed before anything was changed: %+v", first)
	}
	before, started, began := in.values(), in.started("hammer"), time.Now()
	in.must("", "mb-secrets", "rotate", "REDIS_PASSWORD", "POSTGRES_PASSWORD", "APP_DB")
	took := time.Since(began)
	h = in.hammers() // what the former one still holds was said during the change
	want := map[string]int{}
	for server, tally := range h.until(nil) {
		want[server] = tally.Requests + hammerWarm
		if server != "postgres" {
			want[server] = max(want[server], hammerRequests(t))
		}
	}
	last := h.until(want)
	t.Logf("the change took %v; %+v", took.Round(time.Millisecond), last)
	for _, server := range []string{"redis", "pair"} {
		if last[server].Failures != first[server].Failures {
			t.Errorf("%s: requests failed: %+v", server, last[server])
		}
	}
	single := last["postgres"]
	if window := time.Duration((single.Window - single.Slowest) * float64(time.Millisecond)); window > hammerWindow {
		t.Errorf("the single role's clients could fail for %v: %+v", window, single)
	}
	if single.Failures != 0 && !strings.Contains(single.Reason, "password authentication failed") {
		t.Errorf("the single role's clients failed in another way: %+v", single)
	}
	if in.started("hammer") != started {
		t.Error("the hammer was restarted, so it did not count all")
	}
	now := in.agrees(before)
	for _, name := range rotated {
		if (now[name] == before[name]) != (name == "PLAIN") {
			t.Errorf("%s: changed is not as it was asked for", name)
		}
	}
}
