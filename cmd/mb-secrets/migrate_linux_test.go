package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/secrets/secretservice/keyringtest"
	"minibot/secrets/security/securitytest"
)

// standin starts a stand-in for macOS's security, and lets the test's mb-secrets use it.
func standin(t *testing.T) *securitytest.Standin {
	t.Helper()
	program, err := securitytest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := securitytest.New(t, program)
	t.Setenv(securityVariable, s.Program)
	return s
}

// keyring starts a session with a keyring, for the test's mb-secrets to be in.
func keyring(t *testing.T) *keyringtest.Session {
	t.Helper()
	s := keyringtest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", s.BusAddress())
	return s
}

// fails runs mb-secrets without a terminal, and returns its stderr.
func fails(t *testing.T, home string, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command("mb-secrets", append([]string{"--home", home}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	_ = cmd.Run() // the exit code says it
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: exit code %d, want %d\n%s", args, got, code, errs.String())
	}
	return errs.String()
}

// mustSay checks that a text has each of the parts.
func mustSay(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func configOf(t *testing.T, home string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMigrateThroughTheStores(t *testing.T) {
	s := standin(t)
	home := makeHome(t, true)
	keyring(t)
	piped(t, home, "canary-pending-value", 0, "set", "POSTGRES_PASSWORD") // waits for its database
	postgres := piped(t, home, "", 0, "get", "POSTGRES_PASSWORD")
	check := func(store string) {
		t.Helper()
		if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
			t.Errorf("%s: API_KEY is %q", store, got)
		}
		if got := piped(t, home, "", 0, "get", "POSTGRES_PASSWORD"); got != postgres {
			t.Errorf("%s: POSTGRES_PASSWORD is another one", store)
		}
		mustSay(t, piped(t, home, "", 0, "list"), "POSTGRES_PASSWORD  yes  just now  in 90 days  postgres  pending")
		mustSay(t, configOf(t, home), fmt.Sprintf("store = %q", store), "# where secrets are kept")
	}

	out := piped(t, home, "", 0, "migrate", "--to", "security")
	mustSay(t, out, "API_KEY is copied", "POSTGRES_PASSWORD (pending) is copied", "copies are read back and equal", "the store is now security",
		"the old items stay in age; mb-secrets migrate --to security --remove removes them")
	check("security")
	byHand := exec.Command(s.Program, "find-generic-password", "-s", "minibot", "-a", "API_KEY", "-w")
	if out, err := byHand.Output(); err != nil || string(out) != "canary-before-value\n" {
		t.Errorf("security by hand finds %q, %v", out, err)
	}
	mustSay(t, piped(t, home, "", 0, "migrate", "--to", "security", "--remove"), "4 old items are removed from age")
	check("security")
	mustSay(t, piped(t, home, "", 0, "migrate", "--to", "security"), "the store is security already; nothing changes")

	mustSay(t, piped(t, home, "", 0, "migrate", "--to", "secret-service", "--remove"), "4 old items are removed from security")
	check("secret-service")
	if items := s.Items(); len(items) > 0 {
		t.Errorf("%d items stay in the keychain", len(items))
	}

	// Back to the file, which is empty, and once more to the keyring, which is not.
	piped(t, home, "", 0, "migrate", "--to", "age")
	check("age")
	piped(t, home, "canary-newer-value", 0, "set", "API_KEY")
	mustSay(t, fails(t, home, 1, "migrate", "--to", "secret-service"), "the store holds other secrets already: [API_KEY]",
		"hint: mb-secrets migrate --to secret-service --overwrite replaces them by what age holds")
	mustSay(t, configOf(t, home), `store = "age"`)
	piped(t, home, "", 0, "migrate", "--to", "secret-service", "--overwrite", "--remove")
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-newer-value" {
		t.Errorf("API_KEY is %q", got)
	}
	s.MustKeepSecret("canary", postgres)
}

func TestMigrateRefuses(t *testing.T) {
	s := standin(t)
	home := makeHome(t, true)
	mustSay(t, fails(t, home, 2, "migrate"), "--to wants a store: age, keychain, security, secret-service")
	mustSay(t, fails(t, home, 2, "migrate", "--to", "vault"), "--to wants a store")
	mustSay(t, fails(t, home, 2, "migrate", "age"), "migrate takes no argument")
	mustSay(t, fails(t, home, 7, "migrate", "--to", "keychain"), "this build", "hint: ")
	mustSay(t, fails(t, home, 7, "migrate", "--to", "secret-service"), "hint: ")
	s.Lock(true)
	mustSay(t, fails(t, home, 7, "migrate", "--to", "security"), "store is locked", "hint: security unlock-keychain")
	s.Lock(false)
	piped(t, home, "", 0, "migrate", "--to", "security")
	mustSay(t, fails(t, home, 2, "migrate", "--to", "keychain"), "both stores keep the same items", "hint: mb-secrets migrate --to keychain --remove")
	mustSay(t, fails(t, home, 2, "init", "--store", "age"), "store is security already", "hint: mb-secrets migrate --to age")
	s.Deny(true)
	mustSay(t, fails(t, home, 7, "get", "API_KEY"), "API_KEY", "denied", "hint: ")
	s.Deny(false)
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
		t.Errorf("API_KEY is %q", got)
	}
}

