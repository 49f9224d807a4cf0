package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"minibot/control"
	"minibot/doctor"
)

const soundCompose = `name: patient
services:
  web:
    image: minibot/redis:local
    secrets: [key, token]
secrets:
  key: { environment: API_KEY, x-minibot: { generate: { length: 32 } } }
  token: { environment: BOT_TOKEN }
`

// fiveSecrets is what init wants of the shipped compose file.
const fiveSecrets = "POSTGRES_PASSWORD=canary-a\nREDIS_PASSWORD=canary-b\nANTHROPIC_API_KEY=canary-c\nTELEGRAM_BOT_TOKEN=canary-d\nOPENCLAW_GATEWAY_TOKEN=canary-e\n"

// patient is an installation that doctor looks at, without a daemon, and commands are run in as from its owner's shell.
type patient struct {
	t                 *testing.T
	home, bin, editor string
	programs          string // the folder of the two
	env               []string
}

// sound makes a patient without a fault but that there are no engine, no daemon and nothing that starts one.
func sound(t *testing.T) *patient {
	t.Helper()
	p := newPatient(t)
	p.write("config.toml", "store = \"age\"\ndocker_host = \"unix:///nonexistent/docker.sock\"\n")
	p.write("compose.yaml", soundCompose)
	p.shell("mb-secrets init --generate", "BOT_TOKEN=canary-token\n")
	return p
}

// another makes a patient that has what p has.
func (p *patient) another(t *testing.T) *patient {
	t.Helper()
	q := newPatient(t)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", p.home+"/.", q.home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return q
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	dir, err := os.MkdirTemp("", "mb-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the temporary folder
	p := &patient{t: t, home: filepath.Join(dir, "it's home"), bin: filepath.Join(dir, "bin"), editor: filepath.Join(dir, "editor"), programs: programs}
	for _, folder := range []string{p.home, p.bin} {
		p.must(os.Mkdir(folder, 0o700))
	}
	p.env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "DOCKER_") }),
		"MINIBOT_HOME="+p.home, "HOME="+dir, "NO_COLOR=1", "EDITOR="+p.editor, "PATH="+p.bin+":"+programs+":"+os.Getenv("PATH"))
	return p
}

func (p *patient) file(name string) string { return filepath.Join(p.home, name) }

func (p *patient) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// editing has the editor make an edit of sed's.
func (p *patient) editing(edit string) {
	p.t.Helper()
	p.must(os.WriteFile(p.editor, []byte("#!/bin/sh\nexec sed -i '"+edit+"' \"$1\"\n"), 0o700))
}

// shell runs a command line, which must work.
func (p *patient) shell(line, stdin string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "sh", "-c", line)
	cmd.Env, cmd.Stdin = p.env, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// doctor returns what is not well.
func (p *patient) doctor() []doctor.Finding {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), filepath.Join(p.programs, "minibotd"), "doctor", "--json")
	cmd.Env = p.env
	out, err := cmd.Output()
	var report doctorReport
	if failed := json.Unmarshal(out, &report); failed != nil {
		p.t.Fatalf("%v, %v\n%s", err, failed, out)
	}
	if code := cmd.ProcessState.ExitCode(); (code == 1) != (report.Failures > 0) || code > 1 {
		p.t.Errorf("exit %d with %d failures", code, report.Failures)
	}
	return slices.DeleteFunc(report.Findings, func(f doctor.Finding) bool { return f.State == doctor.OK })
}

// heal has doctor name the fault of a check, runs the command that it names, and has doctor find all well there.
func (p *patient) heal(check, message, command, stdin string) {
	p.t.Helper()
	found := p.doctor()
	at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == check && strings.Contains(f.Message, message) })
	if at < 0 {
		p.t.Fatalf("not found: %s: %s in %+v", check, message, found)
	}
	if f := found[at]; f.State != doctor.Failure || !strings.HasPrefix(f.Command, command) {
		p.t.Errorf("%+v, want a failure that `%s …` mends", f, command)
	}
	p.shell(found[at].Command, stdin)
	for _, f := range p.doctor() {
		if f.Check == check {
			p.t.Errorf("after `%s`: %+v", found[at].Command, f)
		}
	}
}

