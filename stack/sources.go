package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"

	"minibot/hint"
)

// What a compose file may be at most. Compose itself has hardly a limit, and whoever loads a file must not hang in it.
const (
	maxFile      = 1 << 20 // bytes of one file, env_file included
	maxFiles     = 100     // that include and extend one another
	maxDocuments = 100     // in one file
	maxNodes     = 20_000  // of one document, aliases written out
	maxKey       = 1000    // bytes of a name: Compose compares it with patterns
	maxDepth     = 100     // of one document, likewise
	maxResets    = 100     // !reset and !override: each is compared with every node
	maxWork      = 1 << 23 // of one document: bytes of a text times the ${ in it, summed up
)

var (
	errNotRegular = errors.New("is not a regular file")
	errTooLarge   = fmt.Errorf("is larger than %d KiB", maxFile>>10)
)

// source is one file that a project is made of.
type source struct {
	file      string
	documents []*yaml.Node // their roots, as far as the file is YAML
}

// sources are the compose file and all files that it includes and extends.
type sources struct {
	env      map[string]string
	list     []source
	envFiles []envFile // that serve the variables of included files
	seen     map[string]bool
	root     string // the compose file's folder, without symlinks
}

// envFile is an env_file, and where it is named.
type envFile struct {
	file string
	path []string
	raw  bool // nothing in it is interpolated
}

// readSources reads file and what it refers to, without Compose, and refuses what would keep Compose busy without end. What
// is merely wrong is left for Compose to say. Its errors are [*LoadError].
func readSources(file string, env map[string]string) (*sources, error) {
	s := &sources{env: env, seen: map[string]bool{}}
	if err := s.add(file, filepath.Dir(file)); err != nil {
		return nil, err
	}
	for _, f := range s.envFiles {
		if _, err := readBounded(f.file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, outOfBounds(f.file, 0, cause(err))
		}
	}
	return s, nil
}

// add reads one file; what it refers to is found from dir.
func (s *sources) add(file, dir string) error {
	if s.seen[file] {
		return nil
	}
	s.seen[file] = true
	if len(s.seen) > maxFiles {
		return outOfBounds(file, 0, fmt.Errorf("more than %d files include and extend one another", maxFiles))
	}
	text, err := readBounded(file)
	if err != nil {
		if len(s.list) > 0 && errors.Is(err, os.ErrNotExist) {
			return nil // Compose says from where it is referred to
		}
		return outOfBounds(file, 0, cause(err))
	}
	if err := s.inside(file); err != nil {
		return outOfBounds(file, 0, err)
	}
	source := source{file: file}
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document yaml.Node
		if decoder.Decode(&document) != nil {
			break // the end, or not YAML: Compose says where
		}
		if len(document.Content) == 0 {
			continue
		}
		if len(source.documents) == maxDocuments {
			return outOfBounds(file, document.Line, fmt.Errorf("more than %d documents in one file", maxDocuments))
		}
		if _, err := newMeter().weigh(document.Content[0], file); err != nil {
			return err
		}
		source.documents = append(source.documents, document.Content[0])
	}
	s.list = append(s.list, source)
	for _, root := range source.documents {
		if err := s.follow(root, dir); err != nil {
			return err
		}
	}
	return nil
}

// inside refuses a file that lies outside of the compose file's folder, where it is more than a part of the project: what
// Compose says of it would quote it.
func (s *sources) inside(file string) error {
	resolved, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	if s.root == "" {
		s.root = filepath.Dir(file)
		if s.root, err = filepath.EvalSymlinks(s.root); err != nil {
			return err
		}
		return nil // the compose file itself, which may be a symlink
	}
	if rest, err := filepath.Rel(s.root, resolved); err != nil || !filepath.IsLocal(rest) {
		return fmt.Errorf("lies outside of %s, the compose file's folder", s.root)
	}
	return nil
}

func outOfBounds(file string, line int, err error) error {
	return hint.Wrap(&LoadError{File: file, Line: line, Err: err}, "%s", mendHint)
}

// readBounded reads a regular file of at most maxFile bytes, and waits for nobody.
func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errTooLarge
	}
	return text, err
}

