package takeover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/secrets/security/securitytest"
	"minibot/secrets/security/securitytest/standin"
)

// standIn is the program that stands in for macOS's security.
var standIn string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "takeover-test-")
	if err == nil {
		standIn, err = securitytest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // of tests alone
	os.Exit(code)
}

func TestCalls(t *testing.T) {
	for text, want := range map[string]string{
		`export POSTGRES_PASSWORD="$(security find-generic-password -s minibot-postgres -w)"`:   "1 POSTGRES_PASSWORD s=minibot-postgres a=",
		"X=`/usr/bin/security find-generic-password -wa \"$USER\" -sfoo`; echo -s bar":          "1 X s=foo a=*",
		`security -q add-generic-password -U -a 'me too' -s "minibot $1" -w "$(cat -s x)"`:      "1  s=minibot * a=me too",
		"echo\nsecurity find-generic-password \\\n  -s minibot.x \\\n  -w | pbcopy -a y":        "2  s=minibot.x a=",
		`alias pg='security find-generic-password -s foo' # -a bar`:                             "1  s=foo a=",
		`a=$(security find-generic-password -w -s a) B=$(security find-generic-password -ws b)`: "1 a s=a a=; 1 B s=b a=",
		`# security find-generic-password -s foo`:                                               "",
		`security find-internet-password -s foo; insecurity find-generic-password -s foo`:       "",
		`security add-generic-password -w canary -s`:                                            "1  s= a=",
		`security find-generic-password -s "unfinished`:                                         "1  s=unfinished a=",
		`security find-generic-password -s "$(a "b)" ${x:-$(y)}`:                                "1  s=* a=",
		`security find-generic-password -s '$NAME' -- -a x`:                                     "1  s=$NAME a=",
	} {
		var got []string
		for _, c := range calls("f", text, true) {
			got = append(got, strings.ReplaceAll(fmt.Sprintf("%s %s s=%s a=%s", strings.TrimPrefix(c.place, "f:"), c.assigned, c.service, c.account), string(anything), "*"))
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, strings.Join(got, "; "), want)
		}
	}
}

