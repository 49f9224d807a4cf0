package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// importStill makes the image of testdata/still, with nothing in it but that program, and returns its name.
func importStill(t *testing.T) string {
	t.Helper()
	image := fmt.Sprintf("minibot/still:test-%d-%d", os.Getpid(), installations.Add(1))
	file := filepath.Join(t.TempDir(), "still")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./testdata/still")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "still", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	load := exec.Command("docker", "import", "-c", `ENTRYPOINT ["/still"]`, "-", image)
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v: %s", err, out)
	}
	t.Cleanup(func() { // after the containers of its installations
		if out, err := exec.Command("docker", "rmi", image).CombinedOutput(); err != nil {
			t.Errorf("docker rmi: %v: %s", err, out)
		}
	})
	return image
}

// manyServices is a project of n services with a secret each, on one network. Each healthcheck costs the engine some 50 ms of a core.
func manyServices(image string, n int, interval string) string {
	var text strings.Builder
	text.WriteString(`name: ${MINIBOT_NAME}
x-still: &still
  image: ` + image + `
  secrets: [K]
  healthcheck: { test: [CMD, /still, check], interval: ` + interval + `, timeout: 20s, retries: 3 }
services:
`)
	for i := range n {
		fmt.Fprintf(&text, "  s%d: { <<: *still, container_name: \"${MINIBOT_NAME}-s%d\" }\n", i, i)
	}
	text.WriteString("secrets:\n  K: { environment: K }\n")
	return text.String()
}

// scaled is what a number of services cost.
type scaled struct {
	services                                         int
	create, feed, starts, healthy, again, heal, idle time.Duration // again: of a new daemon; idle: processor time in a minute
	anonymous                                        int           // KiB
}

func (s scaled) String() string {
	second := func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
	return fmt.Sprintf("| %d | %s | %s | %s | %s | %s | %d ms | %.1f MB | %d ms |", s.services, second(s.create), second(s.feed), second(s.starts), second(s.healthy),
		second(s.again), s.heal.Milliseconds(), float64(s.anonymous)/1024, s.idle.Milliseconds())
}

// processor is the processor time that the daemon has used so far.
func (in *installation) processor() time.Duration {
	in.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", in.daemon.Process.Pid))
	if err != nil {
		in.t.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := cmp.Or(err1, err2); err != nil {
		in.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ
}

// times are the last end and the last start of a service's container, by the engine's clock.
func (in *installation) times(service string) (finished, started time.Time) {
	in.t.Helper()
	c, err := in.inspect(service)
	if err != nil {
		in.t.Fatal(err)
	}
	finished, err = time.Parse(time.RFC3339Nano, c.State.FinishedAt)
	if err == nil {
		started, err = time.Parse(time.RFC3339Nano, c.State.StartedAt)
	}
	if err != nil {
		in.t.Fatal(err)
	}
	return finished, started
}

// healTime kills a service and returns the time from its end to its next start.
func (in *installation) healTime(service string) time.Duration {
	in.t.Helper()
	in.docker("kill", in.container(service))
	var took time.Duration
	in.poll("started again", time.Minute, func() bool {
		finished, started := in.times(service)
		took = started.Sub(finished)
		return took > 0
	}, func() string { return service })
	return took
}

// done is how long the last action of a kind took.
func (in *installation) done(message string) time.Duration {
	in.t.Helper()
	var took time.Duration
	for line := range strings.Lines(in.must("", "minibotd", "events", "--json")) {
		var e control.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			in.t.Fatal(err)
		}
		if e.Kind == "done" && strings.HasPrefix(e.Message, message) {
			took = time.Duration(e.LatencyMS * float64(time.Millisecond))
		}
	}
	return took
}

// scale brings n services up, heals some, and measures.
func scale(t *testing.T, image string, n int, minute time.Duration) scaled {
	t.Helper()
	in := install(t, "", manyServices(image, n, "20s"), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	begin := time.Now()
	in.start()
	running := func() int {
		return len(strings.Fields(in.tryDocker("ps", "-q", "--filter", "label=com.docker.compose.project="+in.name)))
	}
	in.poll("all running", 10*time.Minute, func() bool { return running() == n+1 }, func() string { return fmt.Sprint(running(), " run") })
	s := scaled{services: n, starts: time.Since(begin)}
	in.healthy(5 * time.Minute)
	s.healthy, s.create, s.feed = time.Since(begin), in.done("create"), in.done("feed")
	var heals []time.Duration
	for i := range 5 {
		heals = append(heals, in.healTime(fmt.Sprint("s", i*n/5)))
	}
	slices.Sort(heals)
	s.heal = heals[2]
	in.healthy(5 * time.Minute)
	first := in.started("s0")
	in.term()
	begin = time.Now()
	in.start()
	in.healthy(5 * time.Minute)
	s.again = time.Since(begin)
	if in.started("s0") != first {
		t.Error("the new daemon restarted s0")
	}
	before := in.processor()
	pause := time.NewTimer(minute)
	<-pause.C
	s.idle = (in.processor() - before) * (time.Minute / minute)
	s.anonymous = (&faulty{installation: in}).usage().anonymous
	return s
}

// TestScale brings projects of as many services as MINIBOT_SCALE says up, and heals them.
func TestScale(t *testing.T) {
	t.Parallel()
	image := importStill(t)
	minute := time.Minute
	if os.Getenv("MINIBOT_SCALE") == "" {
		minute = time.Second
	}
	t.Log("| services | create | deliver | all started | all healthy | new daemon | heal one | RssAnon | CPU a minute |")
	for _, text := range strings.Split(cmp.Or(os.Getenv("MINIBOT_SCALE"), "20"), ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(text, func(t *testing.T) { t.Log(scale(t, image, n, minute)) })
	}
}
