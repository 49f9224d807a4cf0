package takeover

import (
	"context"
	"errors"
	"fmt"
	"html"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"minibot/deploy"
	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/stack"
)

const canary = "canary-takeover-3b1e"

func plistOf(label string, arguments ...string) string {
	text := `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>Label</key><string>` + label + `</string><key>ProgramArguments</key><array>`
	for _, a := range arguments {
		text += "<string>" + html.EscapeString(a) + "</string>"
	}
	return text + `</array><key>RunAtLoad</key><true/></dict></plist>`
}

// replica is a home in which shell scripts kept the stack up, as files by path below the user's home. HOME stands for that.
func replica() map[string]string {
	return map[string]string{
		"Library/LaunchAgents/com.minibot.gateway.plist": plistOf("com.minibot.gateway", "/bin/bash", "HOME/minibot/start.sh"),
		"Library/LaunchAgents/org.example.nightly.plist": plistOf("org.example.nightly", "/bin/sh", "-c", "cd ~/minibot && docker compose up -d"),
		"Library/LaunchAgents/com.minibot.plist":         plistOf("com.minibot", "/usr/local/bin/minibotd", "run", "--home", "HOME/minibot"),
		"Library/LaunchAgents/org.example.other.plist":   plistOf("org.example.other", "/bin/sh", "-c", "docker compose -f ~/blog/compose.yaml up -d"),
		"Library/LaunchAgents/org.example.backup.plist":  plistOf("org.example.backup", "/usr/bin/rsync", "HOME/minibots", "/backup"),
		"Library/LaunchAgents/org.example.broken.plist":  "<plist><dict><key>Label</key>",
		"minibot/start.sh":                  "#!/bin/bash\ncd \"$HOME/minibot\" && docker compose up -d\n",
		"minibot/.env":                      "POSTGRES_PASSWORD=" + canary + "\nTZ=UTC\n",
		"minibot/data/postgres/PG_VERSION":  "15\n",
		"minibot/data/postgres/base/1/data": "x",
		".zshrc": "export EDITOR=vi\nalias mb-secrets='~/minibot/secrets.sh'\n# export REDIS_PASSWORD=" + canary + "\nexport TELEGRAM_BOT_TOKEN=" + canary +
			"\nsource ~/minibot/env.sh\nexport A=1 GITHUB_TOKEN=\"" + canary + "\" # POSTGRES_PASSWORD=x\necho 'export OPENCLAW_GATEWAY_TOKEN=1'\n# once; source ~/minibot/env.sh\n",
		".zprofile":     "minibotd() {\n  docker compose \"$@\"\n}\n",
		".bash_profile": "[ -f ~/.x ] && export ANTHROPIC_API_KEY=$(security find-generic-password -w)\nREDIS_PASSWORD=\"" + canary + "\"\nexport REDIS_PASSWORD\n",
		".profile":      "typeset -x POSTGRES_PASSWORD=" + canary + "\n. ~/minibots/env.sh\n",
	}
}

// wanted are the findings of the replica, as kind and place.
var wanted = map[string]string{
	"agent ~/Library/LaunchAgents/com.minibot.gateway.plist": "",
	"agent ~/Library/LaunchAgents/org.example.nightly.plist": "",
	"unread ~/Library/LaunchAgents/org.example.broken.plist": "",
	"export ~/.zshrc:4":                 "TELEGRAM_BOT_TOKEN",
	"export ~/.zshrc:6":                 "GITHUB_TOKEN",
	"export ~/.bash_profile:1":          "ANTHROPIC_API_KEY",
	"export ~/.bash_profile:2":          "REDIS_PASSWORD",
	"export ~/.bash_profile:3":          "REDIS_PASSWORD",
	"export ~/.profile:1":               "POSTGRES_PASSWORD",
	"shadow ~/.zshrc:2":                 "",
	"shadow ~/.zprofile:1":              "",
	"source ~/.zshrc:5":                 "",
	"unread ~/.bash_profile:1":          "",
	"env-file ~/minibot/.env":           "POSTGRES_PASSWORD",
	"data ~/minibot/data/postgres":      "",
	"container container minibot-redis": "REDIS_PASSWORD",
	"container container old_pg":        "",
	"container container gateway":       "",
	"container container blog-cache":    "",
}

