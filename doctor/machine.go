package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"minibot/hint"
)

var teamPattern = regexp.MustCompile(`^[A-Z0-9]{10}$`)

// fileVault and what follows are about what a reboot at night needs.
func (v *visit) fileVault(ctx context.Context) []Finding {
	said, err := ask(ctx, v.Programs.FDESetup, "status")
	if err != nil {
		return []Finding{unknown("%v", err)}
	}
	text := strings.TrimSpace(said.stdout)
	switch {
	case said.exit == 0 && text == "FileVault is On.":
		return []Finding{ok("on: after a reboot somebody unlocks the disk, over SSH too, and logs in; then minibotd starts by itself")}
	case said.exit == 0 && text == "FileVault is Off.":
		return []Finding{finding(Warning, v.asRoot("fdesetup enable"), "off: whoever has the disk can read it, the key of an encrypted file too")}
	}
	return []Finding{unknown("fdesetup gives an answer that minibot does not know; it may be encrypting still")}
}

func (v *visit) autoLogin(ctx context.Context) []Finding {
	said, err := ask(ctx, v.Programs.Defaults, "read", "/Library/Preferences/com.apple.loginwindow", "autoLoginUser")
	switch {
	case err != nil:
		return []Finding{unknown("%v", err)}
	case said.exit == 1 && strings.Contains(said.stderr, "does not exist"):
		return []Finding{ok("off: the stack comes up when somebody logs in at the desktop, over Screen Sharing too")}
	case said.exit != 0 || len(strings.Fields(said.stdout)) != 1:
		return []Finding{unknown("defaults gives an answer that minibot does not know")}
	}
	return []Finding{finding(Warning, v.asRoot("sysadminctl -autologin off"),
		"on: the stack comes up without anybody, and the login keychain is open to whoever switches the Mac on")}
}

// settings are what a Mac that nobody sits at wants of pmset.
var settings = []struct {
	name string
	good func(value string) bool
	want string
	why  string
}{
	{"sleep", func(s string) bool { return s == "0" }, "0", "the Mac sleeps when nobody uses it, and the stack with it; keep_awake holds it awake while minibotd runs"},
	{"autorestart", func(s string) bool { return s == "1" }, "1", "the Mac stays off after a power failure"},
	{"womp", func(s string) bool { return s == "1" }, "1", "the network cannot wake the Mac"},
}

// power reads `pmset -g`: a line for each setting, its name and a number, and perhaps more in brackets.
func (v *visit) power(ctx context.Context) []Finding {
	said, err := ask(ctx, v.Programs.PMSet, "-g")
	if err != nil {
		return []Finding{unknown("%v", err)}
	}
	values := map[string]string{}
	for l := range strings.Lines(said.stdout) {
		if m := settingPattern.FindStringSubmatch(strings.TrimRight(l, "\n")); m != nil {
			values[m[1]] = m[2]
		}
	}
	var found []Finding
	for _, s := range settings {
		value, there := values[s.name]
		switch {
		case said.exit != 0 || !there:
			found = append(found, unknown("pmset says nothing of %s", s.name))
		case !s.good(value):
			found = append(found, finding(Warning, v.asRoot(fmt.Sprintf("pmset -a %s %s", s.name, s.want)), "%s is %s: %s", s.name, value, s.why))
		}
	}
	return orOK(found, "it does not sleep, starts again after a power failure, and the network can wake it")
}

var settingPattern = regexp.MustCompile(`^ ([a-z]+) +([0-9]+)( \(.*\))?$`)

// linger: without it systemd ends a user's services when the user logs out, and starts none before the login.
func (v *visit) linger(ctx context.Context) []Finding {
	said, err := ask(ctx, v.Programs.Loginctl, "show-user", v.User, "--property=Linger", "--value")
	switch {
	case err != nil:
		return []Finding{unknown("%v", err)}
	case said.exit == 0 && strings.TrimSpace(said.stdout) == "yes":
		return []Finding{ok("on: minibotd starts with the machine, and stays when you log out")}
	case said.exit == 0 && strings.TrimSpace(said.stdout) == "no":
		return []Finding{finding(Warning, "loginctl enable-linger "+hint.Word(v.User), "off: minibotd starts when you log in, and ends when you log out")}
	}
	return []Finding{unknown("loginctl gives an answer that minibot does not know")}
}
