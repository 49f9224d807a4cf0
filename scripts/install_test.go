package scripts_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScriptsAreShellCheckClean checks every script and what it sources.
func TestScriptsAreShellCheckClean(t *testing.T) {
	checked := 0
	for _, dir := range []string{".", "../.ci"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			info, err := file.Info()
			if err != nil {
				t.Fatal(err)
			}
			if !info.Mode().IsRegular() || info.Mode()&0o100 == 0 {
				continue
			}
			checked++
			if out, err := exec.Command("shellcheck", "-a", filepath.Join(dir, file.Name())).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d scripts were found", checked)
	}
}

// standIn writes a program of that name into dir.
func standIn(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\nset -euo pipefail\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// built is a folder with stand-ins for both programs, which write down how they are called.
func built(t *testing.T, version string) (dir, calls string) {
	t.Helper()
	dir, calls = t.TempDir(), filepath.Join(t.TempDir(), "calls")
	for _, program := range []string{"minibotd", "mb-secrets"} {
		standIn(t, dir, program, fmt.Sprintf("# %s\n[ $1 = version ] || echo \"$0 $*\" >>%q", version, calls))
	}
	return dir, calls
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInstallScriptPutsBothProgramsInPlaceAndInstalls(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "a prefix")
	for _, version := range []string{"first", "second"} {
		from, calls := built(t, version)
		if _, err := run(t, nil, "./install.sh", "--from", from, "--prefix", prefix, "--", "--yes", "--store", "age"); err != nil {
			t.Fatal(err)
		}
		if got, want := read(t, calls), prefix+"/bin/minibotd install --yes --store age\n"; got != want {
			t.Errorf("called %q, want %q", got, want)
		}
		for _, program := range []string{"minibotd", "mb-secrets"} {
			if !strings.Contains(read(t, filepath.Join(prefix, "bin", program)), version) {
				t.Errorf("%s is not the %s one", program, version)
			}
		}
		if left, err := os.ReadDir(filepath.Join(prefix, "bin")); err != nil || len(left) != 2 {
			t.Errorf("%v, %v: want the two programs alone", left, err)
		}
	}
}

// TestInstallScriptReplacesInOneStep looks at who runs the old program: its file stays whole under another inode.
func TestInstallScriptReplacesInOneStep(t *testing.T) {
	prefix := t.TempDir()
	from, _ := built(t, "old")
	if _, err := run(t, nil, "./install.sh", "--from", from, "--prefix", prefix); err != nil {
		t.Fatal(err)
	}
	running, err := os.Open(filepath.Join(prefix, "bin", "minibotd"))
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if from, _ = built(t, "new"); true {
		if _, err := run(t, nil, "./install.sh", "--from", from, "--prefix", prefix); err != nil {
			t.Fatal(err)
		}
	}
	text := make([]byte, 4096)
	n, err := running.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "# old") {
		t.Errorf("the running program's own file was written to: %q, %v", text[:n], err)
	}
}

func TestInstallScriptThatFailsLeavesTheOldPrograms(t *testing.T) {
	prefix := t.TempDir()
	old, _ := built(t, "old")
	if _, err := run(t, nil, "./install.sh", "--from", old, "--prefix", prefix); err != nil {
		t.Fatal(err)
	}
	broken, _ := built(t, "new")
	standIn(t, broken, "mb-secrets", "exit 1") // for another machine, say
	missing, _ := built(t, "new")
	if err := os.Remove(filepath.Join(missing, "minibotd")); err != nil {
		t.Fatal(err)
	}
	good, _ := built(t, "new")
	full := t.TempDir()
	standIn(t, full, "install", "echo half >\"${@: -1}\"; exit 1")
	for name, c := range map[string]struct{ from, path string }{
		"a program that does not run": {broken, ""}, "a program is missing": {missing, ""}, "the disk is full": {good, full + ":"},
	} {
		if _, err := run(t, []string{"PATH=" + c.path + os.Getenv("PATH")}, "./install.sh", "--from", c.from, "--prefix", prefix); err == nil {
			t.Errorf("%s: no error", name)
		}
		for _, program := range []string{"minibotd", "mb-secrets"} {
			if !strings.Contains(read(t, filepath.Join(prefix, "bin", program)), "# old") {
				t.Errorf("%s: %s is not the old one any more", name, program)
			}
		}
	}
}

// TestInstallScriptBuildsInACheckout has stand-ins for the compiler and make.
func TestInstallScriptBuildsInACheckout(t *testing.T) {
	tree, prefix, tools := committed(t), t.TempDir(), t.TempDir()
	from, calls := built(t, "built here")
	standIn(t, tools, "go", "exit 1")
	standIn(t, tools, "make", fmt.Sprintf(`[ "$*" = "-C %[1]s/scripts/.. --no-print-directory build" ]; mkdir -p %[1]s/bin; cp %[2]q/* %[1]s/bin/`, tree, from))
	script := filepath.Join(tree, "scripts", "install.sh")
	if _, err := run(t, []string{"PATH=" + tools + ":" + os.Getenv("PATH")}, script, "--prefix", prefix); err != nil {
		t.Fatal(err)
	}
	if got := read(t, calls); got != prefix+"/bin/minibotd install\n" {
		t.Errorf("called %q", got)
	}
	if !strings.Contains(read(t, filepath.Join(prefix, "bin", "mb-secrets")), "# built here") {
		t.Error("mb-secrets is not the one that was built")
	}
	var path []string // the system's folders without Go
	for _, name := range []string{"bash", "dirname", "uname", "id", "sed", "mkdir"} {
		dir := t.TempDir()
		must(t, "bash", "-c", `ln -s "$(command -v "$1")" "$2"`, "link", name, filepath.Join(dir, name))
		path = append(path, dir)
	}
	if out, err := run(t, []string{"PATH=" + strings.Join(path, ":")}, script, "--prefix", t.TempDir()); err == nil {
		t.Errorf("without Go: %s", out)
	}
}

