package stack

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// envFiles are the files that the services of a model name as env_file.
func (l *linter) envFiles(model map[string]any) []envFile {
	var list []envFile
	for _, section := range []string{"services", "jobs"} {
		services, _ := model[section].(map[string]any)
		for name, value := range services {
			service, _ := value.(map[string]any)
			files, _ := service["env_file"].([]any)
			for _, f := range files {
				entry, _ := f.(map[string]any)
				file, _ := entry["path"].(string)
				if file != "" && !strings.Contains(file, "$") {
					list = append(list, envFile{file: file, path: []string{section, name, "env_file"}, raw: entry["format"] == "raw"})
				}
			}
		}
	}
	return list
}

var envLinePattern = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:([=:])\s*(.*?)\s*)?$`)

// searchEnvFiles adds what the files say of secrets: a name alone, a name with a value, a value that mentions one.
func (l *linter) searchEnvFiles(files []envFile) {
	for _, f := range files {
		text, err := readBounded(f.file)
		if err != nil { // that is the load's to report
			continue
		}
		shown := l.relative(f.file)
		for i, line := range strings.Split(string(text), "\n") {
			m := envLinePattern.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			at := fmt.Sprintf("%s:%d", shown, i+1)
			if name, ok := l.known(m[1]); ok && strings.Trim(m[3], `"'`) != "" {
				l.add(mention{Finding: Finding{Secret: name, steps: f.path}, at: at + " sets " + m[1]})
			} else if ok && m[2] == "" {
				l.add(mention{Finding: Finding{Secret: name, steps: f.path}, at: at + " passes " + m[1] + " on"})
			}
			if f.raw || strings.HasPrefix(m[3], "'") {
				continue
			}
			for _, name := range l.mentioned(strings.ReplaceAll(m[3], `\$`, "")) {
				l.add(mention{Finding: Finding{Secret: name, steps: f.path}, at: at + " puts $" + string(name) + " into " + m[1]})
			}
		}
		if !f.raw {
			l.fillEnvFile(f, text, shown)
		}
	}
}

// fillEnvFile adds what Compose's own reading of the file makes of placeholders, as in a value of several lines.
func (l *linter) fillEnvFile(f envFile, text []byte, shown string) {
	variables, err := dotenv.ParseWithLookup(bytes.NewReader(text), func(variable string) (string, bool) {
		if name, ok := l.known(variable); ok {
			for p, held := range l.placeholders {
				if held == name {
					return p, true
				}
			}
		}
		return "", false
	})
	if err != nil {
		return
	}
	for variable, value := range variables {
		for _, name := range l.held(value) {
			if !l.says(f, string(name), variable) {
				l.add(mention{Finding: Finding{Secret: name, steps: f.path}, at: shown + " puts $" + string(name) + " into " + variable})
			}
		}
	}
}

// says reports whether a line of the file was found to give this variable its value.
func (l *linter) says(f envFile, secret, variable string) bool {
	for _, m := range l.found {
		words := strings.Fields(m.at)
		if string(m.Secret) == secret && isPrefix(f.path, m.steps) && len(words) > 0 && (words[len(words)-1] == variable || words[len(words)-1] == "on") {
			return true
		}
	}
	return false
}

func (l *linter) relative(file string) string {
	if short, err := filepath.Rel(filepath.Dir(l.file), file); err == nil && !strings.HasPrefix(short, "..") {
		return short
	}
	return file
}
