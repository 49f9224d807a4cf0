package takeover

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"minibot/config"
	"minibot/hint"
	"minibot/stack"
)

// TestOddHomes looks at homes with pipes in the place of files, with links that lead in circles, out of the home, and to nothing.
func TestOddHomes(t *testing.T) {
	pipe := func(path string) error { return syscall.Mkfifo(path, 0o600) }
	link := func(to string) func(string) error {
		return func(path string) error { return os.Symlink(to, path) }
	}
	file := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, test := range map[string]struct {
		home map[string]func(path string) error
		want map[string]string
	}{
		"pipes": {map[string]func(string) error{
			".zshrc": pipe, "minibot/.env": pipe, "minibot/x.sh": pipe, "minibot/y": pipe, "minibot/data/PG_VERSION": pipe,
			"Library/LaunchAgents/a.plist": pipe,
		}, map[string]string{"unread ~/.zshrc": "", "unread ~/Library/LaunchAgents/a.plist": ""}},
		"circles": {map[string]func(string) error{
			".zshrc": link(".zshrc"), "minibot/.env": link(".env"), "minibot/again": link("."), "minibot/x.sh": link("x.sh"), "minibot/data/up": link("../.."),
			"minibot/data/pg/PG_VERSION": file("15\n"), ".bashrc": link("/dev/zero"), "Library/LaunchAgents/a.plist": link("../LaunchAgents"),
			"Library/LaunchAgents/b.plist": link("nowhere"),
		}, map[string]string{"unread ~/.zshrc": "", "unread ~/.bashrc": "", "unread ~/Library/LaunchAgents/a.plist": "", "data ~/minibot/data/pg": ""}},
		"elsewhere": {map[string]func(string) error{
			"minibot": link("real"), "real/data/out": link("../../disk"), "disk/pg/PG_VERSION": file("16\n"), "disk/far/away/pg/PG_VERSION": file("15\n"),
			".profile": file("source ~/real/env\n"),
		}, map[string]string{"data ~/minibot/data/out/pg": "", "source ~/.profile:1": ""}},
		"nonsense": {map[string]func(string) error{
			".zshrc":                       file(strings.Repeat("\x00\xff'\"$((`\\\n", 1000) + "export $(\nalias\nfunction\n. \n=\nexport POSTGRES_PASSWORD=" + canary),
			"minibot/.env":                 file("\x00\xff{\n"),
			"minibot/data/PG_VERSION":      file(""),
			"Library/LaunchAgents/a.plist": file(""),
			"Library/LaunchAgents/b.plist": file("bplist00" + strings.Repeat("\xff", 40)),
			"Library/LaunchAgents/c.plist": file(strings.Replace(plistOf("com.minibot.c", "x"), "<array>", "<array><dict/>", 1)),
			"Library/LaunchAgents/d.plist": file(`<plist version="1.0"><array/></plist>`),
		}, map[string]string{"export ~/.zshrc:1006": "POSTGRES_PASSWORD", "unread ~/minibot/.env": "", "unread ~/Library/LaunchAgents/a.plist": "",
			"unread ~/Library/LaunchAgents/b.plist": "", "unread ~/Library/LaunchAgents/c.plist": "", "unread ~/Library/LaunchAgents/d.plist": "", "data ~/minibot/data": ""}},
		"labels": {map[string]func(string) error{
			"Library/LaunchAgents/a.plist": file(plistOf("my gateway; rm -rf ~", "sh", "-c", "cd ~/minibot; docker compose up")),
			"Library/LaunchAgents/b.plist": file(strings.Replace(plistOf("", "sh", "-c", "cd ~/minibot; docker compose up"), "<key>Label</key><string></string>", "", 1)),
		}, map[string]string{"agent ~/Library/LaunchAgents/a.plist": "", "agent ~/Library/LaunchAgents/b.plist": ""}},
		"huge": {map[string]func(string) error{
			".zshrc":    file("export POSTGRES_PASSWORD=" + canary + "\n" + strings.Repeat("# some line of a shell file\n", 50_000)),
			".zprofile": file(strings.Repeat("~/minibotx . A1_TOKE=1;", 40_000)), "minibot/a.sh": file("security find-generic-password -s " + strings.Repeat("$(", 500_000)),
			"minibot/b.sh": file(strings.Repeat("A=$(security find-generic-password -s x); ", 20_000)), "minibot/c.sh": file(strings.Repeat("a\\\n", 300_000)),
			"minibot/d.sh": file(strings.Repeat("A=`security find-generic-password -s $x`\n", 20_000)),
		}, map[string]string{"export ~/.zshrc:1": "POSTGRES_PASSWORD", "unread ~/.zshrc": "", "unread ~/minibot/d.sh:1": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			user := t.TempDir()
			for path, write := range test.home {
				path = filepath.Join(user, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := write(path); err != nil {
					t.Fatal(err)
				}
			}
			if got := detect(t, user, nil, nobody); !maps.Equal(got, test.want) {
				t.Errorf("found\n%s\nwanted\n%s", lines(got), lines(test.want))
			}
		})
	}
}

// TestAdoptKnowsAnotherStacksComposeFile has that of the older stack in the place of minibot's: with it there would be nothing to adopt.
func TestAdoptKnowsAnotherStacksComposeFile(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "compose.yaml")
	if err := os.WriteFile(file, []byte("services: { postgres: { image: x, container_name: minibot-postgres } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	paths, err := config.NewPaths(home)
	if err != nil {
		t.Fatal(err)
	}
	a := &Adopter{Paths: paths, Load: func(ctx context.Context, env map[string]string) (*stack.Project, error) {
		return stack.Load(ctx, stack.LoadOptions{File: file, Env: env})
	}}
	if p, err := a.Plan(t.Context()); err == nil || !strings.Contains(err.Error(), file+" asks for no secrets") || !strings.Contains(hint.Of(err), "rename") {
		t.Errorf("%+v, %v, hint %q", p, err, hint.Of(err))
	}
}
