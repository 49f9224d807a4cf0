package stack

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"minibot/hint"
)

func TestHeal(t *testing.T) {
	for text, want := range map[string]Heal{
		"restart":                {Unhealthy: "restart"},
		"none":                   {Off: true},
		"{}":                     {},
		"{ unhealthy: restart }": {Unhealthy: "restart"},
		"{ unhealthy: stop }":    {Unhealthy: "stop"},
		"{ unhealthy: ignore }":  {Unhealthy: "ignore"},
		"{ max_attempts: 0 }":    {},
		"{ unhealthy: recreate, start_grace: 60s, backoff: 1m30s, max_attempts: 5, stop_timeout: 10s }": {Unhealthy: "recreate", StartGrace: time.Minute,
			Backoff: 90 * time.Second, MaxAttempts: 5, StopTimeout: 10 * time.Second},
	} {
		p := load(t, badHead+"    x-minibot:\n      heal: "+text+"\n")
		if got := p.Services["web"].Heal; got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestHealFaultsNameTheKey(t *testing.T) {
	const x = "services.web.x-minibot.heal"
	for text, want := range map[string]struct{ message, hint string }{
		"{ unhealthy: reboot }":    {x + `.unhealthy: "reboot" is none of restart, recreate, stop, ignore`, ""},
		"{ unhealthy: none }":      {x + ".unhealthy: ", ""},
		"{ backof: 1s }":           {x + ".backof: unknown key", "unhealthy, start_grace, backoff, max_attempts, stop_timeout"},
		"{ backoff: 5 }":           {x + ".backoff: no number belongs here", ""},
		"{ backoff: 10ms }":        {x + `.backoff: "10ms" is no time such as 30s, between 1s and 1h0m0s`, ""},
		"{ backoff: 2h }":          {x + ".backoff: ", ""},
		"{ start_grace: -1s }":     {x + ".start_grace: ", ""},
		"{ start_grace: soon }":    {x + ".start_grace: ", ""},
		"{ max_attempts: -1 }":     {x + ".max_attempts: -1 is not between 0", ""},
		"{ max_attempts: 1001 }":   {x + ".max_attempts: ", ""},
		"{ max_attempts: many }":   {x + ".max_attempts: no string belongs here", ""},
		"{ stop_timeout: 0s }":     {x + ".stop_timeout: ", ""},
		"{ stop_timeout: 1500ms }": {x + ".stop_timeout: 1.5s is not in whole seconds", ""},
		"{ stop_timeout: 11s }":    {x + ".stop_timeout: 11s is longer than the service's stop_grace_period, 10s", ""},
		"[a]":                      {x + ": no array belongs here", ""},
		"5":                        {x + ": no number belongs here", ""},
		"sometimes":                {x + `: "sometimes" is neither restart nor none`, "or a mapping with unhealthy"},
	} {
		_, err := Load(t.Context(), LoadOptions{File: writeCompose(t, badHead+"    x-minibot:\n      heal: "+text+"\n")})
		var located *LoadError
		if !errors.As(err, &located) || !strings.Contains(err.Error(), want.message) || !strings.Contains(hint.Of(err), want.hint) {
			t.Errorf("%s: %v (%s)", text, err, hint.Of(err))
		}
	}
}

func TestDatabasesAreNeverKilledEarly(t *testing.T) {
	rotated := func(driver string) string {
		return "secrets: { p: { environment: P, x-minibot: { rotate: { driver: " + driver + ", service: db } } } }\n"
	}
	for name, tt := range map[string]struct{ image, more, end, why string }{
		"rotated by postgres": {"db:1", "", rotated("postgres"), "P is rotated inside it"},
		"rotated by redis":    {"db:1", "", rotated("redis"), "P is rotated inside it"},
		"rotated by exec":     {"db:1", "", rotated("exec, command: [a]"), ""},
		"image":               {"docker.io/library/postgres:17-alpine", "", "", "its image is postgres"},
		"image with a digest": {"postgres@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "", "", "its image is postgres"},
		"somebody's image":    {"example.com:5000/my-redis:1", "", "", "its image is my-redis"},
		"an exporter":         {"postgres-exporter:1", "", "", ""},
		"environment":         {"db:1", "    environment: { PGDATA: /data }\n", "", "its environment has PGDATA"},
		"a client":            {"db:1", "    environment: { POSTGRES_HOST: pg }\n", "", ""},
	} {
		text := "name: a\nservices:\n  db:\n    image: " + tt.image + "\n" + tt.more + "    x-minibot: { heal: { stop_timeout: 2s } }\n" + tt.end
		p, err := Load(t.Context(), LoadOptions{File: writeCompose(t, text)})
		switch {
		case tt.why == "" && (err != nil || p.Services["db"].Heal.StopTimeout != 2*time.Second):
			t.Errorf("%s: %v", name, err)
		case tt.why != "" && (err == nil || !strings.Contains(err.Error(), "services.db.x-minibot.heal.stop_timeout: a database is never killed early: "+tt.why)):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// How a service is healed is nothing that its container is made of.
func TestHealIsNoPartOfTheHash(t *testing.T) {
	file := writeCompose(t, "")
	hash := func(more string) string {
		if err := os.WriteFile(file, []byte(badHead+more), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(t.Context(), LoadOptions{File: file})
		if err != nil {
			t.Fatal(err)
		}
		return p.Hash()
	}
	a, b := hash("    x-minibot: { heal: none }\n"), hash("    x-minibot: { heal: { max_attempts: 3 } }\n")
	if a == "" || a != b {
		t.Errorf("%q, %q", a, b)
	}
	if hash("    command: other\n") == a {
		t.Error("another command has the same hash")
	}
}