func shippedProject(t *testing.T) *stack.Project {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, deploy.ComposeFile, 0o600); err != nil {
		t.Fatal(err)
	}
	project, err := stack.Load(t.Context(), stack.LoadOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// residents are the old containers: one by its name, one by its port and folder, one by its port and project, one that is somebody
// else's, and minibot's own.
func residents(user string) []stack.Resident {
	return []stack.Resident{
		{ID: "1", Name: "minibot-redis", Project: "minibot-old", Running: true, Variables: []string{"PATH", "REDIS_PASSWORD"}, Ports: []string{"6379"}},
		{ID: "2", Name: "old_pg", Ports: []string{"5432"}, Mounts: []stack.Mount{{Target: postgresData, Source: user + "/minibot/data/postgres", Bind: true}}},
		{ID: "3", Name: "gateway", Project: "minibot-scripts", Ports: []string{"18789"}},
		{ID: "4", Name: "blog-cache", Project: "blog", Ports: []string{"6379"}},
		{ID: "5", Name: "minibot-keeper-1", Project: "minibot", Made: true},
		{ID: "6", Name: "blog-web", Project: "blog", Ports: []string{"8080"}},
	}
}

func nobody(string) []stack.Resident { return nil }

// detect writes the files, and returns what is found as kind and place, with the names of secrets.
func detect(t *testing.T, user string, files map[string]string, seen func(user string) []stack.Resident) map[string]string {
	t.Helper()
	for path, text := range files {
		path = filepath.Join(user, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "HOME/", user+"/")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	project := shippedProject(t)
	found, err := Detect(t.Context(), Surroundings{
		UserHome: user, Home: filepath.Join(user, "minibot"), Required: required(project), Project: project, Residents: seen(user),
		Keychain: func(context.Context) ([]security.Address, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range found {
		if text := fmt.Sprintf("%+v", f); strings.Contains(text, canary) {
			t.Errorf("a value shows: %s", text)
		}
		if f.What == "" || f.Advice == "" && f.Will == "" {
			t.Errorf("%s %s says neither what it is nor what to do: %+v", f.Kind, f.Place, f)
		}
		got[string(f.Kind)+" "+strings.ReplaceAll(f.Place, user, "~")] = names(f.Secrets)
	}
	return got
}

func names(list []secrets.Name) string {
	var text []string
	for _, n := range list {
		text = append(text, string(n))
	}
	return strings.Join(text, " ")
}

func TestDetectFindsEveryKind(t *testing.T) {
	got := detect(t, t.TempDir(), replica(), residents)
	if !maps.Equal(got, wanted) {
		t.Errorf("found\n%s\nwanted\n%s", lines(got), lines(wanted))
	}
}

func lines(m map[string]string) string {
	var all []string
	for k, v := range m {
		all = append(all, k+" "+v)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// TestDetectMissesWhatIsNotThere takes one file, or one container, away at a time: its findings go, and no others.
func TestDetectMissesWhatIsNotThere(t *testing.T) {
	for path := range replica() {
		if path == "minibot/start.sh" || path == "minibot/data/postgres/base/1/data" { // the agent's own words say enough
			continue
		}
		t.Run(path, func(t *testing.T) {
			files := replica()
			delete(files, path)
			want := maps.Clone(wanted)
			maps.DeleteFunc(want, func(place, _ string) bool {
				_, place, _ = strings.Cut(place, " ")
				return place == "~/"+path || strings.HasPrefix(place, "~/"+path+":") || place == "~/"+filepath.Dir(path) && filepath.Base(path) == "PG_VERSION"
			})
			if got := detect(t, t.TempDir(), files, residents); !maps.Equal(got, want) {
				t.Errorf("found\n%s\nwanted\n%s", lines(got), lines(want))
			}
		})
	}
	for i, r := range residents("") {
		t.Run(r.Name, func(t *testing.T) {
			want := maps.Clone(wanted)
			delete(want, "container container "+r.Name)
			if got := detect(t, t.TempDir(), replica(), func(user string) []stack.Resident { return slices.Delete(residents(user), i, i+1) }); !maps.Equal(got, want) {
				t.Errorf("found\n%s\nwanted\n%s", lines(got), lines(want))
			}
		})
	}
	if got := detect(t, t.TempDir(), nil, nobody); len(got) != 0 {
		t.Errorf("an empty home has %v", got)
	}
}

// TestOnlyRelatedContainersAreTakenOver keeps the container of another project, on a port of minibot's, from being adopted.
func TestOnlyRelatedContainersAreTakenOver(t *testing.T) {
	project := shippedProject(t)
	s := Surroundings{Home: "/home/x/minibot", Project: project, Residents: []stack.Resident{{ID: "4", Name: "blog-cache", Project: "blog", Ports: []string{"6379"}}}}
	for _, role := range Roles(project) {
		if r := predecessor(s, role); r != nil {
			t.Errorf("%s would be taken over by %s", r.Name, role.Service)
		}
	}
	s.Residents[0].Directory = "/home/x/minibot/cache"
	if r := predecessor(s, Role{Service: "redis", Kind: redis}); r == nil {
		t.Error("a container whose compose file lies in minibot's folder is not found")
	}
}

func TestUnreadableIsSaid(t *testing.T) {
	user := t.TempDir()
	if err := os.MkdirAll(filepath.Join(user, ".zshrc"), 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := Detect(t.Context(), Surroundings{UserHome: user, Home: filepath.Join(user, "minibot")})
	if err != nil || len(found) != 1 || found[0].Kind != KindUnread {
		t.Errorf("a .zshrc that cannot be read: %+v, %v", found, err)
	}
}

func TestShellLines(t *testing.T) {
	required := []secrets.Name{"MY_WORD"}
	for line, want := range map[string]string{
		"MY_WORD=1":                           "MY_WORD",
		"  export MY_WORD":                    "MY_WORD",
		"if true; then export MY_WORD=1; fi":  "MY_WORD",
		"foo && export DB_PASSWORD='a b'":     "DB_PASSWORD",
		"declare -x API_TOKEN=1 OTHER=2":      "API_TOKEN",
		"export PATH=$PATH:/x KEYBOARD=1":     "",
		"echo MY_WORD=1":                      "",
		`echo "x; export MY_WORD=1"`:          "",
		"run # export MY_WORD=1":              "",
		"export MY_WORDS=1 PASSWORD_STORE=~/": "",
	} {
		if got := names(exported(line, required)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestContainerThatCannotBeLookedAt is said, and where it seems to have data of the stack, nothing begins without it.
func TestContainerThatCannotBeLookedAt(t *testing.T) {
	project := shippedProject(t)
	broken := errors.New("layer does not exist")
	for name, stops := range map[string]bool{"minibot-redis": true, "blog": false} {
		s := Surroundings{Home: "/home/x/minibot", Project: project, Residents: []stack.Resident{{ID: "1", Name: name, Unseen: broken}}}
		found := containers(s)
		if len(found) != 1 || found[0].Kind != KindUnread || !strings.Contains(found[0].What, "layer does not exist") || found[0].Advice == "" {
			t.Errorf("%s: %+v", name, found)
		}
		err := (&Adopter{}).decide(t.Context(), &Plan{project: project}, s)
		if stops != errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
