package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// secretSet is every value that a canary run knows of, in the forms that it is looked for in. It shares no code with what
// minibot redacts or audits by, and the searching is left to grep. Safe for concurrent use.
type secretSet struct {
	mu    sync.Mutex
	known map[string]bool // values and cores
	forms map[string]form // what each pattern is
}

// form is whose half a pattern is, and how it is written.
type form struct{ name, way string }

// add takes a value by its core, the part of it that no other text has by chance. Each half of that is looked for, so that a
// value that was cut short, or broken in two, or of which other characters were escaped, is found as well.
func (s *secretSet) add(name, value, core string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[value] {
		return
	}
	if s.known == nil {
		s.known, s.forms = map[string]bool{}, map[string]form{}
	}
	s.known[value] = true
	for _, half := range []string{core[:len(core)/2], core[len(core)/2:]} {
		for way, text := range writtenAs(half) {
			s.forms[text] = form{name, way}
		}
	}
}

// special returns a new value with before and after around something that occurs nowhere else, and knows it.
func (s *secretSet) special(name, before, after string) string {
	core := rand.Text()
	value := before + core + after
	s.add(name, value, core)
	return value
}

// join takes over what another set looks for.
func (s *secretSet) join(other *secretSet) {
	other.mu.Lock()
	defer other.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known, s.forms = map[string]bool{}, map[string]form{}
	}
	maps.Copy(s.known, other.known)
	maps.Copy(s.forms, other.forms)
}

// size is how many values there are.
func (s *secretSet) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}

// writtenAs are the ways in which a program may write letters and digits.
func writtenAs(text string) map[string]string {
	forms := map[string]string{"plain": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text)))}
	for form, verb := range map[string]string{"%xx": "%%%02x", "%XX": "%%%02X", `\x`: `\x%02x`, `\u`: `\u%04x`} {
		var b strings.Builder
		for i := range len(text) {
			fmt.Fprintf(&b, verb, text[i])
		}
		forms[form] = b.String()
	}
	for alphabet, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for before := range 3 { // bytes of something else in the group of three that the text begins in
			all := encoding.EncodeToString(append(make([]byte, before), text...))
			own := []int{0, 2, 3}[before]                                                // the characters before are of the other bytes too
			forms[fmt.Sprint(alphabet, "+", before)] = all[own : (before+len(text))*8/6] // so is the one behind
		}
	}
	return forms
}

// hit is a place at which something was found.
type hit struct{ path, what string }

func (h hit) String() string { return h.path + ": " + h.what }

// grep has grep(1) look for every form of every value in what args name, or in stdin. What goes away meanwhile is no error.
func (s *secretSet) grep(t *testing.T, stdin io.Reader, args ...string) []hit {
	t.Helper()
	s.mu.Lock()
	patterns, forms := strings.Join(slices.Collect(maps.Keys(s.forms)), "\n"), maps.Clone(s.forms)
	s.mu.Unlock()
	if patterns == "" {
		t.Fatal("nothing is looked for")
	}
	from, to, err := os.Pipe() // never argv: a process' command line is one of the places that are searched
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "grep", append([]string{"--text", "--only-matching", "--fixed-strings", "--with-filename", "--null", "--file=/dev/fd/3"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = stdin, &out, &errs, []*os.File{from}
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = from.Close() // grep has it
	if _, err := io.WriteString(to, patterns+"\n"); err != nil {
		t.Error(err)
	}
	if err := to.Close(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // the code says it
	for line := range strings.Lines(errs.String()) {
		if !strings.Contains(line, "No such file or directory") && !isNamespace(line) {
			t.Errorf("grep: %s", line)
		}
	}
	if code := cmd.ProcessState.ExitCode(); code > 1 && errs.Len() == 0 || code < 0 {
		t.Errorf("grep ended with %d", code)
	}
	ways := map[[2]string][]string{} // by path and name
	for line := range strings.Lines(out.String()) {
		path, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		f := forms[text]
		if key := [2]string{path, f.name}; !slices.Contains(ways[key], f.way) {
			ways[key] = append(ways[key], f.way)
		}
	}
	var hits []hit
	for key, how := range ways {
		slices.Sort(how)
		hits = append(hits, hit{key[0], key[1] + " (" + strings.Join(how, ", ") + ")"})
	}
	slices.SortFunc(hits, func(a, b hit) int { return strings.Compare(a.String(), b.String()) })
	return hits
}

// isNamespace reports whether grep complains of what stands for a namespace, and has no content.
func isNamespace(line string) bool {
	path, ok := strings.CutSuffix(strings.TrimSpace(line), ": Invalid argument")
	var fs unix.Statfs_t
	return ok && unix.Statfs(strings.TrimPrefix(strings.TrimPrefix(path, "grep: "), "grep: "), &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// searched is what a search went through.
type searched struct {
	files int
	bytes int64
	hits  []hit
}

// tree searches every file below root, and the names of all that is there.
func (s *secretSet) tree(t *testing.T, root string) searched {
	t.Helper()
	var found searched
	var names bytes.Buffer
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil // gone meanwhile
		case err != nil:
			return err
		case entry.Type().IsRegular():
			if info, err := entry.Info(); err == nil { // it may be gone
				found.files++
				found.bytes += info.Size()
			}
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			names.WriteString(target + "\n")
		}
		names.WriteString(path + "\n")
		return nil
	})
	if err != nil {
		t.Errorf("search below %s: %v", root, err)
	}
	found.hits = s.grep(t, nil, "--recursive", "--devices=skip", "--", root)
	found.hits = append(found.hits, s.grep(t, &names, "--label=a file's name below "+root, "--", "-")...)
	return found
}

// files searches some files.
func (s *secretSet) files(t *testing.T, paths []string) searched {
	t.Helper()
	found := searched{files: len(paths)}
	for some := range slices.Chunk(paths, 200) {
		found.hits = append(found.hits, s.grep(t, nil, append([]string{"--devices=skip", "--"}, some...)...)...)
	}
	return found
}