// follow adds the files that a document refers to.
func (s *sources) follow(root *yaml.Node, dir string) error {
	_, include := child(root, "include")
	if include = resolve(include); include != nil && include.Kind == yaml.SequenceNode {
		for i, entry := range include.Content {
			if err := s.include(resolve(entry), dir, fmt.Sprint(i)); err != nil {
				return err
			}
		}
	}
	for _, section := range []string{"services", "jobs"} {
		_, services := child(root, section)
		for _, service := range values(services) {
			_, extends := child(service, "extends")
			_, file := child(extends, "file")
			for _, path := range s.texts(file) {
				path = absolute(dir, path)
				if err := s.add(path, filepath.Dir(path)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// include adds what one entry of include refers to.
func (s *sources) include(entry *yaml.Node, dir, index string) error {
	paths := entry
	base := ""
	if entry.Kind == yaml.MappingNode {
		_, paths = child(entry, "path")
		_, directory := child(entry, "project_directory")
		for _, d := range s.texts(directory) {
			base = absolute(dir, d)
		}
		_, env := child(entry, "env_file")
		for _, file := range s.texts(env) {
			s.envFiles = append(s.envFiles, envFile{file: absolute(dir, file), path: []string{"include", index, "env_file"}})
		}
	}
	for i, path := range s.texts(paths) {
		path = absolute(dir, path)
		if i == 0 && base == "" {
			base = filepath.Dir(path)
		}
		if err := s.add(path, base); err != nil {
			return err
		}
	}
	implied := filepath.Join(base, ".env") // Compose reads it where no env_file is named
	if _, err := os.Stat(implied); base != "" && err == nil {
		s.envFiles = append(s.envFiles, envFile{file: implied, path: []string{"include", index}})
	}
	return nil
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// texts are the text of a scalar, or of each scalar of a list, with variables replaced.
func (s *sources) texts(node *yaml.Node) []string {
	node = resolve(node)
	if node == nil {
		return nil
	}
	list := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		list = node.Content
	}
	var texts []string
	for _, n := range list {
		if n = resolve(n); n == nil || n.Kind != yaml.ScalarNode || n.Value == "" {
			continue
		}
		if text, err := s.substitute(n.Value); err == nil && text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

func (s *sources) substitute(text string) (string, error) {
	return template.SubstituteWithOptions(text, func(name string) (string, bool) {
		value, set := s.env[name]
		return value, set
	}, template.WithoutLogging)
}

// values are the values of a mapping.
func values(node *yaml.Node) []*yaml.Node {
	node = resolve(node)
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	var list []*yaml.Node
	for i := 1; i < len(node.Content); i += 2 {
		list = append(list, node.Content[i])
	}
	return list
}

// weight is how much a node is once its aliases are written out.
type weight struct{ nodes, depth, resets, work int }

// meter weighs nodes, each once.
type meter struct {
	known map[*yaml.Node]weight
	open  []*yaml.Node // mappings and lists being weighed, outermost first
}

func newMeter() *meter { return &meter{known: map[*yaml.Node]weight{}} }

// weigh refuses a node that is too much.
func (m *meter) weigh(node *yaml.Node, file string) (weight, error) {
	w := weight{nodes: 1, depth: 1}
	if known, ok := m.known[node]; ok {
		return known, nil
	}
	for _, outer := range m.open {
		if outer == node {
			return w, outOfBounds(file, node.Line, errors.New("an alias contains itself"))
		}
	}
	parts := node.Content
	if node.Kind == yaml.AliasNode {
		parts = []*yaml.Node{node.Alias}
	}
	if node.Tag == "!reset" || node.Tag == "!override" {
		w.resets++
	}
	w.work = len(node.Value) * strings.Count(node.Value, "${")
	m.open = append(m.open, node)
	for i, part := range parts {
		if node.Kind == yaml.MappingNode && i%2 == 0 && len(part.Value) > maxKey {
			return w, outOfBounds(file, part.Line, fmt.Errorf("a name of more than %d characters", maxKey))
		}
		p, err := m.weigh(part, file)
		if err != nil {
			return w, err
		}
		w = weight{w.nodes + p.nodes, max(w.depth, p.depth+1), w.resets + p.resets, w.work + p.work}
		if w.nodes > maxNodes || w.depth > maxDepth || w.resets > maxResets || w.work > maxWork || len(m.open) > maxDepth {
			return w, outOfBounds(file, node.Line, m.tooMuch(w))
		}
	}
	m.open = m.open[:len(m.open)-1]
	m.known[node] = w
	return w, nil
}

func (m *meter) tooMuch(w weight) error {
	switch {
	case w.nodes > maxNodes:
		return fmt.Errorf("more than %d entries, once its aliases are written out", maxNodes)
	case w.resets > maxResets:
		return fmt.Errorf("more than %d !reset and !override", maxResets)
	case w.work > maxWork:
		return errors.New("too many variables in long texts")
	}
	return fmt.Errorf("nested deeper than %d levels", maxDepth)
}
