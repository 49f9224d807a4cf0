package stores

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/config"
)

func TestChoose(t *testing.T) {
	for name, test := range map[string]struct {
		m         machine
		kind, why string
	}{
		"a Mac, signed by a team":  {machine{goos: "darwin", keychain: true, team: func() string { return "ABCDE12345" }}, config.StoreKeychain, "ABCDE12345"},
		"a Mac, built at home":     {machine{goos: "darwin", keychain: true, team: func() string { return "" }}, config.StoreSecurity, "no team's signature"},
		"a Mac, without cgo":       {machine{goos: "darwin"}, config.StoreSecurity, "built without"},
		"Linux with a keyring":     {machine{goos: "linux", offered: func() bool { return true }}, config.StoreSecretService, "offers a keyring"},
		"Linux without a keyring":  {machine{goos: "linux", offered: func() bool { return false }}, config.StoreAge, "offers no keyring"},
		"something else":           {machine{goos: "freebsd"}, config.StoreAge, "freebsd"},
		"Linux never asks the Mac": {machine{goos: "linux", keychain: true, offered: func() bool { return false }}, config.StoreAge, ""},
	} {
		if kind, why := test.m.choose(); kind != test.kind || !strings.Contains(why, test.why) {
			t.Errorf("%s: %s because %s, want %s because %s", name, kind, why, test.kind, test.why)
		}
	}
}

func TestTeam(t *testing.T) {
	for name, test := range map[string]struct{ script, want string }{
		"a team":                   {"printf 'Executable=/x\\nTeamIdentifier=ABCDE12345\\nSealed Resources=none\\n' >&2", "ABCDE12345"},
		"ad hoc":                   {"printf 'Signature=adhoc\\nTeamIdentifier=not set\\n' >&2", ""},
		"none":                     {"echo 'code object is not signed at all' >&2; exit 1", ""},
		"asks for another program": {`test "$3" != "` + self(t) + `" && echo TeamIdentifier=WRONG`, ""},
	} {
		codesign := filepath.Join(t.TempDir(), "codesign")
		if err := os.WriteFile(codesign, []byte("#!/bin/sh\n"+test.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if got := team(t.Context(), codesign); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := team(t.Context(), "/nonexistent/codesign"); got != "" {
		t.Errorf("without codesign: %q", got)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
