package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
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
func comparable(line string) string {
	return strings.Join(strings.Fields(numbers.ReplaceAllString(line, "N")), " ")
}

// missingLine returns the first wanted line that does not stand in the output behind those before it.
func missingLine(out string, want []string) string {
	lines := strings.Split(out, "\n")
	for _, w := range want {
		found := false
		for len(lines) > 0 && !found {
			found = strings.HasPrefix(comparable(lines[0]), comparable(w))
			lines = lines[1:]
		}
		if !found {
			return w
		}
	}
	return ""
}

// TestEmergency runs docs/emergency.md on the shipped stack, and makes sure that no compromised value is good for anything after it.
func TestEmergency(t *testing.T) {
	commands := emergencyCommands(t)
	in, gateway := shipped(t, "")
	in.start()
	in.healthy(8 * time.Minute)
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
			in.onlyNewValues(gateway)
		}
	}
	in.healthy(4 * time.Minute)
	in.searchEverything()
}

// onlyNewValues checks that the databases take what is stored, and none of the values from before.
func (in *installation) onlyNewValues(gateway string) {
	in.t.Helper()
	for name, login := range map[string]func(string) bool{"POSTGRES_PASSWORD": in.postgresTakes, "REDIS_PASSWORD": in.redisTakes} {
		if value := in.must("", "mb-secrets", "get", name); value == canaries[name] || !login(value) {
			in.t.Errorf("%s: what is stored is the compromised one, or refused", name)
		}
		if login(canaries[name]) {
			in.t.Errorf("%s: the compromised value is taken", name)
		}
	}
	if s, err := in.status(); err == nil && service(s, "openclaw").State == "running" && in.gatewayTakes(gateway, canaries["OPENCLAW_GATEWAY_TOKEN"]) {
		in.t.Error("OPENCLAW_GATEWAY_TOKEN: the compromised value is taken")
	}
}
