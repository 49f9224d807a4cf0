package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/deploy"
	"minibot/launchd/launchdtest"
)

// newOwner is somebody at a new Mac, with an unpacked release and an engine that has the images.
func newOwner(t *testing.T) (in *installation, shell func(line, stdin string) (string, error)) {
	t.Helper()
	standIn, err := launchdStandIn()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(lasting(t), "you")
	ld := launchdtest.Start(t, launchdtest.Options{Program: standIn, UserHome: home})
	in = install(t, "", string(deploy.ComposeFile), map[string]string{
		"MINIBOT_POSTGRES_PORT": freePort(t), "MINIBOT_REDIS_PORT": freePort(t), "MINIBOT_OPENCLAW_PORT": freePort(t), "MINIBOT_TELEGRAM": "false",
	})
	const version = "v1.1.0-canary"
	release := filepath.Join(t.TempDir(), "minibot-"+version+"-darwin-universal")
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", `cp -R "$1" "$2"; cp -R ../../scripts "$2"`, "unpack", released(t, version), release).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	env := append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME=", "MINIBOT_HOME=", "MINIBOT_MANAGER=launchd", "NO_COLOR=1",
		"PATH="+filepath.Join(home, ".local", "bin")+":"+filepath.Dir(ld.Launchctl())+":"+os.Getenv("PATH"))
	return in, func(line, stdin string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
		cmd.Dir, cmd.Env, cmd.Stdin = release, env, strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// TestInstallDocs takes a new owner from nothing to a healthy stack by docs/install.md: it runs each command of its blocks "console
// mac", in order. What a registry gives, the images, is there already. It has the machine to itself:
// OpenClaw gives its own threads five seconds to start, and ends where they take longer.
func TestInstallDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	in, shell := newOwner(t)
	settings, err := os.ReadFile(in.file("config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	home, err := shell("printf %s ~/minibot", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(in.home); err != nil {
		t.Fatal(err)
	}
	in.home = home
	inside, ran := false, 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			inside = line == "```console mac\n"
		}
		line, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !inside || !isCommand {
			continue
		}
		ran++
		stdin := ""
		if line == "mb-secrets init" { // the owner types at a terminal
			stdin = strings.NewReplacer("canary-a", canaryOf("a"), "canary-b", canaryOf("b"), "canary-c", canaryOf("c"), "canary-d", canaryOf("d"), "canary-e", canaryOf("e")).Replace(fiveSecrets)
		}
		out, err := shell(line, stdin)
		if line == "minibotd status" || line == "minibotd doctor" { // not healthy yet
			in.healthy(4 * time.Minute)
			out, err = shell(line, "")
		}
		if err != nil || strings.Contains(out, "warning: ") {
			t.Fatalf("$ %s\n%s%v", line, out, err)
		}
		if line == "mb-secrets init" { // this test's images, ports and name of the project
			in.append("config.toml", strings.TrimPrefix(string(settings), "[env]\n")) // [env] is the last table
		}
	}
	if ran < 7 {
		t.Errorf("only %d commands were run", ran)
	}
	in.leavesData(shell)
}

// leavesData uninstalls, and holds that data are what is left: on the engine volumes, in the home what minibotd install goes on with.
func (in *installation) leavesData(shell func(line, stdin string) (string, error)) {
	in.t.Helper()
	if out, err := shell("minibotd uninstall", ""); err != nil {
		in.t.Errorf("%v: %s", err, out)
	}
	for kind, want := range map[string]bool{"container": false, "volume": true} {
		list := []string{kind, "ls", "-q", "--filter", "label=com.docker.compose.project=" + in.name}
		if left := in.docker(list...); (left != "") != want {
			in.t.Errorf("after uninstall the engine has %ss %q", kind, left)
		}
	}
	if left, err := shell("ls -A ~/Library/LaunchAgents; ls -A ~/minibot/run | grep -v lock$; ls ~/minibot/state | grep -E 'installed|before'", ""); left != "" {
		in.t.Errorf("left behind: %s (%v)", left, err)
	}
	if out, err := shell("mb-secrets get REDIS_PASSWORD", ""); err != nil || strings.TrimSpace(out) != canaryOf("b") {
		in.t.Errorf("the store afterwards: %q, %v", out, err)
	}
}

// canaryOf is a value of a length that no program warns of.
func canaryOf(name string) string { return "canary-" + strings.Repeat(name, 24) }

// append adds text to a file of the installation.
func (in *installation) append(name, text string) {
	in.t.Helper()
	have, err := os.ReadFile(in.file(name))
	if err != nil {
		in.t.Fatal(err)
	}
	in.write(name, string(have)+"\n"+text)
}
