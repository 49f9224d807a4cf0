package scripts_test

import (
	"fmt"
	"io/fs"
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

// committed is a checkout of its own with what is here, all in a commit.
func committed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, "bash", "-c", `cd .. && git ls-files -z --cached --others --exclude-standard | tar --null -T - -c -f - | tar -x -C "$1" -f -
cd "$1" && git init -q && git add -A && git -c user.name=canary -c user.email=canary@localhost commit -qm canary`, "committed", dir)
	return dir
}

// TestRelease makes a release with a stand-in for the compiler, on Linux and as on a Mac, twice each.
func TestRelease(t *testing.T) {
	tree := committed(t)
	release := filepath.Join(tree, "scripts", "release")
	compiler := t.TempDir()
	standIn(t, compiler, "go", `echo 'work that goes on' >>"$TREE/docs/security.md"
while [ $# != 0 ]; do [ "$1" = -o ] && out=$2; shift; done
for p in minibotd mb-secrets; do echo "$p $GOOS/$GOARCH cgo=$CGO_ENABLED" >"$out$p"; chmod 755 "$out$p"; done`)
	apple, calls := mac(t, "not set")
	for name, c := range map[string]struct {
		env      []string
		archives []string
		formula  string
	}{
		"Linux": {nil, []string{"darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64"}, "minibot-v1.2.3-darwin-arm64.tar.gz"},
		"macOS": {apple, []string{"darwin-universal", "linux-amd64", "linux-arm64"}, "minibot-v1.2.3-darwin-universal.tar.gz"},
	} {
		path := os.Getenv("PATH")
		if c.env != nil {
			path = strings.TrimPrefix(c.env[0], "PATH=")
		}
		var sums []string
		for range 2 {
			out := t.TempDir()
			must(t, "git", "-C", tree, "checkout", "-q", ".")
			if _, err := run(t, []string{"PATH=" + compiler + ":" + path, "TREE=" + tree}, release, "v1.2.3", out); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, archive := range c.archives {
				list := must(t, "tar", "-tzf", filepath.Join(out, "minibot-v1.2.3-"+archive+".tar.gz"))
				for _, file := range []string{"minibotd", "mb-secrets", "scripts/install.sh", "docs/security.md"} {
					if !strings.Contains(list, "minibot-v1.2.3-"+archive+"/"+file+"\n") {
						t.Errorf("%s: %s has no %s", name, archive, file)
					}
				}
				asGoreleaser(t, list)
				if text := must(t, "tar", "-xzOf", filepath.Join(out, "minibot-v1.2.3-"+archive+".tar.gz"), "minibot-v1.2.3-"+archive+"/docs/security.md"); strings.Contains(text, "work that goes on") {
					t.Errorf("%s: %s has what is in no commit", name, archive)
				}
			}
			must(t, "bash", "-c", `cd "$1" && sha256sum --check --strict SHA256SUMS`, "sums", out)
			sums = append(sums, read(t, filepath.Join(out, "SHA256SUMS")))
			if formula := read(t, filepath.Join(out, "minibot.rb")); !strings.Contains(formula, c.formula) || strings.Contains(formula, "@") {
				t.Errorf("%s: the formula:\n%s", name, formula)
			}
		}
		if sums[0] != sums[1] || strings.Count(sums[0], "\n") != len(c.archives) {
			t.Errorf("%s: two releases of one commit, or their lists, differ:\n%s\n%s", name, sums[0], sums[1])
		}
	}
	if got := read(t, calls); strings.Count(got, "lipo -create") != 4 || strings.Count(got, "--identifier com.minibot --options runtime") != 4 {
		t.Errorf("on a Mac both programs are joined and signed:\n%s", got)
	}
}

func TestReleaseRefuses(t *testing.T) {
	tree := committed(t)
	release := filepath.Join(tree, "scripts", "release")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "old"), nil, fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no version": {}, "not a version": {"next"}, "a version with a path": {"v1.2.3/../../x"}, "a folder with something in it": {"v1.2.3", full},
	} {
		if _, err := run(t, nil, release, args...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "README.md"), []byte("changed"), fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, nil, release, "v1.2.3", t.TempDir()); err == nil {
		t.Error("a tree with changes: no error")
	}
}
