package doctor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// notify looks at what [notify] needs: the program and the secrets that hold URLs. It sends nothing. What is missing is a
// warning: the stack is up all the same.
func (v *visit) notify(ctx context.Context) []Finding {
	cfg, err := v.config()
	if err != nil {
		return []Finding{unknown("it depends on %s", v.Paths.Config)}
	}
	n := cfg.Notify
	if len(n.Command) == 0 && n.Webhook == "" && n.HeartbeatURL == "" {
		return []Finding{finding(OK, "", "nobody is told of troubles: there is no way in [notify] of config.toml")}
	}
	var found []Finding
	if len(n.Command) > 0 {
		found = hook(n.Command[0])
	}
	for _, url := range []string{n.Webhook, n.HeartbeatURL} {
		if name := secrets.Name(config.SecretOf(url)); name != "" {
			found = append(found, v.holdsURL(ctx, cfg.Store, name)...)
		}
	}
	return orOK(found, "what [notify] needs is there; `minibotd notify --test` sends a message")
}

// hook looks at the program that is told.
func hook(path string) []Finding {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return []Finding{finding(Warning, "", "%s, the command of [notify], cannot be looked at: %s", path, line(err))}
	case !info.Mode().IsRegular():
		return []Finding{finding(Warning, "", "%s, the command of [notify], is no file", path)}
	case info.Mode().Perm()&0o111 == 0:
		return []Finding{finding(Warning, "chmod +x "+hint.Word(path), "%s, the command of [notify], is not executable", path)}
	}
	return nil
}

// holdsURL looks whether a secret holds a URL, or with a daemon whether it is set: the daemon alone reads it.
func (v *visit) holdsURL(ctx context.Context, kind string, name secrets.Name) []Finding {
	set := v.mbSecrets("set " + string(name))
	missing := []Finding{finding(Warning, set, "%s holds a URL of [notify] and is not set", name)}
	status, err := v.status()
	if err == nil {
		if status.Store.State != "open" || slices.ContainsFunc(status.Secrets, func(s control.Secret) bool { return s.Name == string(name) && s.Set }) {
			return nil // the check of the store says the rest
		}
		return missing
	}
	if !errors.Is(err, control.ErrUnreachable) {
		return nil
	}
	var found []Finding
	err = v.ReadStore(ctx, kind, func(store secrets.Store) error {
		item, err := store.Get(ctx, name, secrets.Current)
		if errors.Is(err, secrets.ErrNotFound) || err == nil && item.Value.IsZero() {
			found = missing
			return nil
		}
		if err != nil {
			return err
		}
		plain := item.Value.Reveal()
		defer clear(plain)
		if _, err := config.ParseEndpoint(string(bytes.TrimSpace(plain))); err != nil {
			found = []Finding{finding(Warning, set, "%s holds a URL of [notify] and is none that can be called: %s", name, line(err))}
		}
		return nil
	})
	if err != nil {
		return nil // likewise
	}
	return found
}
