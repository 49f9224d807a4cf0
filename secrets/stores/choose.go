package stores

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"minibot/config"
	"minibot/secrets/keychain"
	"minibot/secrets/secretservice"
)

// Choose returns the kind of store for a new installation on this machine, and why it is that one. It asks nobody
// anything and blocks for a few seconds at the most.
//
// On macOS it is keychain for a program that is signed by a team, which stays the same to the Keychain when it is
// rebuilt, and security for any other. On Linux it is secret-service where the session offers a keyring. Elsewhere it is age.
func Choose(ctx context.Context) (kind, why string) {
	return (&machine{
		goos: runtime.GOOS, keychain: keychain.Available,
		team:    func() string { return team(ctx, "/usr/bin/codesign") },
		offered: func() bool { return secretservice.Offered(ctx, secretservice.Options{}) },
	}).choose()
}

// machine is what the choice depends on.
type machine struct {
	goos     string
	keychain bool          // this program can use the Keychain itself
	team     func() string // the team that signed this program, "" for none
	offered  func() bool   // the session offers a keyring
}

func (m *machine) choose() (kind, why string) {
	switch m.goos {
	case "darwin":
		if !m.keychain {
			return config.StoreSecurity, "this program was built without the Keychain's own interface"
		}
		if team := m.team(); team != "" {
			return config.StoreKeychain, "this program is signed by the team " + team
		}
		return config.StoreSecurity, "this program has no team's signature, so that the Keychain would take it for another one after each update"
	case "linux":
		if m.offered() {
			return config.StoreSecretService, "the session offers a keyring"
		}
		return config.StoreAge, "the session offers no keyring"
	}
	return config.StoreAge, "there is no keychain on " + m.goos
}

// Caution returns what somebody should know who chooses a kind by name, or "".
func Caution(ctx context.Context, kind string) string {
	if kind == config.StoreKeychain && keychain.Available && team(ctx, "/usr/bin/codesign") == "" {
		return "this program has no team's signature: after each update the Keychain asks again for every secret, and without a desktop refuses them"
	}
	return ""
}

// team is the team identifier in the signature of the running program, as the program codesign tells it; "" when there is none.
func team(ctx context.Context, codesign string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, codesign, "-d", "-vv", self).CombinedOutput()
	if err != nil { // not signed at all, or no codesign
		return ""
	}
	for line := range bytes.Lines(out) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "TeamIdentifier="); ok && id != "not set" {
			return id
		}
	}
	return ""
}

// Describe says where a kind keeps secrets, for a person.
func Describe(kind, home string) string {
	switch kind {
	case config.StoreKeychain:
		return "the login keychain"
	case config.StoreSecurity:
		return "the login keychain, through the program security"
	case config.StoreSecretService:
		return "the session's keyring"
	}
	return fmt.Sprintf("an encrypted file in %s", home)
}
