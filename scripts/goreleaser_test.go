package scripts_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// goreleaser is what .goreleaser.yaml says that scripts/release says too.
type goreleaser struct {
	Builds   []struct{ LDFlags []string }
	Archives []struct{ Files []string }
}

// asGoreleaser holds that an archive of scripts/release, listed by tar, has the files that goreleaser would put into its own.
func asGoreleaser(t *testing.T, list string) {
	t.Helper()
	var g goreleaser
	if err := yaml.Unmarshal([]byte(read(t, "../.goreleaser.yaml")), &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Builds) != 4 || len(g.Archives) != 1 {
		t.Fatalf("%+v", g)
	}
	for _, build := range g.Builds {
		if len(build.LDFlags) != 1 || !strings.Contains(read(t, "release"), `"`+strings.ReplaceAll(build.LDFlags[0], "v{{ .Version }}", "$version")+`"`) {
			t.Errorf("scripts/release does not link with %q", build.LDFlags)
		}
	}
	unmatched := slices.Clone(g.Archives[0].Files)
	for file := range strings.Lines(list) {
		_, file, _ = strings.Cut(strings.TrimSpace(file), "/")
		found := file == "minibotd" || file == "mb-secrets"
		for _, pattern := range g.Archives[0].Files {
			if ok, err := path.Match(pattern, file); err != nil {
				t.Fatal(err)
			} else if ok {
				found = true
				unmatched = slices.DeleteFunc(unmatched, func(p string) bool { return p == pattern })
			}
		}
		if !found {
			t.Errorf("goreleaser leaves %s out", file)
		}
	}
	if len(unmatched) > 0 {
		t.Errorf("scripts/release has nothing of %q", unmatched)
	}
}