// TestDoctorNamesEachFaultAndTheCommandMendsIt plants one fault at a time, runs the command that doctor names, and has it
// find nothing more. Faults that want an engine or launchd are planted in tests of their own.
func TestDoctorNamesEachFaultAndTheCommandMendsIt(t *testing.T) {
	const elsewhere = 12345 // a user
	well := sound(t)
	for name, test := range map[string]struct {
		plant                   func(p *patient)
		check, message, command string
		stdin                   string
	}{
		"no home": {func(p *patient) { p.must(os.RemoveAll(p.home)) }, "home", "does not exist", "mb-secrets init", fiveSecrets},
		"home that others write to": {func(p *patient) { p.must(os.Chmod(p.home, 0o775)) },
			"home", "mode 0775", "chmod go-w ", ""},
		"home that its owner cannot use": {func(p *patient) { p.must(os.Chmod(p.home, 0o500)) }, "home", "mode 0500", "chmod u+rwx ", ""},
		"home of another user":           {func(p *patient) { p.must(os.Chown(p.home, elsewhere, -1)) }, "home", "belongs to uid 12345", "chown -R 0 ", ""},
		"run that others read":           {func(p *patient) { p.must(os.Chmod(p.file("run"), 0o755)) }, "home", "run has mode 0755", "chmod 700 ", ""},
		"state that others read":         {func(p *patient) { p.must(os.Chmod(p.file("state"), 0o750)) }, "home", "state has mode 0750", "chmod 700 ", ""},
		"run that is a file": {func(p *patient) { p.must(os.RemoveAll(p.file("run"))); p.write("run", "") },
			"home", "run is not a folder", "mv ", ""},
		"socket that is a file": {func(p *patient) { p.write("run/minibotd.sock", "") }, "socket", "something else", "mv ", ""},
		"logs that others read": {func(p *patient) { p.must(os.Mkdir(p.file("log"), 0o755)) }, "logs", "mode 0755", "chmod 700 ", ""},
		"logs that are a file":  {func(p *patient) { p.write("log", "") }, "logs", "not a folder", "mv ", ""},
		"key of config.toml that nobody knows": {func(p *patient) {
			p.write("config.toml", "stroe = \"age\"\n"+"docker_host = \"unix:///nonexistent/docker.sock\"\n")
			p.editing("s/stroe/store/")
		}, "config", "unknown key stroe", "${EDITOR:-vi} ", ""},
		"value of config.toml that nobody knows": {func(p *patient) {
			p.write("config.toml", "log_level = \"loud\"\ndocker_host = \"unix:///nonexistent/docker.sock\"\n")
			p.editing("s/loud/info/")
		}, "config", "log_level", "${EDITOR:-vi} ", ""},
		"config.toml that others write to": {func(p *patient) { p.must(os.Chmod(p.file("config.toml"), 0o666)) }, "config", "mode 0666", "chmod go-w ", ""},
		"config.toml that is a folder": {func(p *patient) {
			p.must(os.Remove(p.file("config.toml")))
			p.must(os.Mkdir(p.file("config.toml"), 0o700))
		}, "config", "is no file", "mv ", ""},
		"config.toml that is a FIFO": {func(p *patient) {
			p.must(os.Remove(p.file("config.toml")))
			p.must(syscall.Mkfifo(p.file("config.toml"), 0o600))
		}, "config", "is no file", "mv ", ""},
		"compose file that is a folder": {func(p *patient) {
			p.must(os.Remove(p.file("compose.yaml")))
			p.must(os.Mkdir(p.file("compose.yaml"), 0o700))
		},
			"compose", "is no file", "mv ", fiveSecrets},
		"key that is a FIFO": {func(p *patient) {
			p.must(os.Remove(p.file("age.key")))
			p.must(syscall.Mkfifo(p.file("age.key"), 0o600))
		}, "key", "is no file", "mv ", ""},
		"no compose file": {func(p *patient) { p.must(os.Remove(p.file("compose.yaml"))) }, "compose", "does not exist", "mb-secrets init", fiveSecrets},
		"compose file that cannot be read": {func(p *patient) { p.write("compose.yaml", soundCompose+"  x: [\n"); p.editing("/x: \\[/d") },
			"compose", "compose.yaml:", "${EDITOR:-vi} ", ""},
		"compose file that passes a secret on": {func(p *patient) {
			p.write("compose.yaml", strings.Replace(soundCompose, "    secrets:", "    environment: [API_KEY]\n    secrets:", 1))
			p.editing("/environment: \\[API_KEY\\]/d")
		}, "compose", "API_KEY", "${EDITOR:-vi} ", ""},
		"compose file that others write to": {func(p *patient) { p.must(os.Chmod(p.file("compose.yaml"), 0o664)) }, "compose", "mode 0664", "chmod go-w ", ""},
		"no store":                          {func(p *patient) { p.must(os.Remove(p.file("store.age"))) }, "store", "no store", "mb-secrets init", "BOT_TOKEN=canary-again\nAPI_KEY=canary-key\n"},
		"secret that can be generated":      {func(p *patient) { p.shell("mb-secrets delete --yes API_KEY", "") }, "store", "API_KEY is required", "mb-secrets generate API_KEY", ""},
		"secret that a person has":          {func(p *patient) { p.shell("mb-secrets delete --yes BOT_TOKEN", "") }, "store", "BOT_TOKEN is required", "mb-secrets set BOT_TOKEN", "canary-new"},
		"key that others read":              {func(p *patient) { p.must(os.Chmod(p.file("age.key"), 0o640)) }, "key", "mode 0640", "chmod 600 ", ""},
		"key that others read, to the store": {func(p *patient) { p.must(os.Chmod(p.file("age.key"), 0o604)) },
			"store", "mode 0604", "chmod 600 ", ""},
		"key of another user": {func(p *patient) { p.must(os.Chown(p.file("age.key"), elsewhere, -1)) }, "key", "belongs to uid 12345", "chown 0 ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := well.another(t)
			test.plant(p)
			p.heal(test.check, test.message, test.command, test.stdin)
		})
	}
}