func TestInstallScriptPutsProgramsInPlaceOnly(t *testing.T) {
	prefix := t.TempDir()
	from, calls := built(t, "new")
	if _, err := run(t, nil, "./install.sh", "--programs-only", "--from", from, "--prefix", prefix); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(read(t, filepath.Join(prefix, "bin", "minibotd")), "# new") {
		t.Error("minibotd is not in place")
	}
	if _, err := os.Stat(calls); !os.IsNotExist(err) {
		t.Errorf("something was called: %v", err)
	}
}

func TestInstallScriptDryRunChangesNothing(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "prefix")
	from, calls := built(t, "new")
	if _, err := run(t, nil, "./install.sh", "--dry-run", "--from", from, "--prefix", prefix); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{prefix, calls} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want that it is not there", path, err)
		}
	}
}

// mac is a PATH on which this looks like a Mac; its stand-in codesign knows team, "" for none, and writes down how it is called.
func mac(t *testing.T, team string) (env []string, calls string) {
	t.Helper()
	dir, calls := t.TempDir(), filepath.Join(t.TempDir(), "calls")
	standIn(t, dir, "uname", `case "$*" in -m) echo arm64 ;; -sm) echo Darwin arm64 ;; *) echo Darwin ;; esac`)
	standIn(t, dir, "id", `echo 501`)
	standIn(t, dir, "codesign", fmt.Sprintf("echo \"codesign $*\" >>%q\nif [ \"$1\" = -d ]; then echo TeamIdentifier=%s >&2; fi", calls, team))
	standIn(t, dir, "lipo", fmt.Sprintf("echo \"lipo $*\" >>%q\ncat \"$4\" \"$5\" >\"$3\"", calls))
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, calls
}

func TestInstallScriptSignsOnAMac(t *testing.T) {
	for name, c := range map[string]struct {
		team, identity string
		want           string // "" for no signature of ours
	}{
		"ad hoc":            {"not set", "", "--force --sign - --identifier com.minibot --options runtime "},
		"a team":            {"not set", "Developer ID Application: canary", "--force --sign Developer ID Application: canary --identifier com.minibot --options runtime --timestamp "},
		"signed by a team":  {"CANARY1234", "", ""},
		"signed once again": {"CANARY1234", "Developer ID Application: canary", "--identifier com.minibot --options runtime --timestamp "},
	} {
		t.Run(name, func(t *testing.T) {
			from, _ := built(t, "new")
			env, calls := mac(t, c.team)
			if _, err := run(t, append(env, "CODESIGN_IDENTITY="+c.identity), "./install.sh", "--from", from, "--prefix", t.TempDir()); err != nil {
				t.Fatal(err)
			}
			got := read(t, calls)
			if signed := strings.Count(got, "--force"); (c.want == "") != (signed == 0) || c.want != "" && signed != 2 {
				t.Errorf("signed %d times:\n%s", signed, got)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("want %q in\n%s", c.want, got)
			}
		})
	}
}

func TestStartScriptWaitsUntilHealthy(t *testing.T) {
	for name, c := range map[string]struct {
		phases string // one after the other; the last stays
		kick   string // what kickstart does
		args   []string
		ok     bool
		want   string // in what kickstart was called with, "" for never
	}{
		"it runs already":       {"healthy", "exit 1", nil, true, ""},
		"it has to be started":  {"down waiting-for-store converging healthy", "exit 0", nil, true, "kickstart"},
		"it runs, not yet well": {"converging healthy", "exit 1", nil, true, ""},
		"it cannot be started":  {"down", "exit 1", nil, false, "kickstart"},
		"the time is over":      {"converging", "exit 0", []string{"1"}, false, ""},
		"stopped by a person":   {"stopped", "exit 0", nil, false, ""},
		"locked down":           {"locked-down", "exit 0", nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			phases := filepath.Join(dir, "phases")
			if err := os.WriteFile(phases, []byte(strings.ReplaceAll(c.phases, " ", "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			standIn(t, dir, "minibotd", fmt.Sprintf(`case "$*" in
kickstart) echo kickstart >>%[1]q.kicked; %[2]s ;;
status) [ "$(tail -n 1 %[1]q)" = healthy ] ;;
'status --json')
  now=$(head -n 1 %[1]q)
  [ "$(wc -l <%[1]q)" = 1 ] || sed -i 1d %[1]q
  [ "$now" != down ] || exit 6
  printf '{\n  "phase": "%%s",\n  "services": [{"phase": "no"}]\n}\n' "$now"
  [ "$now" = healthy ] ;;
esac`, phases, c.kick))
			_, err := run(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "./minibot-start.sh", c.args...)
			if (err == nil) != c.ok {
				t.Errorf("%v, want success: %v", err, c.ok)
			}
			kicked, err := os.ReadFile(phases + ".kicked")
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if strings.TrimSpace(string(kicked)) != c.want {
				t.Errorf("kickstart: %q, want %q", kicked, c.want)
			}
		})
	}
}
