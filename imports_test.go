// Package minibot_test holds the rules between the packages.
package minibot_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath, Doc  string
	GoFiles, Imports []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// What a package may import of the project; a package that is not listed may import any but cmd/.
var allowed = map[string][]string{
	"minibot/hint":    {},
	"minibot/secrets": {"minibot/hint"},
	"minibot/config":  {"minibot/hint"},

	"minibot/secrets/agefile":       {"minibot/secrets", "minibot/hint"},
	"minibot/secrets/keychain":      {"minibot/secrets", "minibot/hint"},
	"minibot/secrets/security":      {"minibot/secrets", "minibot/hint"},
	"minibot/secrets/secretservice": {"minibot/secrets", "minibot/hint"},
	"minibot/secrets/migration":     {"minibot/secrets", "minibot/hint", "minibot/config"},
	"minibot/stack":                 {"minibot/secrets", "minibot/hint", "minibot/stack"},
	"minibot/supervisor":            {"minibot/secrets", "minibot/hint"},
	"minibot/rotation":              {"minibot/secrets", "minibot/hint", "minibot/database"},
	"minibot/database":              {"minibot/secrets", "minibot/hint"},
	"minibot/control":               {"minibot/secrets", "minibot/hint"},
	"minibot/console":               {"minibot/hint"},
	"minibot/process":               {"minibot/hint"},
	"minibot/doctor":                {"minibot/secrets", "minibot/hint", "minibot/config", "minibot/control", "minibot/process", "minibot/stack", "minibot/launchd"},
	"minibot/logfile":               {"minibot/hint", "minibot/config"},
	"minibot/audit":                 {"minibot/secrets", "minibot/hint", "minibot/config", "minibot/control", "minibot/stack", "minibot/audit"},
	"minibot/audit/search":          {"minibot/secrets"},
	"minibot/launchd/systemd":       {"minibot/launchd", "minibot/process", "minibot/hint"},
	"minibot/install":               {"minibot/config", "minibot/control", "minibot/deploy", "minibot/hint", "minibot/launchd", "minibot/secrets"},
	"minibot/enginestart":           {"minibot/hint", "minibot/stack"},
	"minibot/awake":                 {"minibot/hint"},
	"minibot/plan":                  {"minibot/secrets", "minibot/hint", "minibot/control", "minibot/rotation", "minibot/stack"},
	"minibot/lockdown":              {"minibot/secrets", "minibot/hint", "minibot/config", "minibot/control", "minibot/rotation", "minibot/stack"},
	"minibot/notify":                {"minibot/secrets", "minibot/hint", "minibot/config", "minibot/process"},
	"minibot/launchd":               {"minibot/hint", "minibot/process"},
	"minibot/launchd/launchdtest":   {"minibot/launchd/launchdtest"},
	"minibot/takeover":              {"minibot/secrets", "minibot/hint", "minibot/config", "minibot/stack", "minibot/launchd"},
	"minibot/rotation/databasetest": {"minibot/secrets", "minibot/database", "minibot/rotation"},
}

// broken returns the rules that p breaks.
func broken(p pkg) []string {
	var faults []string
	for _, path := range p.Imports {
		docker := strings.Contains(path, "docker/") || strings.Contains(path, "compose-spec/") || strings.Contains(path, "moby/")
		if docker && !strings.HasPrefix(p.ImportPath, "minibot/stack") {
			faults = append(faults, p.ImportPath+" imports "+path+": only stack may")
		}
		if strings.HasPrefix(path, "minibot/cmd/") {
			faults = append(faults, p.ImportPath+" imports "+path+": nothing imports cmd/")
		}
		if list, ok := allowed[p.ImportPath]; ok && strings.HasPrefix(path, "minibot/") &&
			!slices.ContainsFunc(list, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") }) {
			faults = append(faults, p.ImportPath+" imports "+path)
		}
		if p.ImportPath == "minibot/secrets" && strings.Contains(strings.Split(path, "/")[0], ".") {
			faults = append(faults, p.ImportPath+" imports "+path+": only the standard library")
		}
	}
	return faults
}

func TestImportRules(t *testing.T) {
	all := packages(t)
	if len(all) < 5 {
		t.Fatalf("only %d packages were listed", len(all))
	}
	for _, p := range all {
		for _, fault := range broken(p) {
			t.Error(fault)
		}
	}
}

func TestImportRulesCatchEachFault(t *testing.T) {
	for _, p := range []pkg{
		{ImportPath: "minibot/control", Imports: []string{"github.com/docker/docker/client"}},
		{ImportPath: "minibot/control", Imports: []string{"minibot/supervisor"}},
		{ImportPath: "minibot/rotation", Imports: []string{"minibot/supervisor"}},
		{ImportPath: "minibot/stack", Imports: []string{"minibot/cmd/minibotd"}},
		{ImportPath: "minibot/secrets", Imports: []string{"filippo.io/age"}},
	} {
		if len(broken(p)) == 0 {
			t.Errorf("%v passes", p)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
