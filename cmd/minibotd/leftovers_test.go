package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/secrets/security/securitytest"
	"minibot/secrets/security/securitytest/standin"
	"minibot/takeover"
)

// put writes a file and the folders that it needs.
func (m *mac) put(path, text string) {
	m.t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

const gatewayAgent = `<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
<key>Label</key><string>com.minibot.gateway</string>
<key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string><string>docker compose up; exec sleep 1000</string></array>
<key>RunAtLoad</key><true/>
</dict></plist>
`

// TestInstallSeesToWhatScriptsLeftBehind installs on the home of somebody who has scripts, a login agent that runs, and data.
func TestInstallSeesToWhatScriptsLeftBehind(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	agent := filepath.Join(m.AgentsDir(), "com.minibot.gateway.plist")
	m.put(agent, gatewayAgent)
	if _, stderr, exit := m.Run("bootstrap", strings.TrimSuffix(m.Target(""), "/"), agent); exit != 0 {
		t.Fatalf("%d: %s", exit, stderr)
	}
	m.put(filepath.Join(m.UserHome(), ".zshrc"), "alias mb-secrets='security find-generic-password'\nexport K=canary-exported\n")
	m.put(filepath.Join(m.home, "env.sh"), "export POSTGRES_PASSWORD=$(security find-generic-password -s pg -a you -w)\n")
	keychain := m.keychain()
	keychain.Add(standin.Item{Service: "pg", Account: "you", Value: []byte("canary-exported"), Partition: standin.Tool})
	data := filepath.Join(m.home, "data", "postgres")
	m.put(filepath.Join(data, "PG_VERSION"), "15\n")

	words := func(args ...string) string {
		t.Helper()
		r := m.run("", "minibotd", append([]string{"install", "--program", m.program}, args...)...)
		all := r.stdout + r.stderr
		if strings.Contains(all, "canary-exported") {
			t.Errorf("%v: a value shows", args)
		}
		for _, want := range []string{"com.minibot.gateway", ".zshrc:1", ".zshrc:2", "Postgres 15", "item pg (you)", "| mb-secrets set POSTGRES_PASSWORD"} {
			if !strings.Contains(all, want) {
				t.Errorf("%v: nothing of %s:\n%s", args, want, all)
			}
		}
		return all
	}
	if all := words("--dry-run"); !strings.Contains(all, "containers of an older stack were not looked for") {
		t.Errorf("no engine, and no word of it:\n%s", all)
	}
	if all := words("--yes"); !strings.Contains(all, "minibotd adopt") || !strings.Contains(all, "--leave-data") {
		t.Errorf("what is there to do about the data?\n%s", all)
	}
	if all := words("--leave-data"); !strings.Contains(all, "install --yes disables it") {
		t.Errorf("nobody was asked about the agent:\n%s", all)
	}
	if _, err := os.Stat(m.plist()); !os.IsNotExist(err) {
		t.Errorf("something was installed: %v", err)
	}
	if _, stderr, exit := m.Run("print", m.Target("com.minibot.gateway")); exit != 0 {
		t.Errorf("the agent was ended: %d %s", exit, stderr)
	}

	if all := words("--leave-data", "--yes"); !strings.Contains(all, "launchctl enable") {
		t.Errorf("how is that undone?\n%s", all)
	}
	if _, err := os.Stat(agent); !os.IsNotExist(err) {
		t.Errorf("the agent's file stays: %v", err)
	}
	if _, _, exit := m.Run("print", m.Target("com.minibot.gateway")); exit == 0 {
		t.Error("the agent is still loaded")
	}
	if _, err := m.status(); err != nil {
		t.Errorf("minibotd is not installed: %v", err)
	}
	if all := m.must("", "minibotd", "install", "--program", m.program); !strings.Contains(all, "already") {
		t.Errorf("an upgrade asks about the data again:\n%s", all)
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil {
		t.Error(err)
	}
	if keychain.Reads() > 0 || len(keychain.Items()) != 1 {
		t.Errorf("%d values of the Keychain were read, and %d items are left", keychain.Reads(), len(keychain.Items()))
	}
}

// keychain gives the installation a Keychain, which is locked.
func (m *mac) keychain() *securitytest.Standin {
	m.t.Helper()
	program, err := securitytest.Build(m.t.TempDir())
	if err != nil {
		m.t.Fatal(err)
	}
	s := securitytest.New(m.t, program)
	s.Lock(true)
	m.env = append(m.env, "MINIBOT_SECURITY="+s.Program)
	return s
}

// TestInstallLooksBeforeThereIsAnything has nothing of minibot's yet: what is looked for is what the shipped stack would meet.
func TestInstallLooksBeforeThereIsAnything(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	if err := os.Remove(filepath.Join(m.home, "compose.yaml")); err != nil {
		t.Fatal(err)
	}
	m.put(filepath.Join(m.UserHome(), ".zshrc"), "export K=$(security find-generic-password -s minibot-redis -w)\n")
	m.keychain().Add(standin.Item{Service: "minibot-redis", Account: "you", Value: []byte("canary-exported"), Partition: standin.Tool})
	looked := func(words ...string) {
		t.Helper()
		r := m.run("", "minibotd", "install", "--program", m.program, "--dry-run")
		for _, want := range append(words, "mb-secrets set REDIS_PASSWORD", "were not looked for") {
			if r.code != 0 || !strings.Contains(r.stderr, want) {
				t.Errorf("exit %d, nothing of %q:\n%s", r.code, want, r.stderr)
			}
		}
	}
	looked()
	m.write("compose.yaml", "services: { db: { image: x, container_name: minibot-postgres } }\n")
	looked("compose.yaml asks for no secrets", "rename it")
	m.write("compose.yaml", "services: { db: { image: x, environment: { PASSWORD: \"${PASSWORD}\" } } }\n")
	looked("compose.yaml:1", "rename it")
}

func TestUnadopted(t *testing.T) {
	for want, found := range map[string]takeover.Findings{
		"":  {{Kind: takeover.KindUnread, Place: "a"}, {Kind: takeover.KindKeychain, Place: "b"}, {Kind: takeover.KindContainer, Place: "c"}, {Kind: takeover.KindAgent, Place: "d", Will: "x"}},
		"e": {{Kind: takeover.KindUnread, Place: "e", Folder: "e"}},
		"f": {{Kind: takeover.KindUnread, Place: "e", Folder: "e"}, {Kind: takeover.KindData, Place: "f", Will: "x"}},
	} {
		if got := unadopted(found); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestTwoInstallsAtOnce has two of them take the same agent aside and install the same program: minibotd runs then, and
// the agent's file is kept.
func TestTwoInstallsAtOnce(t *testing.T) {
	t.Parallel()
	m := onAMac(t, alone(t))
	agent := filepath.Join(m.AgentsDir(), "com.minibot.gateway.plist")
	m.put(agent, gatewayAgent)
	results := make(chan result)
	for range 2 {
		go func() { results <- m.run("", "minibotd", "install", "--program", m.program, "--yes") }()
	}
	for range 2 {
		if r := <-results; r.code != 0 {
			t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	}
	if text, err := os.ReadFile(agent + takeover.Aside); err != nil || string(text) != gatewayAgent {
		t.Errorf("the agent's file: %q, %v", text, err)
	}
	if left, err := filepath.Glob(agent + "*"); err != nil || len(left) != 1 {
		t.Errorf("there are %q, %v", left, err)
	}
	if _, err := m.status(); err != nil {
		t.Errorf("minibotd does not answer: %v", err)
	}
}
