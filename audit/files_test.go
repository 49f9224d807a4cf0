package audit

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minibot/control"
	"minibot/secrets"
)

func TestPipesSocketsAndLoopsDoNotHoldTheAuditUp(t *testing.T) {
	a := clean(t)
	pipe, opened := filepath.Join(a.UserHome, "pipe"), make(chan *os.File, 1)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { // it waits until somebody opens the pipe for reading
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
		}
		opened <- f
	}()
	listener, err := net.Listen("unix", a.Paths.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if err := os.Chmod(a.Paths.Socket, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		".env": ".env.2", ".env.2": ".env", ".profile": "/dev/zero", "minibot/loop": "..", "minibot/state/up": "../..", ".netrc": "/nowhere", ".zsh_history": "pipe",
	} {
		path := filepath.Join(a.UserHome, link)
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(a.UserHome, ".pgpass"), canary)
	all, _ := audit(t, a)
	if len(in(all, "secret-in-client-config", "/.pgpass")) != 1 {
		t.Errorf("%+v", all)
	}
	select {
	case <-opened:
		t.Error("the audit opened a pipe")
	default:
		reader, err := os.OpenFile(pipe, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = (<-opened).Close(), reader.Close()
	}
}

func TestTheStoresOwnFilesAreLeftAlone(t *testing.T) {
	a := clean(t)
	put(t, filepath.Join(a.Paths.Home, "store.age"), canary)
	put(t, filepath.Join(a.Paths.Home, "age.key"), canary)
	put(t, filepath.Join(a.Paths.Home, "old/store.age"), canary)
	all, _ := audit(t, a)
	if len(in(all, "secret-in-file", "")) != 1 || len(in(all, "secret-in-file", "old/store.age")) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestAValueThatTwoSlotsShareIsOneFinding(t *testing.T) {
	a := clean(t)
	a.Secrets = append(a.Secrets, secret(t, nameOfIt, secrets.Previous, canary), secret(t, "OTHER", secrets.Previous, canary))
	put(t, filepath.Join(a.UserHome, ".netrc"), canary)
	all, _ := audit(t, a)
	found := in(all, "secret-in-client-config", "")
	if len(found) != 2 || found[0].Slot != "current" || found[1].Secret != "OTHER" {
		t.Errorf("%+v", found)
	}
}

func TestALinkedFileIsSearched(t *testing.T) {
	a := clean(t)
	put(t, filepath.Join(a.UserHome, "dotfiles/rc"), canary)
	if err := os.Remove(filepath.Join(a.UserHome, ".zshrc")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dotfiles/rc", filepath.Join(a.UserHome, ".zshrc")); err != nil {
		t.Fatal(err)
	}
	all, _ := audit(t, a)
	if len(in(all, "secret-in-shell-startup", "/.zshrc")) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestASecretInANameIsFoundAndNotRepeated(t *testing.T) {
	a := clean(t)
	put(t, filepath.Join(a.Paths.Home, "backup-"+former+".txt"), "nothing")
	all, _ := audit(t, a)
	found := in(all, "secret-in-name", ".txt")
	if len(found) != 1 || !strings.Contains(found[0].Place, "[redacted]") {
		t.Errorf("%+v", found)
	}
}

func TestWhatCannotBeLookedIntoIsListed(t *testing.T) {
	a := clean(t)
	put(t, filepath.Join(a.UserHome, ".zsh_history"), "\xfd7zXZ\x00")
	_, summary := audit(t, a)
	if said := strings.Join(summary.Incomplete, "\n"); !strings.Contains(said, ".zsh_history: not all of it was searched: xz") {
		t.Errorf("%q", said)
	}
}

func TestShortSecretsAreSaid(t *testing.T) {
	a := clean(t)
	a.Secrets = append(a.Secrets, secret(t, "PIN", secrets.Current, "4711"), secret(t, "P", secrets.Current, "xy"))
	put(t, filepath.Join(a.UserHome, ".netrc"), "password 4711\n")
	put(t, filepath.Join(a.UserHome, ".pgpass"), "password 47110 xy\n")
	all, _ := audit(t, a)
	if found := in(all, "short-secret", ""); len(found) != 2 || found[0].Severity != control.SeverityNote {
		t.Errorf("%+v", found)
	}
	if found := in(all, "secret-in-client-config", ""); len(found) != 1 || found[0].Secret != "PIN" {
		t.Errorf("%+v", found)
	}
}

// TestPropertyListsAreSearchedWithoutTakingThemApart has damaged ones, values in UTF-16 at even and at odd places, one that is too
// large, and one with an array that no memory holds.
func TestPropertyListsAreSearchedWithoutTakingThemApart(t *testing.T) {
	a := clean(t)
	a.Secrets = append(a.Secrets, secret(t, "WIDE", secrets.Current, "canary-größe-7Tq"))
	agents := filepath.Join(a.UserHome, "Library/LaunchAgents")
	whole := binaryPlist(t, map[string]any{"Label": "canary-größe-7Tq"})
	odd := binaryPlist(t, map[string]any{"Labels": "canary-größe-7Tq"})
	array := "bplist00\xaf\x13\x7f" + strings.Repeat("\xff", 7) // an array that says of its length: 2⁶³ - 1
	huge := array + canary + "\x08" + strings.Repeat("\x00", 6) + "\x01\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 8) +
		"\x00\x00\x00\x00\x00\x00\x00" + string(rune(len(array)+len(canary)))
	want := map[string]bool{}
	for name, text := range map[string]string{"even": whole, "odd": odd, "damaged": whole[:len(whole)-8], "huge": huge} {
		path := filepath.Join(agents, name+".plist")
		put(t, path, text)
		want[path] = true
	}
	put(t, filepath.Join(agents, "large.plist"), strings.Repeat("x", maxPlist+1))
	put(t, filepath.Join(agents, "none.plist"), "not a property list")
	all, summary := audit(t, a)
	for _, f := range in(all, "secret-in-service-definition", "") {
		delete(want, f.Place)
	}
	if len(want) > 0 {
		t.Errorf("not found in %v: %+v", want, all)
	}
	if len(summary.Incomplete) != 1 || !strings.Contains(summary.Incomplete[0], "large.plist: its escaped strings are not searched") {
		t.Errorf("%q", summary.Incomplete)
	}
}
