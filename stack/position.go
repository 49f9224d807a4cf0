package stack

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"minibot/hint"
)

// LoadError says what is wrong with a compose file, and where. Line counts from 1; it is 0, and Path empty, where
// that cannot be told. Its text is printable and short, whatever stands in the file.
type LoadError struct {
	File string
	Line int
	Path string // such as services.web.x-minibot.heal
	Err  error
}

func (e *LoadError) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	if e.Path != "" {
		where += ": " + abridged(e.Path, maxPath)
	}
	lines := strings.Split(e.Err.Error(), "\n")
	for i, line := range lines {
		lines[i] = printable(abridged(line, maxMessage))
	}
	if len(lines) > maxLines {
		lines = append(lines[:maxLines], "…")
	}
	return printable(where) + ": " + strings.Join(lines, "\n")
}

// What an error tells of a file, which may have anything for a name: bytes of a path and of a line, and lines.
const (
	maxPath    = 300
	maxMessage = 1200
	maxLines   = 100
)

// abridged cuts a text to some most bytes.
func abridged(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func (e *LoadError) Unwrap() error { return e.Err }

// locate makes a LoadError of err, reading the file once more to find the line.
func locate(file string, err error) error {
	root := parseNodes(file)
	var f *fault
	if errors.As(err, &f) {
		located := &LoadError{File: file, Line: lineOf(root, f.path), Path: strings.Join(f.path, "."), Err: f.err}
		return hint.Wrap(located, "%s", cmp.Or(f.hint, mendHint))
	}
	line, path := guess(root, err.Error())
	located := &LoadError{File: file, Line: line, Path: path, Err: tidy(file, err)}
	switch {
	case undefinedSecret.MatchString(err.Error()):
		return hint.Wrap(located, "declare it under `secrets:` as NAME: { environment: NAME }")
	case errors.Is(err, errUnset):
		return hint.Wrap(located, "set it under [env] in config.toml, give it a default as in ${NAME:-default}, or write $$ where a plain $ is meant")
	}
	return hint.Wrap(located, "%s", mendHint)
}

const mendHint = "mend the file; `minibotd reload` has a running daemon read it again"

// parseNodes returns the root of the file's first document, or nil when it is not YAML, or too much of it.
func parseNodes(file string) *yaml.Node {
	data, err := readBounded(file)
	if err != nil {
		return nil
	}
	var document yaml.Node
	if yaml.Unmarshal(data, &document) != nil || len(document.Content) == 0 {
		return nil
	}
	if _, err := newMeter().weigh(document.Content[0], file); err != nil {
		return nil
	}
	return document.Content[0]
}

// lineOf is the line of the deepest node of path that exists.
func lineOf(root *yaml.Node, path []string) int {
	line := 0
	node := root
	for _, step := range path {
		key, value := child(node, step)
		if key == nil {
			key, value = descendant(node, step)
		}
		if key == nil {
			break
		}
		line, node = key.Line, value
	}
	return line
}

// child finds a key of a mapping (through aliases and merges) or an index of a list.
func child(node *yaml.Node, step string) (key, value *yaml.Node) {
	node = resolve(node)
	if node == nil {
		return nil, nil
	}
	if node.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i]
		}
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == step {
			return node.Content[i], node.Content[i+1]
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value != "<<" {
			continue
		}
		merged := resolve(node.Content[i+1])
		sources := []*yaml.Node{merged}
		if merged != nil && merged.Kind == yaml.SequenceNode {
			sources = merged.Content
		}
		for _, source := range sources {
			if key, value := child(source, step); key != nil {
				return key, value
			}
		}
	}
	return nil, nil
}

// descendant finds a scalar with this text anywhere below node.
func descendant(node *yaml.Node, text string) (key, value *yaml.Node) {
	node = resolve(node)
	if node == nil {
		return nil, nil
	}
	for i, c := range node.Content {
		if c.Kind == yaml.ScalarNode && c.Value == text {
			if node.Kind == yaml.MappingNode && i%2 == 0 {
				return c, node.Content[i+1]
			}
			return c, c
		}
		if key, value := descendant(c, text); key != nil {
			return key, value
		}
	}
	return nil, nil
}

func resolve(node *yaml.Node) *yaml.Node {
	for node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

var (
	yamlLine        = regexp.MustCompile(`yaml.*?(?:line |at (?:L\d+\.C\d+-)?L)(\d+)`)
	dottedPath      = regexp.MustCompile(`\b(?:services|secrets|networks|volumes|configs)\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*`)
	serviceMention  = regexp.MustCompile(`service "([^"]+)"`)
	quotedWord      = regexp.MustCompile(`["']([^"']+)["']`)
	undefinedWord   = regexp.MustCompile(`undefined \w+ "?([A-Za-z0-9_.-]+)`)
	undefinedSecret = regexp.MustCompile(`refers to undefined secret`)
)

// guess finds the place that one of Compose's own messages speaks of.
func guess(root *yaml.Node, message string) (line int, path string) {
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, err := strconv.Atoi(m[1])
		if err == nil {
			return line, ""
		}
	}
	var steps []string
	if m := dottedPath.FindString(message); m != "" {
		steps = strings.Split(m, ".")
	} else if m := serviceMention.FindStringSubmatch(message); m != nil {
		steps = []string{"services", m[1]}
	} else {
		return 0, ""
	}
	line, path = lineOf(root, steps), strings.Join(steps, ".")
	node := root
	for _, step := range steps {
		_, node = child(node, step)
	}
	words := append(undefinedWord.FindAllStringSubmatch(message, -1), quotedWord.FindAllStringSubmatch(message, -1)...)
	for _, word := range words {
		if slices.Contains(steps, word[1]) {
			continue
		}
		if key, _ := descendant(node, word[1]); key != nil {
			return key.Line, path
		}
	}
	return line, path
}

// tidy shortens Compose's message: the file is named already.
func tidy(file string, err error) error {
	text := strings.ReplaceAll(err.Error(), "validating "+file+": ", "")
	text = strings.TrimSuffix(text, ": invalid compose project")
	if text = strings.Join(strings.Fields(text), " "); text == err.Error() {
		return err
	}
	return fmt.Errorf("%s", text)
}
