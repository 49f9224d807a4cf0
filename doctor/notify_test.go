package doctor

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"minibot/control"
	"minibot/secrets"
)

func notifying(lines ...string) func(*testing.T, *Doctor) {
	return func(t *testing.T, d *Doctor) {
		text := strings.ReplaceAll(strings.Join(lines, "\n"), "HOME", d.UserHome)
		writeFile(t, d.Paths.Config, "store = \"keychain\"\n[notify]\n"+text+"\n", 0o600)
	}
}

// without has no daemon, and a store with a secret of that text.
func without(text string, then func(*testing.T, *Doctor)) func(*testing.T, *Doctor) {
	return func(t *testing.T, d *Doctor) {
		then(t, d)
		store := fullStore(t)
		if text != "" {
			value, err := secrets.NewValue([]byte(text))
			if err == nil {
				err = store.Put(t.Context(), "HOOK_URL", secrets.Current, value)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		d.Daemon = func(context.Context) (control.Status, error) { return control.Status{}, control.ErrUnreachable }
		d.ReadStore = func(_ context.Context, _ string, read func(secrets.Store) error) error { return read(store) }
	}
}

func TestWhoIsTold(t *testing.T) {
	hook := func(mode fs.FileMode) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) {
			notifying(`command = ["HOME/a hook"]`)(t, d)
			writeFile(t, filepath.Join(d.UserHome, "a hook"), "#!/bin/sh\n", 0o600|mode)
		}
	}
	row := func(set bool) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) {
			notifying(`webhook = "secret:HOOK_URL"`)(t, d)
			d.Daemon = func(context.Context) (control.Status, error) {
				state := map[bool]string{true: "current", false: "missing"}[set]
				return control.Status{Phase: control.PhaseHealthy, Version: "1.2.3", Store: control.Store{Kind: "keychain", State: "open"},
					Secrets: []control.Secret{{Name: "HOOK_URL", Set: set, State: state, UsedBy: []string{"minibotd"}}}}, nil
			}
		}
	}
	url := notifying(`heartbeat_url = "secret:HOOK_URL"`)
	testFaults(t, map[string]fault{
		"nobody":                    {"notify", notifying(), OK, "nobody is told", ""},
		"no program":                {"notify", notifying(`command = ["/nowhere/hook"]`), Warning, "/nowhere/hook, the command", ""},
		"a folder":                  {"notify", notifying(`command = ["/"]`), Warning, "is no file", ""},
		"not executable":            {"notify", hook(0), Warning, "is not executable", "chmod +x '"},
		"executable":                {"notify", hook(0o111), OK, "--test", ""},
		"a URL":                     {"notify", notifying(`webhook = "https://example.com/canary"`), OK, "--test", ""},
		"set, says the daemon":      {"notify", row(true), OK, "--test", ""},
		"not set, it says":          {"notify", row(false), Warning, "HOOK_URL holds a URL", "mb-secrets"},
		"the store is not to blame": {"store", row(false), OK, "", ""},
		"not set":                   {"notify", without("", url), Warning, "HOOK_URL holds a URL of [notify] and is not set", "mb-secrets set HOOK_URL"},
		"no URL":                    {"notify", without("canary", url), Warning, "is none that can be called", "mb-secrets set HOOK_URL"},
		"set":                       {"notify", without("https://example.com/canary\n", url), OK, "--test", ""},
	})
}