// TestNoStoreIsOpenWhileItsItemsAreTakenOver leaves what a move between keychain and security leaves when it is killed in the middle.
func TestNoStoreIsOpenWhileItsItemsAreTakenOver(t *testing.T) {
	standin(t)
	home := makeHome(t, true)
	piped(t, home, "", 0, "migrate", "--to", "security", "--remove")
	record := filepath.Join(home, "state", "migration.json")
	if err := os.WriteFile(record, []byte(`{"version":1,"from":"security","to":"keychain","phase":"taking"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list"}, {"get", "API_KEY"}, {"generate", "GATEWAY_TOKEN", "--yes"}, {"migrate", "--to", "age"}} {
		mustSay(t, fails(t, home, 7, args...), "a move from security to keychain was interrupted; every secret is still there",
			"hint: mb-secrets migrate --to keychain --remove goes on from there")
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
		t.Errorf("API_KEY is %q", got)
	}
}

// TestMigrateKilled kills the command at many moments of a move that removes the old items, and runs it again.
func TestMigrateKilled(t *testing.T) {
	standin(t)
	home := makeHome(t, true)
	stores := []string{"security", "age"}
	for round := range 8 {
		to := stores[round%2]
		cmd := exec.Command("mb-secrets", "--home", home, "migrate", "--to", to, "--remove")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(20+30*round)*time.Millisecond, func() { _ = cmd.Process.Kill() }) // it may be done
		_ = cmd.Wait()                                                                                          // killed, or done
		timer.Stop()
		if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
			t.Fatalf("round %d: API_KEY is %q", round, got)
		}
		piped(t, home, "", 0, "migrate", "--to", to, "--remove")
		if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
			t.Fatalf("round %d, run again: API_KEY is %q", round, got)
		}
	}
}

func TestInitChoosesTheStore(t *testing.T) {
	s := standin(t)
	home := makeHome(t, false)
	mustSay(t, piped(t, home, "API_KEY=canary-first\n", 0, "init", "--generate"), `store = "age": the session offers no keyring`, "created the store")

	session := keyring(t)
	home = makeHome(t, false)
	mustSay(t, piped(t, home, "API_KEY=canary-first\n", 0, "init", "--generate"), `secrets are kept in the session's keyring (store = "secret-service": the session offers a keyring)`)
	if _, err := os.Stat(filepath.Join(home, "store.age")); err == nil {
		t.Error("there is a file store too")
	}
	session.RestartKeyringLocked()
	mustSay(t, fails(t, home, 7, "get", "API_KEY"), "locked", "hint: ")
	mustSay(t, fails(t, home, 7, "list"), "locked", "hint: ")
	session.RestartKeyring()
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-first" {
		t.Errorf("API_KEY is %q", got)
	}

	home = makeHome(t, false)
	mustSay(t, fails(t, home, 2, "init", "--store", "vault"), "--store wants one of age, keychain, security, secret-service")
	mustSay(t, piped(t, home, "API_KEY=canary-first\n", 0, "init", "--generate", "--store", "security"), `store = "security": as asked for`)
	if got := len(s.Items()); got != 3 {
		t.Errorf("%d items in the keychain", got)
	}
	// Items that were made by hand are found, and the other way round.
	byHand := exec.Command(s.Program, "add-generic-password", "-U", "-s", "minibot", "-a", "API_KEY", "-w", `by hand "q" \ ü`)
	if out, err := byHand.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != `by hand "q" \ ü` {
		t.Errorf("API_KEY is %q", got)
	}
}
