package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// shortHome is a home whose path leaves room for a socket.
func shortHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "mb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	compose, err := os.ReadFile("testdata/compose.yaml")
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "compose.yaml"), compose, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return home
}

func TestRotateAllAsks(t *testing.T) {
	home := makeHome(t, true)
	before := storeFile(t, home)
	start(t, home, "rotate", "--all").sees("Rotate GATEWAY_TOKEN, POSTGRES_PASSWORD? [y/N]").types("\r").sees("not confirmed: nothing changed").ends(1)
	start(t, home, "rotate", "--all").sees("[y/N]").types("\x03").sees("interrupted: nothing changed").ends(130)
	start(t, home, "rotate", "--due").sees("there is nothing to rotate").ends(0)
	start(t, home, "rotate", "--all", "--plan").sees("adopt").ends(0)
	if storeFile(t, home) != before {
		t.Error("the store changed")
	}
	start(t, home, "rotate", "--all").sees("[y/N]").types("y\r").sees("API_KEY must be set by hand").sees("GATEWAY_TOKEN is changed").
		sees("POSTGRES_PASSWORD waits in pending").ends(0)
	start(t, home, "rotate", "GATEWAY_TOKEN").sees("GATEWAY_TOKEN is changed").ends(0) // named: not asked about
}

// TestInterruptLeavesARotationToTheDaemon checks what ^C says while minibotd is at work, and that it goes on.
func TestInterruptLeavesARotationToTheDaemon(t *testing.T) {
	home := shortHome(t)
	d := newFakeDaemon(filepath.Join(home, "compose.yaml"))
	d.goOn, d.ended = make(chan struct{}), make(chan error, 1)
	end, err := serveFake(home, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	goOn := sync.OnceFunc(func() { close(d.goOn) })
	t.Cleanup(goOn) // or a test that fails would wait for the rotation
	piped(t, home, "", 1, "init", "--generate")
	before := piped(t, home, "", 0, "get", "GATEWAY_TOKEN")
	p := start(t, home, "rotate", "GATEWAY_TOKEN").sees("accept").sees("adopt").sees("restarting")
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.sees("interrupted: minibotd goes on with the change").sees("hint: minibotd status").sees("mb-secrets history").ends(130)
	goOn()
	if err := <-d.ended; err != nil {
		t.Errorf("the daemon's rotation ended with %v", err)
	}
	if after := piped(t, home, "", 0, "get", "GATEWAY_TOKEN"); after == before || len(after) != 40 {
		t.Error("the daemon did not go on")
	}
	if out := piped(t, home, "", 0, "history", "GATEWAY_TOKEN"); strings.Count(out, "done") != 2 {
		t.Errorf("history: %s", out)
	}
}

func TestTook(t *testing.T) {
	for ms, want := range map[float64]string{0: "-", -1: "-", 0.2: "1 ms", 12.4: "12 ms", 999: "999 ms", 1500: "1.5 s", 99_900: "99.9 s", 600_000: "10 min"} {
		if got := took(ms); got != want {
			t.Errorf("%v: %q, want %q", ms, got, want)
		}
	}
}

func TestByIsWhatTheWireTakes(t *testing.T) {
	t.Setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
	if got := by(); !strings.HasSuffix(got, " (ssh)") || strings.Contains(got, "192") {
		t.Errorf("by %q", got)
	}
	if got := unusual.ReplaceAllString("DOMAIN\\jürgen x\n", "_"); got != "DOMAIN_j_rgen_x_" {
		t.Errorf("%q", got)
	}
}

// TestADaemonThatStartsMeanwhileIsAsked has one take the store while a passphrase is typed for opening it.
func TestADaemonThatStartsMeanwhileIsAsked(t *testing.T) {
	home := shortHome(t)
	piped(t, home, "API_KEY=canary-before-value\n", 0, "init", "--generate", "--store", "age")
	start(t, home, "rekey", "--passphrase").sees("new passphrase").types("canary phrase\r").sees("again: ").types("canary phrase\r").
		sees("sealed to the passphrase").ends(0)
	listing := start(t, home, "list").sees("passphrase of the store")
	getting := start(t, home, "get", "API_KEY").sees("passphrase of the store")
	end, err := serveFake(home, newFakeDaemon(filepath.Join(home, "compose.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	listing.types("canary phrase\r").sees("API_KEY").sees("missing").ends(0) // the daemon's own store is empty
	getting.types("canary phrase\r").sees("has just started; nothing was changed, run this again").ends(1)
}
