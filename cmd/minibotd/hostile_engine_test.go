package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"minibot/control"
)

// hostileCompose has a container that writes whatever could harm who shows it, and fails; and one that writes without end.
const hostileCompose = `name: ${MINIBOT_NAME}
x-any: &any
  image: ${MINIBOT_REDIS_IMAGE}
  init: true
  stop_grace_period: 1s
  tmpfs: [/data]
  secrets: [K]
  network_mode: none
  logging: { driver: json-file, options: { max-size: 10m, max-file: "1" } }
services:
  evil:
    <<: *any
    container_name: "${MINIBOT_NAME}-evil"
    environment: { TITLE: "\e]0;title\a\e[2J\u202e" }
    labels: { "evil\e[31m": "\e]8;;http://evil\a", large: "LARGE" }
    entrypoint:
      - sh
      - -c
      - |
        printf '\033[2J\033]0;title\007\033]8;;http://evil\033\\click\033]8;;\033\\ \342\200\256reversed \302\23331m\r\n'
        head -c 3000000 /dev/zero | tr '\000' x
        printf '\n\000\377\376\n'
        head -c 1000000 /dev/urandom
        printf '\n'
        head -c 100000 /dev/zero | tr '\000' y
        printf '\nlast \033[31mwords\033]52;c;Y2FuYXJ5\007'
        exit 3
  flood:
    <<: *any
    container_name: "${MINIBOT_NAME}-flood"
    entrypoint: ["sh", "-c", "while ! test -e /data/go; do sleep 0.1; done; yes $$(head -c 5000 /dev/zero | tr '\\0' z) | head -c 60000000; echo the-end-of-it; while :; do sleep 3600 & wait $$!; done"]
secrets:
  K: { environment: K }
`

// rss is what a process holds of memory, in bytes.
func rss(t *testing.T, pid int) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

// TestAttackHostileContainer holds that a container's labels, environment, exit and log neither reach a terminal as
// anything but printable text, nor grow the daemon, and that status stays short.
func TestAttackHostileContainer(t *testing.T) {
	t.Parallel()
	in := install(t, "", strings.Replace(hostileCompose, "LARGE", strings.Repeat("l", 900<<10), 1), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	s := in.until("evil given up, with its last words", 3*time.Minute, func(s control.Status) bool { return len(service(s, "evil").LastLog) > 0 })
	held := 0
	for _, line := range service(s, "evil").LastLog {
		held += len(line)
		if len(line) > excerptWidth+100 {
			t.Errorf("a last line of %d bytes", len(line))
		}
	}
	if n := len(service(s, "evil").LastLog); n > excerptLines || held > excerptLines*(excerptWidth+100) {
		t.Errorf("%d last lines of %d bytes", n, held)
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"events"}, {"events", "--json"}, {"logs", "evil", "--tail", "0"}, {"logs", "--tail", "50"}} {
		r := in.run("", "minibotd", args...)
		text := r.stdout + r.stderr
		if i := strings.IndexFunc(text, func(c rune) bool { return !unicode.IsPrint(c) && c != '\n' && c != '\t' }); i >= 0 || !utf8.ValidString(text) {
			t.Errorf("%v sends %q", args, text[max(i, 0):min(max(i, 0)+40, len(text))])
		}
		if !strings.Contains(text, "evil") && args[0] != "logs" || len(text) > 40<<20 || args[0] == "status" && len(text) > 100<<10 {
			t.Errorf("%v shows %d bytes: %.200s", args, len(text), text)
		}
		for line := range strings.Lines(text) {
			if len(line) > 4*(maxLogLine+100) { // escaped, a byte takes four
				t.Errorf("%v: a line of %d bytes", args, len(line))
			}
		}
	}
	if r := in.run("", "minibotd", "status", "--json"); !json.Valid([]byte(r.stdout)) { // it exits 1: not healthy
		t.Error("the JSON is broken")
	}
	in.flood()
	if hwm := rss(t, in.daemon.Process.Pid); hwm > 200<<20 {
		t.Errorf("the daemon held %d MiB at its largest", hwm>>20)
	}
}

// flood follows a log of 60 MB to its end.
func (in *installation) flood() {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "minibotd"), "logs", "flood", "-f")
	cmd.Env = in.environ()
	out, err := cmd.StdoutPipe()
	if err != nil {
		in.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	in.docker("exec", in.container("flood"), "touch", "/data/go")
	total, tail, block := 0, "", make([]byte, 64<<10)
	for !strings.Contains(tail, "the-end-of-it") {
		n, err := out.Read(block)
		if err != nil {
			in.t.Fatalf("after %d bytes: %v", total, err)
		}
		total += n
		tail = tail[max(0, len(tail)-100):] + string(block[:n])
	}
	cancel()
	_ = cmd.Wait() // killed
	in.t.Logf("%d bytes were followed", total)
}
