package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/secrets"
	"minibot/secrets/secretservice"
	"minibot/secrets/secretservice/keyringtest"
)

// keyringed is a tiny installation whose secret lies in the keyring of a session of its own.
func keyringed(t *testing.T) (*installation, *keyringtest.Session) {
	t.Helper()
	session := keyringtest.Start(t)
	in := install(t, "", tinyCompose, nil)
	in.configure(`store = "secret-service"`)
	in.env = []string{"DBUS_SESSION_BUS_ADDRESS=" + session.BusAddress()}
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	return in, session
}

// byHand stores a secret past minibot, as a person does with secret-tool, or removes it.
func byHand(t *testing.T, session *keyringtest.Session, name secrets.Name, plain string) {
	t.Helper()
	store, err := secretservice.Open(t.Context(), secretservice.Options{BusAddress: session.BusAddress()})
	if err != nil {
		t.Fatal(err)
	}
	if plain == "" {
		err = store.Delete(t.Context(), name, secrets.Current)
	} else {
		var value secrets.Value
		if value, err = secrets.NewValue([]byte(plain)); err == nil {
			err = store.Put(t.Context(), name, secrets.Current, value)
		}
	}
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
}

func (in *installation) holds(service string) string {
	return in.tryDocker("exec", in.container(service), "cat", "/run/secrets/K")
}

// TestWaitsForTheUnlock has the keyring locked at the start, and unlocked while nobody asks.
func TestWaitsForTheUnlock(t *testing.T) {
	t.Parallel()
	in, session := keyringed(t)
	session.RestartKeyringLocked()
	in.start()
	status := in.until("waiting for the store", 60*time.Second, func(s control.Status) bool { return s.Reason != "" })
	if status.Phase != control.PhaseWaitingForStore || status.Store.State != "locked" || status.Store.Kind != "secret-service" || status.Hint == "" {
		t.Errorf("%+v", status)
	}
	if r := in.run("", "mb-secrets", "list"); r.code != 7 || !strings.Contains(r.stderr, "locked") || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("list: %+v", r)
	}
	session.RestartKeyring()
	in.until("going on by itself", waitMost+30*time.Second, func(s control.Status) bool { return s.Phase != control.PhaseWaitingForStore })
	in.healthy(60 * time.Second)
	if got := in.holds("c"); got != tinyCanary {
		t.Errorf("c has %q", got)
	}

	// A keyring that locks or dies later takes nothing away from what runs.
	began := in.started("c")
	session.KillKeyring()
	in.until("unavailable", 60*time.Second, func(s control.Status) bool { return s.Store.State == "unavailable" })
	if r := in.run("", "mb-secrets", "get", "K"); r.code != 7 || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("get without a keyring: %+v", r)
	}
	session.RestartKeyringLocked()
	in.until("locked", 60*time.Second, func(s control.Status) bool { return s.Store.State == "locked" && s.Phase == control.PhaseHealthy })
	session.RestartKeyring()
	in.until("open", 60*time.Second, func(s control.Status) bool { return s.Store.State == "open" })
	if in.must("", "mb-secrets", "get", "K") != tinyCanary || in.started("c") != began {
		t.Error("the secret is another one, or c was restarted")
	}
	in.mustNotLog(tinyCanary)
}

// events is the text of the event log.
func (in *installation) events() string {
	in.t.Helper()
	text, err := os.ReadFile(filepath.Join(in.home, "state", "events.jsonl"))
	if err != nil {
		in.t.Fatal(err)
	}
	return string(text)
}

func (in *installation) mustNotLog(words ...string) {
	in.t.Helper()
	for _, word := range words {
		if strings.Contains(in.log.String()+in.events(), word) {
			in.t.Error("a value is in the log or the events")
		}
	}
}

// TestChangedByHand changes a secret past minibot: a reload takes it, and so does a look through the store from time to time.
func TestChangedByHand(t *testing.T) {
	t.Parallel()
	in, session := keyringed(t)
	in.start()
	in.healthy(60 * time.Second)

	byHand(t, session, "K", "canary-by-hand-1")
	if out := in.must("", "minibotd", "reload"); !strings.Contains(out, "K was changed by hand") {
		t.Errorf("reload says %s", out)
	}
	for _, name := range []string{"a", "b", "c"} {
		if got := in.holds(name); got != "canary-by-hand-1" {
			t.Errorf("%s has %q", name, got)
		}
	}
	if out := in.must("", "minibotd", "reload"); !strings.Contains(out, "nothing changed") {
		t.Errorf("the second reload says %s", out)
	}

	byHand(t, session, "K", "canary-by-hand-2")
	in.poll("seen without a command", storeInterval+10*time.Second, func() bool {
		return strings.Count(in.events(), "was changed by hand; the change begins") == 2
	}, in.log.String)
	in.until("rotating", 60*time.Second, func(s control.Status) bool { return s.Phase != control.PhaseHealthy })
	in.healthy(60 * time.Second)
	if got := in.holds("c"); got != "canary-by-hand-2" {
		t.Errorf("c has %q", got)
	}

	// Removed by hand: what runs goes on, and whoever looks sees what is missing.
	began := in.started("c")
	byHand(t, session, "K", "")
	in.must("", "minibotd", "reload")
	if out := in.must("", "mb-secrets", "list"); !strings.Contains(out, "missing") || in.started("c") != began {
		t.Errorf("list says %s", out)
	}
	byHand(t, session, "K", "canary-by-hand-3")
	in.must("", "minibotd", "reload")
	if got := in.holds("c"); got != "canary-by-hand-3" {
		t.Errorf("c has %q", got)
	}
	in.mustNotLog("canary-by-hand", tinyCanary)
}

// TestMigrateWhileRunning moves the secrets under a running daemon, there and back.
func TestMigrateWhileRunning(t *testing.T) {
	t.Parallel()
	in, _ := keyringed(t)
	in.start()
	in.healthy(60 * time.Second)
	began := in.started("c")
	out := in.must("", "mb-secrets", "migrate", "--to", "age", "--remove")
	for _, part := range []string{"K is copied", "the store is now age", "1 old items are removed from secret-service", "Back up "} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in:\n%s", part, out)
		}
	}
	if s := in.healthy(time.Second); s.Store.Kind != "age" || s.Store.State != "open" {
		t.Errorf("%+v", s.Store)
	}
	if out := in.must("", "minibotd", "reload"); !strings.Contains(out, "nothing changed") || in.started("c") != began {
		t.Errorf("reload says %s", out)
	}
	in.must("canary-after-the-move\n", "mb-secrets", "set", "K")
	if got := in.holds("c"); got != "canary-after-the-move" {
		t.Errorf("c has %q", got)
	}
	in.kill()
	in.start()
	in.healthy(60 * time.Second)
	if got := in.must("", "mb-secrets", "get", "K"); got != "canary-after-the-move" {
		t.Errorf("after a restart K is %q", got)
	}
	if r := in.run("", "mb-secrets", "migrate", "--to", "keychain"); r.code != 7 || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("to a store that is not here: %+v", r)
	}
	in.must("", "mb-secrets", "migrate", "--to", "secret-service")
	if got := in.must("", "mb-secrets", "get", "K"); got != "canary-after-the-move" {
		t.Errorf("moved back, K is %q", got)
	}
	in.mustNotLog("canary-after-the-move", tinyCanary)
}
