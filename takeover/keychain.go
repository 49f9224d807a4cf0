package takeover

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/security"
)

// keychain finds the items of the Keychain that scripts read or write with the program security. found has the agents, whose scripts
// are read too.
func keychain(ctx context.Context, s Surroundings, found Findings) Findings {
	if s.Keychain == nil {
		return nil
	}
	named := allCalls(s, found)
	if len(named) == 0 {
		return nil
	}
	var all Findings
	for _, c := range named {
		if c.vague() {
			all = append(all, unread(c.place, "which item of the Keychain it is about shows only when it runs"))
		}
	}
	items, err := s.Keychain(ctx)
	if err != nil {
		one := unread(named[0].place, fmt.Sprintf("the Keychain, of which it names an item, could not be asked: %v", err))
		one.Advice = cmp.Or(hint.Of(err), one.Advice)
		return append(all, one)
	}
	seen := map[security.Address]bool{}
	for _, item := range items {
		var by []call
		for _, c := range named {
			if !c.vague() && c.names(item.Service, item.Account) {
				by = append(by, c)
			}
		}
		if len(by) > 0 && !seen[item] && !companion(item.Service) {
			seen[item] = true
			all = append(all, written(item, by, s.Required))
		}
	}
	return all
}

// allCalls are those of shell files, of minibot's folder and of agents, as far as they are about the stack.
func allCalls(s Surroundings, found Findings) []call {
	files := scripts(s.Home)
	for _, agent := range found.Of(KindAgent) {
		files = append(files, agent.scripts...)
	}
	ours := len(files)
	for _, name := range shellNames {
		files = append(files, filepath.Join(s.UserHome, name))
	}
	var named []call
	known := map[call]bool{}
	for i, file := range files {
		text, err := head(file)
		if err != nil {
			continue // it was said of those that are looked at elsewhere
		}
		for _, c := range calls(file, string(text), i < ours) {
			same := c
			same.place = ""
			if c.concerns(s.Required) && !known[same] {
				known[same], named = true, append(named, c)
			}
		}
	}
	return named
}

// scripts are the files of minibot's folder that a shell may run or read, two folders deep.
func scripts(home string) []string {
	var files []string
	folders(home, 2, func(path string, entries []fs.DirEntry, _ error) bool { // one that cannot be listed is said by who looks for data there
		for _, entry := range entries {
			file := filepath.Join(path, entry.Name())
			switch filepath.Ext(file) {
			case ".sh", ".zsh", ".bash", ".command", ".env", ".envrc":
				files = append(files, file)
			case "":
				if text, err := head(file); err == nil && bytes.HasPrefix(text, []byte("#!")) {
					files = append(files, file)
				}
			}
		}
		return true
	})
	return files
}

// ownService is that of the items in which minibot's stores keep secrets themselves.
const ownService = security.DefaultService

// companion reports whether a service is one of minibot's own, beside that of the secrets in force.
func companion(service string) bool {
	below, ok := strings.CutPrefix(service, ownService+".")
	return ok && slices.Contains([]string{"pending", "previous", "migrating", "parts"}, below[strings.LastIndex(below, ".")+1:])
}

// written is the finding of an item, with the calls that name it.
func written(item security.Address, by []call, required []secrets.Name) Finding {
	f := Finding{Kind: KindKeychain, Place: fmt.Sprintf("item %s (%s)", item.Service, item.Account)}
	if name, err := secrets.ParseName(item.Account); err == nil && item.Service == ownService {
		f.Secrets = []secrets.Name{name}
		f.What = by[0].place + " names it, and the stores security and keychain have it already"
		f.Advice = fmt.Sprintf("the store security takes it as it is; the store keychain asks once for what security wrote, until `mb-secrets set %s` makes it minibot's own", name)
		return f
	}
	address := fmt.Sprintf("-s %s -a %s", hint.Word(item.Service), hint.Word(item.Account))
	name := secretOf(item, by, required)
	f.What = by[0].place + " names it, and minibot does not read it"
	if name != "" {
		f.Secrets = []secrets.Name{name}
	}
	f.Advice = fmt.Sprintf("`security find-generic-password %s -w | mb-secrets set %s` takes it and shows nothing; when nothing needs it any more, `security delete-generic-password %s`",
		address, cmp.Or(name, "NAME"), address)
	return f
}

// secretOf is the secret that an item holds, as the variable that takes it tells, or the item's own name; "" where neither does.
func secretOf(item security.Address, by []call, required []secrets.Name) secrets.Name {
	for _, c := range by {
		name, err := secrets.ParseName(c.assigned)
		if err == nil && isSecret(c.assigned, required) && !strings.ContainsRune(c.service, anything) {
			return name
		}
	}
	for _, text := range []string{item.Account, item.Service} {
		word := strings.TrimPrefix(strings.ToUpper(strings.NewReplacer("-", "_", ".", "_", " ", "_", "/", "_").Replace(text)), "MINIBOT_")
		if isRequired(word, required) {
			return secrets.Name(word)
		}
		var candidates []secrets.Name
		for _, name := range required {
			if strings.HasPrefix(string(name), word+"_") {
				candidates = append(candidates, name)
			}
		}
		if len(candidates) == 1 {
			return candidates[0]
		}
	}
	return ""
}