// withKeychain is a home whose scripts keep their secrets in the Keychain, with that Keychain.
func withKeychain(t *testing.T) (Surroundings, *securitytest.Standin) {
	t.Helper()
	s := securitytest.New(t, standIn)
	for _, item := range []string{"minibot-postgres you", "minibot-redis you", "minibot ANTHROPIC_API_KEY", "minibot.pending ANTHROPIC_API_KEY",
		"minibot telegram", "gateway_it's ", "github you", "blog you", "agent you"} {
		service, account, _ := strings.Cut(item, " ")
		s.Add(standin.Item{Service: strings.ReplaceAll(service, "_", " "), Account: account, Partition: standin.Tool, Value: []byte(canary)})
	}
	user := t.TempDir()
	for path, text := range map[string]string{
		"minibot/env.sh": "export POSTGRES_PASSWORD=$(security find-generic-password -a $USER -s minibot-postgres -w)\n" +
			"kc() { security find-generic-password -s \"$1\" -w; }\nOPENCLAW_GATEWAY_TOKEN=$(security find-generic-password -s \"gateway it's\" -w)\n" +
			"security find-generic-password -s gone -w\n",
		"minibot/bin/put": "#!/bin/zsh\nsecurity add-generic-password -U -s \"minibot-$1\" -a \"$USER\" -w\n",
		"minibot/notes":   "security find-generic-password -s blog\n",
		".zshrc": "export GITHUB_TOKEN=$(security find-generic-password -s github -w)\nalias k='security find-generic-password -s minibot -w -a'\n" +
			"export ANTHROPIC_API_KEY=$(security find-generic-password -s minibot -a ANTHROPIC_API_KEY -w)\nsecurity find-generic-password -s minibot$SLOT -a ANTHROPIC_API_KEY\n",
		"up.sh": "#!/bin/sh\nX=$(security find-generic-password -s agent -w) docker compose up -d\n",
		"Library/LaunchAgents/com.minibot.gateway.plist": plistOf("com.minibot.gateway", "/bin/sh", user+"/up.sh"),
	} {
		path = filepath.Join(user, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Surroundings{
		UserHome: user, Home: filepath.Join(user, "minibot"), Required: required(shippedProject(t)),
		Keychain: func(ctx context.Context) ([]security.Address, error) {
			store, err := security.Open(ctx, security.Options{Program: s.Program})
			if err != nil {
				return nil, err
			}
			return store.Addresses(ctx)
		},
	}, s
}

// TestKeychainItemsOfScripts finds the items that scripts name, and no others, without reading one, and while the Keychain is locked.
func TestKeychainItemsOfScripts(t *testing.T) {
	s, keychain := withKeychain(t)
	keychain.Lock(true)
	found, err := Detect(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"item minibot-postgres (you)": "POSTGRES_PASSWORD minibot/env.sh:1", "item minibot-redis (you)": "REDIS_PASSWORD minibot/bin/put:2",
		"item minibot (ANTHROPIC_API_KEY)": "ANTHROPIC_API_KEY .zshrc:2", "item minibot (telegram)": "TELEGRAM_BOT_TOKEN .zshrc:2",
		"item gateway it's ()": "OPENCLAW_GATEWAY_TOKEN minibot/env.sh:3", "item agent (you)": " up.sh:2",
	}
	got := map[string]string{}
	for _, f := range found.Of(KindKeychain) {
		place, _, _ := strings.Cut(strings.TrimPrefix(f.What, s.UserHome+"/"), " ")
		got[f.Place] = names(f.Secrets) + " " + place
	}
	if !maps.Equal(got, want) {
		t.Errorf("found\n%s\nwanted\n%s", lines(got), lines(want))
	}
	vague := slices.IndexFunc(found, func(f Finding) bool { return f.Kind == KindUnread && f.Place == filepath.Join(s.Home, "env.sh")+":2" })
	if vague < 0 || len(found.Of(KindUnread)) != 1 {
		t.Errorf("a call that could be about any item: %+v", found.Of(KindUnread))
	}
	if keychain.Reads() != 0 || strings.Contains(fmt.Sprintf("%+v", found), canary) {
		t.Errorf("%d values were read: %+v", keychain.Reads(), found)
	}
}

// TestKeychainAdviceWorks runs the commands that a finding advises, with a program in mb-secrets' place that notes what it is given.
func TestKeychainAdviceWorks(t *testing.T) {
	s, keychain := withKeychain(t)
	found, err := Detect(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "mb-secrets"), []byte("#!/bin/sh\necho \"$*: $(cat)\" >>"+bin+"/took\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, f := range found.Of(KindKeychain) {
		for i, command := range strings.Split(f.Advice, "`") {
			if i%2 == 0 || !strings.HasPrefix(command, "security ") {
				continue
			}
			ran++
			cmd := exec.CommandContext(t.Context(), "sh", "-ec", command)
			cmd.Env = []string{"PATH=" + bin + ":" + filepath.Dir(keychain.Program) + ":" + os.Getenv("PATH")}
			if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), canary) {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
		}
	}
	took, err := os.ReadFile(filepath.Join(bin, "took"))
	if err != nil || ran != 10 || strings.Count(string(took), "set POSTGRES_PASSWORD: "+canary+"\n") != 1 || strings.Count(string(took), canary) != 5 {
		t.Errorf("%d commands, %v:\n%s", ran, err, took)
	}
	var left []string
	for _, item := range keychain.Items() {
		left = append(left, item.Service)
	}
	slices.Sort(left)
	if want := []string{"blog", "github", "minibot", "minibot.pending"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if found, err = Detect(t.Context(), s); err != nil || len(found.Of(KindKeychain)) != 1 {
		t.Errorf("after that: %+v, %v", found.Of(KindKeychain), err)
	}
}

func TestKeychainThatDoesNotAnswer(t *testing.T) {
	s, _ := withKeychain(t)
	s.Keychain = func(context.Context) ([]security.Address, error) {
		return nil, hint.Wrap(errors.New("no answer"), "do something about it")
	}
	found, err := Detect(t.Context(), s)
	last := found[len(found)-1]
	if err != nil || len(found.Of(KindKeychain)) > 0 || last.Kind != KindUnread || !strings.Contains(last.What, "no answer") || last.Advice != "do something about it" {
		t.Errorf("%+v, %v", last, err)
	}
	s.Home, s.UserHome, s.Required = t.TempDir(), t.TempDir(), []secrets.Name{}
	s.Keychain = func(context.Context) ([]security.Address, error) {
		t.Error("it was asked, and no script names an item")
		return nil, nil
	}
	if found, err := Detect(t.Context(), s); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
