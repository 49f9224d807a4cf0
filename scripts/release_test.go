package scripts_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

// TestReleaseAfterRelease: what the first one left must be no change of the tree to the second.
func TestReleaseAfterRelease(t *testing.T) {
	must(t, "git", "-C", "..", "check-ignore", "-q", "dist/v1.2.3/minibot.rb")
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