// TestDoctorOfASoundInstallation holds that what is well is said to be, with and without a daemon.
func TestDoctorOfASoundInstallation(t *testing.T) {
	p := sound(t)
	bad := map[string]bool{}
	for _, f := range p.doctor() {
		bad[f.Check] = true
	}
	for _, check := range []string{"home", "config", "socket", "logs", "compose", "store", "key", "versions"} {
		if bad[check] {
			t.Errorf("%s is not well: %+v", check, p.doctor())
		}
	}
	if !bad["engine"] || !bad["daemon"] {
		t.Errorf("neither an engine nor a daemon is there: %v", bad)
	}
	code, out, errs := command(t.Context(), "doctor", "--home", p.home)
	if code != 1 || errs != "" || !strings.Contains(out, "failure  engine") || !strings.Contains(out, "mend: ") || strings.Contains(out, "canary") {
		t.Errorf("exit %d, %q\n%s", code, errs, out)
	}
}

// TestDoctorAsksTheDaemon holds that the store is left to a daemon that has it.
func TestDoctorAsksTheDaemon(t *testing.T) {
	serve(t, &fakeDaemon{status: control.Status{Phase: control.PhaseWaitingForStore, Version: "older",
		Reason: "the keyring \x1b[2Jis locked", Hint: "unlock it, or run `mb-secrets list`",
		Store: control.Store{Kind: "secret-service", State: "locked"}}})
	code, out, errs := command(t.Context(), "doctor")
	if code != 1 || errs != "" {
		t.Fatalf("exit %d, %q\n%s", code, errs, out)
	}
	for _, want := range []string{
		"failure  store       store secret-service is locked: the keyring \\x1b[2Jis locked\n", "mb-secrets list\n",
		"warning  daemon      waiting-for-store: ", "failure  versions    minibotd runs as version older",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("MINIBOT_HOME"), "run", "minibotd.lock")); err == nil {
		t.Error("the lock was taken")
	}
}
