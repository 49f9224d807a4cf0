package stack

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// inSources are the mentions in the files themselves, each with its line.
func (l *linter) inSources() []mention {
	var list []mention
	for _, s := range l.from.list {
		for _, root := range s.documents {
			walkNodes(root, nil, func(steps []string, node *yaml.Node) {
				if len(list) < maxFindings {
					list = append(list, l.inNode(s.file, steps, node)...)
				}
			})
		}
	}
	return list
}

// inNode are the mentions in one scalar.
func (l *linter) inNode(file string, steps []string, node *yaml.Node) []mention {
	n := len(steps)
	if n == 3 && steps[0] == "secrets" && steps[2] == "environment" {
		return nil
	}
	var list []mention
	note := func(f Finding, weak bool) {
		f.File, f.Line = file, node.Line
		list = append(list, mention{Finding: f, weak: weak})
	}
	if node.Kind != yaml.ScalarNode {
		return nil
	}
	for _, name := range l.mentioned(node.Value) {
		note(Finding{Secret: name, steps: l.named(steps, node.Value)}, false)
	}
	if variable, ok := passedOn(steps, node.Value, node.Tag == "!!null"); ok {
		if name, known := l.known(variable); known {
			note(Finding{Secret: name, steps: l.named(steps, variable)}, false)
		}
		return list
	}
	variable := node.Value // passed on, if this part of an extension becomes an environment
	if node.Tag == "!!null" {
		variable = steps[n-1]
	}
	if name, known := l.known(variable); known && strings.HasPrefix(steps[0], "x-") {
		note(Finding{Secret: name, steps: l.named(steps, variable)}, true)
	}
	return list
}

// walkNodes visits every key and value of a document once, where it stands: what aliases repeat is not repeated. Both a key
// and its value have the key's path.
func walkNodes(node *yaml.Node, steps []string, visit func(steps []string, node *yaml.Node)) {
	if len(steps) > 0 {
		visit(steps, node)
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			next := steps
			if key.Value != "<<" || len(steps) == 0 {
				next = append(slices.Clip(steps), key.Value)
				if strings.Contains(key.Value, "$") {
					visit(next, key)
				}
			}
			walkNodes(node.Content[i+1], next, visit)
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			walkNodes(item, append(slices.Clip(steps), strconv.Itoa(i)), visit)
		}
	}
}

// place gives every finding its line, and adds what Compose's models do not show any more, such as a value that another
// document overrides. One text that becomes part of several services is found for each of them.
func (l *linter) place(written []mention) []Finding {
	claimed := map[int]bool{} // of written, by a finding in a service or at the top
	for i := range l.found {
		m := &l.found[i]
		best, closest := -1, -1
		for j, w := range written {
			if w.Secret != m.Secret {
				continue
			}
			if c := closeness(w.steps, m.steps); c > closest {
				best, closest = j, c
			}
		}
		switch {
		case m.at != "" || best < 0:
			m.File, m.Line = l.file, 0
			for _, s := range l.from.list {
				for _, root := range s.documents {
					if line := lineOf(root, m.steps); m.Line == 0 && line > 0 {
						m.File, m.Line = s.file, line
					}
				}
			}
			continue
		}
		m.File, m.Line = written[best].File, written[best].Line
		for j, w := range written {
			if w.Secret == m.Secret && w.File == m.File && w.Line == m.Line && closest >= likely && !strings.HasPrefix(m.steps[0], "x-") {
				claimed[j] = true
			}
		}
	}
	return l.merge(written, claimed)
}

// merge leaves out what says the same twice.
func (l *linter) merge(written []mention, claimed map[int]bool) []Finding {
	var findings []Finding
	taken := func(f Finding) bool {
		for j, w := range written {
			if claimed[j] && w.Secret == f.Secret && w.File == f.File && w.Line == f.Line {
				return true
			}
		}
		return false
	}
	for _, m := range l.found {
		if !strings.HasPrefix(m.steps[0], "x-") || !taken(m.Finding) {
			m.describe(l.key(m.Secret), m.at)
			findings = append(findings, m.Finding)
		}
	}
	for _, m := range written {
		known := slices.ContainsFunc(findings, func(f Finding) bool { return f.Secret == m.Secret && f.File == m.File && f.Line == m.Line })
		if !m.weak && !known && !taken(m.Finding) {
			m.describe(l.key(m.Secret), "")
			findings = append(findings, m.Finding)
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		main := func(f Finding) int {
			return slices.IndexFunc(l.from.list, func(s source) bool { return s.file == f.File })
		}
		return cmp.Or(cmp.Compare(main(a), main(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Secret, b.Secret), cmp.Compare(a.Message, b.Message))
	})
	return findings
}

// likely is a closeness that is no accident: more than the same service.
const likely = 3

// closeness says how likely a place in a file is the one that became the place in the model.
func closeness(written, found []string) int {
	switch {
	case slices.Equal(written, found):
		return 1000
	case isPrefix(written, found) || isPrefix(found, written):
		return 900
	}
	w, f := within(written), within(found)
	if len(w) > 0 && len(f) > 0 && (isPrefix(w, f) || isPrefix(f, w)) {
		return 500
	}
	short := min(len(written), len(found))
	front, back := 0, 0
	for front < short && written[front] == found[front] {
		front++
	}
	for back < short && written[len(written)-1-back] == found[len(found)-1-back] {
		back++
	}
	return 10*back + front
}

// within is the part of a path below its service or extension.
func within(steps []string) []string {
	switch {
	case steps[0] == "services" || steps[0] == "jobs":
		return steps[min(2, len(steps)):]
	case strings.HasPrefix(steps[0], "x-"):
		return steps[1:]
	}
	return nil
}
