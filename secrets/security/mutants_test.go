package security_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are faults that are put into the store's source, each with the test that must see it. They are all compiled
// at once; a variable says which one is in force.
var mutants = []struct{ name, file, sound, broken, seenBy string }{
	{"takes text for hex, as -w prints it", "parse.go",
		"			value, _ := decodeBuffer(printed)\n",
		"			value, _ := decodeBuffer(printed)\n			if raw, err := hex.DecodeString(string(value)); BROKEN && err == nil && len(raw) > 0 {\n				value = raw\n			}\n",
		"TestHandTyped"},
	{"does not escape its own marker", "forms.go", "printable(value) && !marked", "printable(value) && (!marked || BROKEN)", "TestHandTyped"},
	{"takes the date of creation", "parse.go",
		"bytes.CutPrefix(line, []byte(`    \"mdat\"<timedate>=`))", "bytes.CutPrefix(line, []byte(map[bool]string{false: `    \"mdat\"<timedate>=`, true: `    \"cdat\"<timedate>=`}[BROKEN]))",
		"TestStore/date_of_the_last_change"},
	{"deletes, then adds", "store.go",
		"	err = s.write(ctx, name, slot, text)\n	if errors.Is", "	if BROKEN {\n		_ = s.deleteAll(ctx, slot.Service(s.service), []string{string(name)})\n	}\n	err = s.write(ctx, name, slot, text)\n	if errors.Is",
		"TestCrash/long_to_short"},
	{"removes the old parts first", "store.go",
		"	err = s.write(ctx, name, slot, text)\n	if errors.Is", "	if BROKEN && oldParts != nil {\n		_ = s.deleteAll(ctx, s.partsService(slot), oldParts.accounts(name))\n	}\n	err = s.write(ctx, name, slot, text)\n	if errors.Is",
		"TestCrash/long_to_short"},
	{"writes the parts last", "store.go",
		"	if in != nil {\n		if err", "	if BROKEN && in != nil {\n		_ = s.write(ctx, name, slot, bytes.Clone(text))\n	}\n	if in != nil {\n		if err",
		"TestCrash/short_to_long"},
	{"leaves parts behind", "items.go", "	if len(accounts) == 0 {", "	if len(accounts) == 0 || BROKEN {", "TestCrash/short_to_long"},
	{"does not read back", "store.go", "	case !bytes.Equal(read.value, text):", "	case !bytes.Equal(read.value, text) && !BROKEN:", "TestForgets"},
	{"does not check the parts", "forms.go", "len(whole) != p.length || hex", "!BROKEN && len(whole) != p.length || !BROKEN && hex", "TestDamage"},
	{"does not ask before it replaces", "store.go",
		"	there := err == nil\n", "	there := err == nil\n	if BROKEN {\n		err = nil\n	}\n", "TestAnotherProgramsItem"},
	{"takes 36 for not found", "fault.go", "	case statusNotFound:", "	case map[bool]int{true: statusNoInteraction, false: statusNotFound}[BROKEN]:\n		return secrets.ErrNotFound\n	case statusNotFound:", "TestStore/locked"},
	{"takes an empty value for a missing one", "store.go", "	if len(plain) == 0 {", "	if len(plain) == 0 && BROKEN {\n		return secrets.Value{}, secrets.ErrNotFound\n	}\n	if len(plain) == 0 {", "TestNoValue"},
	{"shows values in its arguments", "run.go", "	cmd.Dir, cmd.Env", "	if BROKEN {\n		cmd.Args = append(cmd.Args, \"-p\", string(input))\n	}\n	cmd.Dir, cmd.Env", "TestWhatTheProgramIsGiven"},
	{"shows values in the environment", "run.go", "	cmd.Stdin, cmd", "	if BROKEN {\n		cmd.Env = append(cmd.Env[:2:2], \"HOME=\"+string(input))\n	}\n	cmd.Stdin, cmd", "TestWhatTheProgramIsGiven"},
	{"lets any program read", "lines.go", `option{"-U", nil}`, `option{map[bool]string{false: "-U", true: "-U -A"}[BROKEN], nil}`, "TestWhatTheProgramIsGiven"},
	{"writes lines that are too long", "forms.go", "len(line) <= maxLine+1", "len(line) <= maxLine+2 || BROKEN && len(line) < 5000", "TestStore/round_trip"},
	{"kills the child alone", "run.go", "syscall.Kill(-cmd.Process.Pid", "syscall.Kill(map[bool]int{true: 1, false: -1}[BROKEN]*cmd.Process.Pid", "TestKilled"},
	{"does not kill the child", "run.go", "	cmd.WaitDelay = killDelay\n", "	if cmd.WaitDelay = killDelay; BROKEN {\n		cmd.Cancel = func() error { return nil }\n	}\n", "TestKilled"},
	{"passes on what was printed", "run.go", "		a.exit = exit.ExitCode()\n", "		if a.exit = exit.ExitCode(); BROKEN && len(a.stderr) > 0 {\n			return nil, fmt.Errorf(\"%w: %s\", secrets.ErrNotFound, a.stderr)\n		}\n", "TestHandTyped"},
	{"lists the first keychain's twin", "store.go", "|| again {", "|| again && !BROKEN {", "TestItemsOfOthers"},
}

func TestMutants(t *testing.T) {
	dir := t.TempDir()
	overlay, sources := map[string]string{}, map[string]string{}
	for _, m := range mutants {
		source, ok := sources[m.file]
		if !ok {
			content, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			source = string(content)
		}
		if strings.Count(source, m.sound) != 1 {
			t.Fatalf("%s: %s does not have once: %s", m.name, m.file, m.sound)
		}
		// What a mutant puts in ends with what it has found, so that another one finds it too.
		broken := strings.ReplaceAll(m.broken, "BROKEN", fmt.Sprintf("mutated(%q)", m.name))
		sources[m.file] = strings.Replace(source, m.sound, broken, 1)
	}
	sources["parse.go"] = strings.Replace(sources["parse.go"], "import (", "import (\n\t\"os\"", 1) +
		"\nfunc mutated(name string) bool { return os.Getenv(\"SECURITY_TEST_MUTANT\") == name }\n"
	for file, source := range sources {
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		overlay[path] = filepath.Join(dir, file)
		if err := os.WriteFile(overlay[path], []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "mutants")
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	passes := func(t *testing.T, mutant, tests string) bool {
		cmd := exec.CommandContext(t.Context(), binary, "-test.failfast", "-test.timeout=1m", "-test.run", "^"+strings.ReplaceAll(tests, "/", "$/^")+"$")
		cmd.Env = append(os.Environ(), "SECURITY_TEST_MUTANT="+mutant, programVariable+"="+built)
		out, err := cmd.CombinedOutput()
		if bytes.Contains(out, []byte("no tests to run")) || bytes.Contains(out, []byte("panic:")) {
			t.Errorf("%s: %s", tests, out)
		}
		return err == nil
	}
	if !passes(t, "", "TestForgets") {
		t.Error("the sound store fails")
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if passes(t, m.name, m.seenBy) {
				t.Errorf("%s passes", m.seenBy)
			}
		})
	}
}
