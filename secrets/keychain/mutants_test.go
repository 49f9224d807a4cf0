//go:build linux && !secemu

package keychain_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mutant is a fault put into a source by replacing a text that it has exactly once. The tests on the emulation must fail
// with it.
type mutant struct{ name, file, old, new string }

var mutants = []mutant{
	{"delete, then add", "native.go", "change := native.NewItem()\n\tchange.SetData(data)\n\treturn coded(native.UpdateItem(item, change))",
		"if err := native.DeleteItem(item); err != nil {\n\t\treturn coded(err)\n\t}\n\treturn add(service, account, data)"},
	{"not found is swallowed", "status.go", "return secrets.ErrNotFound", "return nil"},
	{"an empty account is passed on", "native.go", `account == "" || strings`, "strings"},
	{"the date of creation", "native.go", "r.ModificationDate", "r.CreationDate"},
	{"a listing asks for values", "native.go", "item.SetMatchLimit(native.MatchLimitAll)", "item.SetMatchLimit(native.MatchLimitAll)\nitem.SetReturnData(true)"},
	{"what was written is not compared", "store.go", "!bytes.Equal(found.data, want)", "bytes.Equal(found.data, nil)"},
	{"a duplicate is not updated", "store.go", "if !errors.Is(err, duplicateItem) {", "if err != nil || !errors.Is(err, duplicateItem) {"},
	{"an empty item is as any", "store.go", "if len(found.data) == 0 {", "if false {"},
	{"every slot is current", "store.go", "place{slot.Service(s.service)", "place{secrets.Current.Service(s.service)"},
	{"locked is not found", "status.go", "hint.Wrap(secrets.ErrLocked", "hint.Wrap(secrets.ErrNotFound"},
	{"denied is locked", "status.go", "secrets.ErrDenied, code), format", "secrets.ErrLocked, code), format"},
	{"no deadline", "lane.go", "case <-ctx.Done():\n\t}", "case <-context.Background().Done():\n\t}"},
	{"two writes at a time", "lane.go", "valueLane     = make(lane, 1)", "valueLane     = make(lane, 2)"},
	{"a result is not released", upstreamModule + "/keychain.go", "defer Release(resultsRef)", ""},
}

// moreMutants cost two seconds each, most of it the linker's: they are tried where all is, in `make soak`.
var moreMutants = []mutant{
	{"not found is swallowed in a search", "native.go", "return nil, itemNotFound", "return []entry{{}}, nil"},
	{"an empty service is passed on", "native.go", `service == "" || strings`, "strings"},
	{"a local date", "native.go", ".UTC()", ""},
	{"a listing reads values", "store.go", "seen[name] = true\n", "seen[name] = true\n_, _ = lookUp(slot.Service(s.service), item.account)\n"},
	{"a listing shows accounts that are no names", "store.go", "name, err := secrets.ParseName(item.account); err == nil && !seen[name]", "name := secrets.Name(item.account); !seen[name]"},
	{"a listing shows an item of two keychains twice", "store.go", "&& !seen[name]", ""},
	{"a listing in no keychain", "store.go", "if _, err := s.present(); err != nil {", "if _, err := s.present(); false {"},
	{"what was written is not read back", "store.go", "return s.readBack(at, data)", "return nil"},
	{"an item that is gone after a write is not found", "store.go", "case errors.Is(err, itemNotFound):\n", "case false:\n"},
	{"an item that is not searched is not found", "store.go", "return duplicateItem // ", "return itemNotFound // "},
	{"the service is not the one of the options", "keychain.go", "service: options.Service", "service: defaultService"},
	{"locked is denied", "status.go", "hint.Wrap(secrets.ErrLocked", "hint.Wrap(secrets.ErrDenied"},
	{"a locked keychain is asked for values", "status.go", "if err == nil && !isUnlocked {", "if err == nil && !isUnlocked && false {"},
	{"no dialog is always denied", "status.go", "if err := s.usable(); err != nil { // the", "if err := s.usable(); false { // the"},
	{"no keychain is denied", "status.go", "secrets.ErrUnavailable, code)", "secrets.ErrDenied, code)"},
	{"no deadline of its own", "lane.go", "ctx.Deadline(); !ok {", "ctx.Deadline(); !ok && false {"},
	{"who leaves was denied", "lane.go", "if !errors.Is(err, context.DeadlineExceeded) {", "if false {"},
	{"who stops in the middle is not late", "lane.go", "if ctx.Err() != nil && errors.Is(a.err, ctx.Err()) {", "if false {"},
	{"the next call does not wait for one that is late", "lane.go", "answered := make(chan answer, 1)\n\tgo func() {\n\t\tdefer func() { <-l }()",
		"answered := make(chan answer, 1)\n\tdefer func() { <-l }()\n\tgo func() {"},
	{"a listing waits for a dialog", "lane.go", "attributeLane = make(lane, 1)", "attributeLane = valueLane"},
	{"the second half of a late write", "store.go", "data []byte) error {\n\tif err := ctx.Err(); err != nil {", "data []byte) error {\n\tif err := ctx.Err(); false {"},
	{"a query is released twice", upstreamModule + "/keychain.go", "errCode := C.SecItemAdd(cfDict, nil)", "errCode := C.SecItemAdd(cfDict, nil)\n\tRelease(C.CFTypeRef(cfDict))"},
	{"a value is not released", upstreamModule + "/corefoundation.go", "valueRef = C.CFTypeRef(bytesRef)\n\t\t\tdefer Release(valueRef)", "valueRef = C.CFTypeRef(bytesRef)"},
}

// mutantsAtOnce bounds how many compilers run.
const mutantsAtOnce = 2

func (e emulated) testMutants(t *testing.T) {
	turn := make(chan struct{}, mutantsAtOnce)
	all := mutants
	if os.Getenv("MINIBOT_ALL_MUTANTS") != "" {
		all = slices.Concat(mutants, moreMutants)
	}
	for i, m := range all {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			turn <- struct{}{}
			defer func() { <-turn }()
			path := filepath.Join(e.dir, m.file)
			if name, ok := strings.CutPrefix(m.file, upstreamModule+"/"); ok {
				path = filepath.Join(e.upstream, name)
			}
			text := read(t, path)
			if n := strings.Count(text, m.old); n != 1 {
				t.Fatalf("%s has %q %d times, want once", m.file, m.old, n)
			}
			changed := filepath.Join(t.TempDir(), fmt.Sprintf("mutant%d.go", i))
			write(t, changed, strings.Replace(text, m.old, m.new, 1))
			out, err := e.test(t, "-vet=off", "-failfast", "-ldflags=-s -w", "-overlay="+overlay(t, path, changed))
			switch {
			case err == nil:
				t.Error("no test fails")
			case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
				t.Errorf("it does not compile:\n%s", out)
			case !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "secemu: "):
				t.Errorf("no test says what is wrong:\n%s", out)
			default:
				t.Log(firstFault(out))
			}
		})
	}
}

func overlay(t *testing.T, path, by string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: by}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	write(t, file, string(text))
	return file
}

// firstFault is the line that says what a mutant broke.
func firstFault(out string) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); faultLine.MatchString(line) {
			return line
		}
	}
	return out
}

var faultLine = regexp.MustCompile(`^(\w+\.go:\d+|secemu|panic|fatal error): `)
