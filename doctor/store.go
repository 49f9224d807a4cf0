package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// store asks the daemon about the store, or opens it where none runs. It reads each required secret and keeps none.
func (v *visit) store(ctx context.Context) []Finding {
	cfg, err := v.config()
	if err != nil {
		return []Finding{unknown("it depends on %s", v.Paths.Config)}
	}
	if _, err := os.Stat(v.Paths.Home); err != nil {
		return []Finding{finding(Failure, v.mbSecrets("init"), "there is no store yet")}
	}
	status, err := v.status()
	switch {
	case err == nil:
		return v.storeOfDaemon(status)
	case !errors.Is(err, control.ErrUnreachable):
		return []Finding{unknown("minibotd gives no answer about it: %s", line(err))}
	}
	var found []Finding
	err = v.ReadStore(ctx, cfg.Store, func(store secrets.Store) error {
		found = v.required(ctx, cfg.Store, store)
		return nil
	})
	if err != nil {
		return append(found, v.unopened(cfg.Store, err))
	}
	return found
}

// storeOfDaemon is what the daemon says of the store that it alone opens.
func (v *visit) storeOfDaemon(status control.Status) []Finding {
	kind := status.Store.Kind
	if status.Store.State != "open" {
		command := ""
		if strings.ContainsRune(status.Hint, '`') || begins.MatchString(status.Hint) {
			command = v.advised(hint.Wrap(errors.New("x"), "%s", status.Hint))
		}
		return []Finding{finding(Failure, command, "store %s is %s: %s", kind, status.Store.State, status.Reason)}
	}
	var found []Finding
	for _, s := range status.Secrets {
		if !s.Set && s.State == "missing" && !slices.Equal(s.UsedBy, []string{"minibotd"}) { // the check of notify says those
			found = append(found, v.missing(secrets.Name(s.Name), s.Generate))
		}
	}
	return orOK(found, "store %s is open in minibotd, with every required secret in it", kind)
}

func (v *visit) missing(name secrets.Name, generate bool) Finding {
	verb := "set"
	if generate {
		verb = "generate"
	}
	return finding(Failure, v.mbSecrets(verb+" "+string(name)), "%s is required and not set", name)
}

// unopened says why a store cannot be opened.
func (v *visit) unopened(kind string, err error) Finding {
	command := v.advised(err)
	if kind == config.StoreAge {
		if f := v.ageKey(); f.State == Failure { // the advice of the store quotes no path for a shell
			command = f.Command
		}
	}
	switch {
	case errors.Is(err, secrets.ErrNoStore):
		return finding(Failure, v.mbSecrets("init"), "store %s: %s", kind, line(err))
	case errors.Is(err, control.ErrDaemonHolds):
		return finding(Warning, v.minibotd("kickstart"), "minibotd has store %s, and does not answer", kind)
	case errors.Is(err, secrets.ErrLocked):
		if v.overSSH() && kind != config.StoreAge {
			return finding(Warning, command, "store %s is locked for this SSH session; it may be open at the desktop, where minibotd runs: %s", kind, withHint(err))
		}
		return finding(Failure, command, "store %s: %s", kind, withHint(err))
	}
	return finding(Failure, command, "store %s: %s", kind, withHint(err))
}

// withHint is an error's text with its advice.
func withHint(err error) string {
	text := line(err)
	if advice := hint.Of(err); advice != "" {
		text += " (" + advice + ")"
	}
	return text
}

// required reads what the compose file requires.
func (v *visit) required(ctx context.Context, kind string, store secrets.Store) []Finding {
	project, err := v.project()
	if err != nil {
		return []Finding{unknown("store %s is open; what it must hold stands in the compose file, which cannot be loaded", kind)}
	}
	var found []Finding
	for _, r := range project.Requirements {
		item, err := store.Get(ctx, r.Name, secrets.Current)
		switch {
		case errors.Is(err, secrets.ErrNotFound) && r.Initial != "":
		case errors.Is(err, secrets.ErrNotFound):
			found = append(found, v.missing(r.Name, r.Generate != nil))
		case errors.Is(err, secrets.ErrLocked):
			return append(found, v.unopened(kind, err))
		case err != nil:
			found = append(found, finding(Failure, v.advised(err), "%s cannot be read: %s", r.Name, withHint(err)))
		case item.Value.IsZero():
			found = append(found, v.missing(r.Name, r.Generate != nil))
		}
	}
	return orOK(found, "store %s is open, with all %d required secrets in it", kind, len(project.Requirements))
}

// key looks at the key of the encrypted file.
func (v *visit) key(context.Context) []Finding {
	cfg, err := v.config()
	if err != nil || cfg.Store != config.StoreAge {
		return nil
	}
	if f := v.ageKey(); f.State != "" {
		return []Finding{f}
	}
	return nil // a store with a passphrase has none; with any other the store says so
}

func (v *visit) ageKey() (f Finding) {
	path, store := filepath.Join(v.Paths.Home, "age.key"), filepath.Join(v.Paths.Home, "store.age")
	info, err := os.Lstat(path)
	if err != nil {
		return f
	}
	if uid := owner(info); uid != v.UID {
		command := v.asRoot(fmt.Sprintf("chown %d %s", v.UID, hint.Word(path))) + " && chmod 600 " + hint.Word(path)
		return finding(Failure, command, "%s belongs to uid %d, not to %d", path, uid, v.UID)
	}
	if away, is := other(path); is {
		return finding(Failure, away, "%s is no file: put the key back from your backup", path)
	}
	if mode := info.Mode().Perm(); mode&0o177 != 0 {
		return finding(Failure, "chmod 600 "+hint.Word(path), "%s has mode %04o: others may read it", path, mode)
	}
	return ok("%s is this user's alone. Without it nobody can read %s: keep a copy of it elsewhere, apart from the store", path, store)
}

func (v *visit) overSSH() bool { return v.Getenv("SSH_CONNECTION") != "" || v.Getenv("SSH_TTY") != "" }

// signature says who signed this program, and what that means to the Keychain.
func (v *visit) signature(ctx context.Context) []Finding {
	cfg, err := v.config()
	if err != nil {
		return []Finding{unknown("it depends on %s", v.Paths.Config)}
	}
	said, err := ask(ctx, v.Programs.Codesign, "-d", "-vv", v.Self)
	if err != nil {
		return []Finding{unknown("%v", err)}
	}
	lines := strings.Split(said.stderr, "\n")
	team := ""
	for _, l := range lines {
		if id, is := strings.CutPrefix(l, "TeamIdentifier="); is {
			team = strings.TrimSpace(id)
		}
	}
	unsigned := said.exit == 1 && strings.Contains(said.stderr, "code object is not signed at all")
	adHoc := said.exit == 0 && slices.Contains(lines, "Signature=adhoc") && team == "not set"
	switch {
	case said.exit == 0 && teamPattern.MatchString(team):
		return []Finding{ok("signed by the team %s: the Keychain knows it again after an update", team)}
	case !unsigned && !adHoc:
		return []Finding{unknown("codesign gives an answer that minibot does not know")}
	case cfg.Store == config.StoreKeychain:
		return []Finding{finding(Warning, v.mbSecrets("migrate --to security"),
			"no team signed it: after each update the Keychain takes it for another program, asks for every secret, and refuses them without a desktop")}
	}
	return []Finding{ok("no team signed it, which store %s does without", cfg.Store)}
}
