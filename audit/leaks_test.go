package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"howett.net/plist"

	"minibot/config"
	"minibot/control"
	"minibot/secrets"
)

const (
	canary   = "canary-Zk3/q9+Xw&7=T5"
	former   = "canary-former-8Jd0"
	coming   = "canary-coming-4Lm2"
	bystand  = "canary-nobody-leaks-this"
	nameOfIt = secrets.Name("POSTGRES_PASSWORD")
)

func secret(t testing.TB, name secrets.Name, slot secrets.Slot, text string) Secret {
	t.Helper()
	value, err := secrets.NewValue([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Secret{name, slot, value}
}

// clean makes a home and an installation as they should be, with everything in it that an audit looks at and no leak.
func clean(t *testing.T) *Auditor {
	t.Helper()
	home := t.TempDir()
	paths, err := config.NewPaths(filepath.Join(home, "minibot"))
	if err != nil {
		t.Fatal(err)
	}
	paths.LogDir = filepath.Join(home, "Library/Logs/minibot")
	if err := config.EnsureHome(paths); err != nil {
		t.Fatal(err)
	}
	a := &Auditor{Paths: paths, UserHome: home, Secrets: []Secret{
		secret(t, nameOfIt, secrets.Current, canary), secret(t, nameOfIt, secrets.Previous, former),
		secret(t, nameOfIt, secrets.Pending, coming), secret(t, "REDIS_PASSWORD", secrets.Current, bystand),
	}}
	m := thisMachine()
	m.crashDirs = func(home string) []string { return []string{filepath.Join(home, "Library/Logs/DiagnosticReports")} }
	m.processes = func(context.Context, func(process) error) error { return nil }
	m.swap = func() (swapState, error) { return swapOff, nil }
	a.machine = &m
	t.Setenv("PATH", t.TempDir()) // no journalctl
	for _, path := range []string{paths.Config, paths.Compose, paths.Events, paths.Rotation, filepath.Join(paths.Home, "store.age"),
		filepath.Join(paths.LogDir, "minibotd.log"), filepath.Join(home, ".bash_history"), filepath.Join(home, ".zshrc"), filepath.Join(home, ".env"),
		filepath.Join(home, "Library/LaunchAgents/com.canary.plist"), filepath.Join(home, "Documents/letter.txt")} {
		put(t, path, "export POSTGRES_PASSWORD=/run/secrets/POSTGRES_PASSWORD canary\n")
	}
	return a
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// audit runs a and checks that nothing in what it says holds a value or a good part of one.
func audit(t testing.TB, a *Auditor) ([]control.Finding, Summary) {
	t.Helper()
	var all []control.Finding
	var said strings.Builder
	summary, err := a.Run(t.Context(), func(f control.Finding) error {
		fmt.Fprintf(&said, "%+v\n", f)
		all = append(all, f)
		return nil
	}, func(line string) { fmt.Fprintln(&said, line) })
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&said, "%+v", summary)
	for _, s := range a.Secrets {
		text := string(s.Value.Reveal())
		for at := 0; at+12 <= len(text); at++ {
			if part := text[at : at+12]; strings.Contains(said.String(), part) {
				t.Errorf("the audit says a part of %s, %v", s.Name, s.Slot)
			}
		}
	}
	return all, summary
}

// in reports the findings at a place, by the end of its name.
func in(all []control.Finding, code, place string) []control.Finding {
	var some []control.Finding
	for _, f := range all {
		if f.Code == code && strings.HasSuffix(f.Place, place) {
			some = append(some, f)
		}
	}
	return some
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func binaryPlist(t *testing.T, tree any) string {
	t.Helper()
	b, err := plist.Marshal(tree, plist.BinaryFormat)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var planted = []struct {
	name, path, text string
	code, form       string
}{
	{"bash history", "~/.bash_history", "PGPASSWORD='" + canary + "' psql\n", "secret-in-history", "plain"},
	{"zsh history", "~/.zsh_history", ": 1700000000:0;export P=canary-Zk3/q9+Xw\\&7=T5\n", "secret-in-history", "escaped"},
	{"zsh session", "~/.zsh_sessions/1F.history", "echo " + canary, "secret-in-history", "plain"},
	{"fish history", "~/.local/share/fish/fish_history", "- cmd: set P " + canary, "secret-in-history", "plain"},
	{"psql history", "~/.psql_history", "ALTER ROLE minibot PASSWORD '" + canary + "';", "secret-in-history", "plain"},
	{"redis history", "~/.rediscli_history", "AUTH " + canary, "secret-in-history", "plain"},
	{"python history", "~/.python_history", "b64(" + base64.StdEncoding.EncodeToString([]byte("minibot:"+canary)) + ")", "secret-in-history", "base64"},
	{"node history", "~/.node_repl_history", hex.EncodeToString([]byte(canary)), "secret-in-history", "hex"},
	{"mysql history", "~/.mysql_history", canary, "secret-in-history", "plain"},
	{"less history", "~/.lesshst", "\"" + canary, "secret-in-history", "plain"},
	{"vim", "~/.viminfo", "?/" + canary, "secret-in-history", "plain"},
	{"gzipped history", "~/.bash_history.1.gz", "gzip", "secret-in-history", "plain"},
	{"zshrc", "~/.zshrc", "export DATABASE_URL=postgres://minibot:canary-Zk3%2Fq9%2BXw%267%3DT5@localhost/", "secret-in-shell-startup", "url"},
	{"profile", "~/.profile", canary, "secret-in-shell-startup", "plain"},
	{"zshenv", "~/.zshenv", canary, "secret-in-shell-startup", "plain"},
	{"fish configuration", "~/.config/fish/config.fish", canary, "secret-in-shell-startup", "plain"},
	{"environment.d", "~/.config/environment.d/50-bot.conf", "P=" + canary, "secret-in-shell-startup", "plain"},
	{".env of the user", "~/.env.local", "P=" + canary, "secret-in-env-file", "plain"},
	{".env of a project", "~/code/bot/.env", "P=" + canary, "secret-in-env-file", "plain"},
	{".env beside the compose file", "~/minibot/.env", "P=" + canary, "secret-in-env-file", "plain"},
	{"netrc", "~/.netrc", "password " + canary, "secret-in-client-config", "plain"},
	{"pgpass", "~/.pgpass", "*:*:*:minibot:" + canary, "secret-in-client-config", "plain"},
	{"npmrc", "~/.npmrc", "_authToken=" + canary, "secret-in-client-config", "plain"},
	{"docker's configuration", "~/.docker/config.json", `{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:"+canary)) + `"}`, "secret-in-client-config", "base64"},
	{"LaunchAgent, XML", "~/Library/LaunchAgents/com.x.plist", "<plist><dict><key>P</key><string>canary-Zk3/q9+Xw&amp;7=T5</string></dict></plist>",
		"secret-in-service-definition", "plain"},
	{"LaunchAgent, binary", "~/Library/LaunchAgents/com.y.plist", "plist", "secret-in-service-definition", "plain"},
	{"systemd unit", "~/.config/systemd/user/bot.service.d/env.conf", "Environment=P=" + canary, "secret-in-service-definition", "plain"},
	{"daemon's log", "~/Library/Logs/minibot/minibotd.log", `level=error err="` + canary + `"`, "secret-in-log", "plain"},
	{"rotated log", "~/Library/Logs/minibot/minibotd.log.2.gz", "gzip", "secret-in-log", "plain"},
	{"event log", "~/minibot/state/events.jsonl.1", `{"reason":"canary-Zk3/q9+Xw\u00267=T5"}`, "secret-in-state", "escaped"},
	{"journal of rotations", "~/minibot/state/rotation.jsonl", canary, "secret-in-state", "plain"},
	{"configuration", "~/minibot/config.toml", "[env]\nP = \"" + canary + "\"", "secret-in-config", "plain"},
	{"compose file", "~/minibot/compose.yaml", "environment: { P: \"" + canary + "\" }", "secret-in-compose-file", "plain"},
	{"file beside minibot's", "~/minibot/notes/todo.txt", canary, "secret-in-file", "plain"},
	{"core file", "~/minibot/core.4711", strings.Repeat("\x00", 1<<20) + canary, "secret-in-core-dump", "plain"},
	{"crash report", "~/Library/Logs/DiagnosticReports/bot.ips", "c\x00a\x00n\x00a\x00r\x00y\x00-\x00Z\x00k\x003\x00/\x00q\x009\x00+\x00X\x00w\x00&\x007\x00=\x00T\x005\x00",
		"secret-in-core-dump", "utf16"},
}

func TestPlantedLeaksInFilesAreFound(t *testing.T) {
	a := clean(t)
	for _, p := range planted {
		text := p.text
		switch text {
		case "gzip":
			text = gzipped(t, "P="+canary+"\n")
		case "plist":
			text = binaryPlist(t, map[string]any{"EnvironmentVariables": map[string]any{"P": canary}})
		}
		put(t, strings.Replace(p.path, "~", a.UserHome, 1), text)
	}
	all, summary := audit(t, a)
	for _, p := range planted {
		found := in(all, p.code, p.path[1:])
		if len(found) != 1 {
			t.Errorf("%s: %d findings of code %s", p.name, len(found), p.code)
			continue
		}
		f := found[0]
		if f.Secret != nameOfIt || f.Slot != "current" || f.Severity != control.SeverityHigh || f.Form != p.form ||
			!strings.Contains(f.Hint, "mb-secrets rotate POSTGRES_PASSWORD") || f.Message == "" {
			t.Errorf("%s: %+v", p.name, f)
		}
	}
	if len(all) != len(planted)+1 { // and that no engine was searched
		for _, f := range all {
			t.Logf("%s %s", f.Code, f.Place)
		}
		t.Errorf("%d findings of %d leaks", len(all), len(planted))
	}
	if len(summary.Incomplete) != 0 || summary.High != len(planted) || summary.Places < len(planted) || summary.Searched < 1<<20 {
		t.Errorf("%+v", summary)
	}
}

func TestACleanHomeHasNoFindings(t *testing.T) {
	all, summary := audit(t, clean(t))
	if len(all) != 1 || all[0].Code != "engine-not-searched" || summary.High+summary.Medium != 0 || len(summary.Incomplete) != 0 {
		t.Errorf("%+v, %+v", all, summary)
	}
}

func TestSlotsTellHowBadALeakIs(t *testing.T) {
	a := clean(t)
	put(t, filepath.Join(a.UserHome, ".netrc"), former+" "+coming)
	all, _ := audit(t, a)
	found := in(all, "secret-in-client-config", "/.netrc")
	if len(found) != 2 {
		t.Fatalf("%+v", found)
	}
	for _, f := range found {
		want := map[string]control.Severity{"previous": control.SeverityMedium, "pending": control.SeverityHigh}[f.Slot]
		if f.Severity != want || f.Slot == "previous" && strings.Contains(f.Hint, "rotate") {
			t.Errorf("%+v", f)
		}
	}
}

func TestAPlaceFoundManyTimesIsOneFinding(t *testing.T) {
	a := clean(t)
	put(t, filepath.Join(a.UserHome, ".bash_history"), strings.Repeat(hex.EncodeToString([]byte(canary))+" "+canary+"\n", 1000))
	if err := os.Symlink(".bash_history", filepath.Join(a.UserHome, ".zsh_history")); err != nil {
		t.Fatal(err)
	}
	all, _ := audit(t, a)
	found := in(all, "secret-in-history", "")
	if len(found) != 1 || found[0].Form != "plain" {
		t.Errorf("%+v", found)
	}
}

func TestFindingsOfOnePlaceAreBounded(t *testing.T) {
	a := clean(t)
	text := ""
	for i := range 100 {
		value := fmt.Sprintf("canary-%d-%x", i, i*7919)
		text += value + "\n"
		a.Secrets = append(a.Secrets, secret(t, secrets.Name(fmt.Sprintf("K%d", i)), secrets.Current, value))
	}
	put(t, filepath.Join(a.UserHome, ".env"), text)
	all, _ := audit(t, a)
	found := in(all, "secret-in-env-file", "/.env")
	if len(found) != perPlace+1 || !strings.Contains(found[perPlace].Message, "80 more") {
		t.Errorf("%d findings, %+v", len(found), found[len(found)-1])
	}
}

func TestTheJournalIsSearched(t *testing.T) {
	a := clean(t)
	bin := t.TempDir()
	script := "#!/bin/sh\nfor a in \"$@\"; do case $a in --user|--unit=minibotd) echo started; esac; done\necho 'err=" + former + "'\n"
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	all, summary := audit(t, a)
	if found := in(all, "secret-in-log", "journal of the unit minibotd"); len(found) != 1 || len(summary.Incomplete) != 0 {
		t.Errorf("%+v %+v", found, summary)
	}
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, summary := audit(t, a); len(summary.Incomplete) != 1 {
		t.Errorf("a journal that cannot be read is not said: %+v", summary)
	}
}

func TestPlantedLeaksInProcessesAreFound(t *testing.T) {
	a := clean(t)
	a.machine.processes = thisMachine().processes
	if all, summary := audit(t, a); summary.High != 0 || summary.Places < 10 {
		t.Fatalf("before: %+v %+v", summary, all)
	}
	for _, plant := range []struct {
		args, env []string
		code      string
	}{
		{[]string{"--password=" + canary}, nil, "secret-in-arguments"},
		{nil, []string{"PGPASSWORD=" + canary}, "secret-in-environment"},
		{nil, []string{"DATABASE_URL=postgres://u:canary-Zk3%2fq9%2bXw%267%3dT5@h/"}, "secret-in-environment"},
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", "read line", "sh"}, plant.args...)...)
		cmd.Env = append([]string{"PATH=/bin"}, plant.env...)
		if _, err := cmd.StdinPipe(); err != nil { // what it waits for
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all, _ := audit(t, a)
		found := in(all, plant.code, "")
		if len(found) != 1 || !strings.Contains(found[0].Place, fmt.Sprintf("process %d (sh)", cmd.Process.Pid)) || found[0].Severity != control.SeverityHigh {
			t.Errorf("%s: %+v", plant.code, all)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func TestAnEndedContextEndsTheAudit(t *testing.T) {
	a := clean(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Run(ctx, func(control.Finding) error { return nil }, func(string) {}); err == nil {
		t.Error("it went on")
	}
	a.Engine = nil
	if _, err := a.Run(t.Context(), func(control.Finding) error { return fs.ErrClosed }, func(string) {}); err == nil {
		t.Error("it went on though nobody takes its findings")
	}
}
