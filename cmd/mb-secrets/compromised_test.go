package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/lockdown"
)

// lockHome records a lockdown in a home.
func lockHome(t *testing.T, home string) lockdown.File {
	t.Helper()
	a := &app{homeFlag: home}
	p, err := a.at()
	if err != nil {
		t.Fatal(err)
	}
	file := lockdown.In(p.paths)
	if _, err := file.Begin(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCompromisedOnATerminal(t *testing.T) {
	home := makeHome(t, true)
	file := lockHome(t, home)
	before := storeFile(t, home)
	start(t, home, "rotate", "--compromised").sees("Replaces API_KEY, GATEWAY_TOKEN, POSTGRES_PASSWORD for good").
		sees("[y/N] ").types("\x03").sees("interrupted: nothing changed").ends(130)
	if storeFile(t, home) != before {
		t.Error("the store changed")
	}
	start(t, home, "rotate", "--compromised").sees("[y/N] ").types("y\r").
		sees("GATEWAY_TOKEN is replaced").sees("POSTGRES_PASSWORD is replaced").
		sees("[1/1] API_KEY").sees("Key of the model's provider").sees("Revoke it there first").sees("shown): ").types("\x03").
		sees("interrupted: what was replaced stays so, the stack stays locked down").sees("mb-secrets rotate --compromised goes on").ends(130)
	token := piped(t, home, "", 0, "get", "GATEWAY_TOKEN")
	start(t, home, "rotate", "--compromised", "--yes").sees("[1/1] API_KEY").
		sees("shown): ").types("\r").sees("API_KEY is still the compromised one").sees("minibotd unlock --skip API_KEY").ends(1)
	start(t, home, "rotate", "--compromised", "--yes").sees("[1/1] API_KEY").
		sees("shown): ").types("canary-before-value\r").sees("again: ").types("canary-before-value\r").sees("this is the compromised value").
		sees("shown): ").types("canary-after-value\r").sees("again: ").types("canary-after-value\r").
		sees("API_KEY is replaced").sees("all compromised secrets are replaced or skipped").ends(0)
	if got := piped(t, home, "", 0, "get", "GATEWAY_TOKEN"); got != token {
		t.Error("what was replaced was replaced once more")
	}
	if r := file.Read(); !r.Locked() || len(r.Awaiting()) > 0 {
		t.Errorf("%+v", r)
	}
}

// Where the stack is not locked down yet, that comes first, whatever engine there is.
func TestCompromisedLocksDown(t *testing.T) {
	home := makeHome(t, true)
	piped(t, home, "", 1, "rotate", "--compromised", "--yes")
	data, err := os.ReadFile(filepath.Join(home, "state", "lockdown.json"))
	if err != nil || !strings.Contains(string(data), "secrets are compromised") || strings.Contains(string(data), "canary") {
		t.Errorf("the record is %s, %v", data, err)
	}
}
