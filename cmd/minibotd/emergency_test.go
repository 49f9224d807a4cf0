package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"minibot/deploy"
)

const emergencyFile = "../../docs/emergency.md"

// shown is one command of the docs and the lines that stand below it.
type shown struct {
	line   string
	output []string
}

// emergencyCommands are those of docs/emergency.md, in order.
func emergencyCommands(t *testing.T) []shown {
	t.Helper()
	text, err := os.ReadFile(emergencyFile)
	if err != nil {
		t.Fatal(err)
	}
	var list []shown
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console emergency"
			if !inside && line != "```" {
				t.Fatalf("a block of another kind: nobody runs it: %s", line)
			}
		case inside && strings.HasPrefix(line, "$ "):
			list = append(list, shown{line: line[2:]})
		case inside:
			list[len(list)-1].output = append(list[len(list)-1].output, line)
		}
	}
	if len(list) < 10 {
		t.Fatalf("only %d commands", len(list))
	}
	return list
}

var numbers = regexp.MustCompile(`just now|\d+ (second|minute)s?`)

// comparable is a line without what differs from run to run.
func withoutNumbers(line string) string {
	return strings.Join(strings.Fields(numbers.ReplaceAllString(line, "N")), " ")
}

// missingLine returns the first wanted line that does not stand in the output behind those before it.
func missingLine(out string, want []string) string {
	lines := strings.Split(out, "\n")
	for _, w := range want {
		found := false
		for len(lines) > 0 && !found {
			found = strings.HasPrefix(withoutNumbers(lines[0]), withoutNumbers(w))
			lines = lines[1:]
		}
		if !found {
			return w
		}
	}
	return ""
}

// standIn is in OpenClaw's place: it takes the same secrets, and starts in a moment.
const standIn = `
  openclaw:
    <<: *defaults
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: ${MINIBOT_NAME:-minibot}-openclaw
    entrypoint: ["sh", "-c", "cat /run/secrets/* >/dev/null; echo ready | tee /kept/state; while :; do sleep 3600 & wait $$!; done"]
    init: true
    stop_grace_period: 1s
    tmpfs: [/data]
    volumes: ["openclaw:/kept"]
    secrets: [ANTHROPIC_API_KEY, TELEGRAM_BOT_TOKEN, OPENCLAW_GATEWAY_TOKEN]
    depends_on: { postgres: { condition: service_healthy }, redis: { condition: service_healthy } }
`

// databasesAndStandIn is an installation of the shipped compose file, but for OpenClaw.
func databasesAndStandIn(t *testing.T) *installation {
	t.Helper()
	text := string(deploy.ComposeFile)
	before, rest, found := strings.Cut(text, "\n  openclaw:\n")
	_, after, ends := strings.Cut(rest, "\nconfigs:\n")
	if !found || !ends {
		t.Fatal("the shipped compose file has no openclaw, or no configs after it")
	}
	text = before + standIn + "\nconfigs:\n" + strings.Replace(after, "      rotate: { driver: openclaw, service: openclaw }\n", "", 1)
	in := install(t, "", text, map[string]string{"MINIBOT_POSTGRES_PORT": freePort(t), "MINIBOT_REDIS_PORT": freePort(t)})
	var lines strings.Builder
	for name, value := range canaries {
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	in.must(lines.String(), "mb-secrets", "init")
	return in
}

// TestEmergency runs docs/emergency.md on real databases, and makes sure that no compromised value is good for anything after it.
func TestEmergency(t *testing.T) {
	t.Parallel()
	commands := emergencyCommands(t)
	in := databasesAndStandIn(t)
	in.start()
	in.healthy(4 * time.Minute)
	bin := t.TempDir() // stands in for a password manager
	if err := os.WriteFile(filepath.Join(bin, "pass"), []byte("#!/bin/sh\nprintf 'canary-%s-from-pass' \"$2\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", c.line)
		cmd.Env = append(in.environ(), "PATH="+programs+":"+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		refuses := strings.Contains(strings.Join(c.output, "\n"), "error: ") || strings.Contains(strings.Join(c.output, "\n"), "locked-down")
		if (err != nil) != refuses {
			t.Fatalf("$ %s\n%s%v", c.line, out, err)
		}
		if canary.Match(out) {
			t.Errorf("$ %s\nshows a value", c.line)
		}
		if line := missingLine(string(out), c.output); line != "" {
			t.Errorf("$ %s\ngot:\n%swithout, or out of order: %s", c.line, out, line)
		}
		if strings.Contains(c.line, "unlock") {
			in.onlyNewValues()
		}
	}
	in.healthy(4 * time.Minute)
	in.searchEverything()
}

// onlyNewValues checks that the databases take what is stored, and none of the values from before.
func (in *installation) onlyNewValues() {
	in.t.Helper()
	for name, login := range map[string]func(string) bool{"POSTGRES_PASSWORD": in.postgresTakes, "REDIS_PASSWORD": in.redisTakes} {
		if value := in.must("", "mb-secrets", "get", name); value == canaries[name] || !login(value) {
			in.t.Errorf("%s: what is stored is the compromised one, or refused", name)
		}
		if login(canaries[name]) {
			in.t.Errorf("%s: the compromised value is taken", name)
		}
	}
}
