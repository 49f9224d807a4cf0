package minibot_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// darwinPackage is a package as it is built for macOS with cgo.
type darwinPackage struct {
	ImportPath, Dir   string
	GoFiles, CgoFiles []string
	ImportMap         map[string]string
	Module            *struct{ Main bool }
}

func (p darwinPackage) paths() []string {
	var paths []string
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
		paths = append(paths, filepath.Join(p.Dir, name))
	}
	return paths
}

// darwinPackages lists what the arguments of go list name and whatever that imports, dependencies first.
func darwinPackages(t *testing.T, arguments ...string) []darwinPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-json=ImportPath,Dir,GoFiles,CgoFiles,ImportMap,Module"}, arguments...)...)
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []darwinPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p darwinPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath != "unsafe" && !strings.HasSuffix(p.ImportPath, ".test") { // the latter's source is generated
			all = append(all, p)
		}
	}
}

type importer func(string) (*types.Package, error)

func (f importer) Import(path string) (*types.Package, error) { return f(path) }

// typeFaults type-checks the packages in their order, the project's own with their function bodies, and returns what is
// wrong. There is no C compiler for macOS in it: import "C" is faked, so that whatever has to do with C passes. A file
// of planted is read from there instead.
func typeFaults(t *testing.T, all []darwinPackage, planted map[string]string) (faults []string) {
	t.Helper()
	files, done := token.NewFileSet(), map[string]*types.Package{"unsafe": types.Unsafe}
	for _, p := range all {
		var parsed []*ast.File
		for _, path := range p.paths() {
			var text any
			if other, ok := planted[path]; ok {
				text = other
			}
			f, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		conf := types.Config{
			FakeImportC:      true,
			IgnoreFuncBodies: p.Module == nil || !p.Module.Main,
			Sizes:            types.SizesFor("gc", "arm64"),
			Error:            func(err error) { faults = append(faults, err.Error()) },
			Importer: importer(func(path string) (*types.Package, error) {
				if mapped, ok := p.ImportMap[path]; ok {
					path = mapped
				}
				return done[path], nil
			}),
		}
		done[p.ImportPath], _ = conf.Check(p.ImportPath, files, parsed, nil) // what is wrong went to Error
	}
	return faults
}

// macTests lists the store of the macOS keychain with the tests that run on a Mac.
func macTests(t *testing.T) []darwinPackage {
	t.Helper()
	return darwinPackages(t, "-test", "-tags=keychaincanary", "./secrets/keychain/...")
}

// TestDarwinTypes checks what no compiler of another system sees: the files that macOS with cgo builds.
func TestDarwinTypes(t *testing.T) {
	all, tests := darwinPackages(t, "./..."), macTests(t)
	for _, list := range [][]darwinPackage{all, tests} {
		for _, fault := range typeFaults(t, list, nil) {
			t.Error(fault)
		}
	}
	seen := map[string]bool{}
	for _, p := range slices.Concat(all, tests) {
		for _, path := range p.paths() {
			folder, _, _ := strings.Cut(filepath.Base(filepath.Dir(path)), "@") // less a version
			seen[folder+"/"+filepath.Base(path)] = true
		}
	}
	for _, file := range []string{"keychain/native.go", "lockstate/lockstate.go", "keychain/harness_mac_test.go", "go-keychain/macos.go", "minibotd/main.go", "mb-secrets/main.go"} {
		if !seen[file] {
			t.Errorf("%s was not checked", file)
		}
	}
	if seen["keychain/absent.go"] {
		t.Error("the files of another build were checked")
	}
}

func TestDarwinTypesCatchFaults(t *testing.T) {
	list := macTests(t)
	for _, plant := range []struct{ file, old, new string }{
		{"keychain/native.go", "item.SetMatchLimit(native.MatchLimitOne)", "item.SetMatchLimit(\"one\")"},
		{"lockstate/lockstate.go", "return flags != 0, 0", "return 0, flags != 0"},
		{"keychain/harness_mac_test.go", "Store:              store,", "Shop: store,"},
	} {
		planted := map[string]string{}
		for _, p := range list {
			for _, path := range p.paths() {
				if strings.HasSuffix(path, plant.file) {
					text, err := os.ReadFile(path)
					if err != nil || strings.Count(string(text), plant.old) != 1 {
						t.Fatalf("%s has no single %q: %v", path, plant.old, err)
					}
					planted[path] = strings.Replace(string(text), plant.old, plant.new, 1)
				}
			}
		}
		faults := typeFaults(t, list, planted)
		if len(faults) == 0 || !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, plant.file) }) {
			t.Errorf("%s: %q passes: %v", plant.file, plant.new, faults)
		}
	}
}
