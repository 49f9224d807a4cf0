package takeover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
)

// shellNames are the files that shells read when they start, below the user's home.
var shellNames = []string{".zshenv", ".zprofile", ".zshrc", ".zlogin", ".bash_profile", ".bash_login", ".bashrc", ".bash_aliases", ".profile",
	".config/zsh/.zshenv", ".config/zsh/.zprofile", ".config/zsh/.zshrc"}

// What a line says that matters here. A line is looked at by itself: a shell's whole grammar, and zsh's above all, is nothing that
// could be read without running it.
var (
	assigned   = regexp.MustCompile(`(?:^|[;&|({]|\b(?:export|declare|typeset|readonly|local|then|do|else))\s*(?:-[A-Za-z]+\s+)*([A-Za-z_][A-Za-z0-9_]*)=`)
	furtherOne = regexp.MustCompile(`\s([A-Za-z_][A-Za-z0-9_]*)=`)
	exportOnly = regexp.MustCompile(`^\s*(?:export|declare\s+-x|typeset\s+-x)\s+([A-Za-z_][A-Za-z0-9_ ]*)$`)
	aliased    = regexp.MustCompile(`^\s*alias\s+(?:-[a-z]+\s+)*(?:--\s+)?['"]?(mb-secrets|minibotd)['"]?=`)
	function   = regexp.MustCompile(`^\s*(?:function\s+(mb-secrets|minibotd)\b|(mb-secrets|minibotd)\s*\(\s*\))`)
	sourced    = regexp.MustCompile(`(?:^|[;&|({]|\bthen|\bdo)\s*(?:source|\.)\s+(.*)`)
)

// secretLike are the endings of names that secrets have.
var secretLike = regexp.MustCompile(`(?i)(?:^|_)(?:PASSWORD|PASSWD|PASS|TOKEN|SECRET|APIKEY|API_KEY|ACCESS_KEY|PRIVATE_KEY)$`)

// isSecret reports whether a variable is a required secret, or looks like one that belongs to the stack.
func isSecret(name string, required []secrets.Name) bool {
	return isRequired(name, required) || secretLike.MatchString(name)
}

func isRequired(name string, required []secrets.Name) bool {
	return slices.Contains(required, secrets.Name(name))
}

// shellFiles finds the lines of shell files that go before minibot, or keep its secrets in the clear.
func shellFiles(s Surroundings) Findings {
	var found Findings
	for _, name := range shellNames {
		file := filepath.Join(s.UserHome, name)
		text, err := head(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			found = append(found, unread(file, "what it says to a shell cannot be read"))
			continue
		case len(text) == maxFile:
			found = append(found, unread(file, "only its first MiB was looked at"))
		}
		for n, line := range strings.Split(string(text), "\n") {
			found = append(found, lookAtLine(s, file, n+1, bounded(line, maxLine))...)
		}
	}
	return found
}

func at(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

func lookAtLine(s Surroundings, file string, n int, line string) (found Findings) {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return nil
	}
	template := Finding{Place: at(file, n), Line: n, Advice: "remove the line"}
	for _, shadow := range []*regexp.Regexp{aliased, function} {
		if m := shadow.FindStringSubmatch(line); m != nil {
			one := template
			one.Kind, one.What = KindShadow, strings.Join(m[1:], "")+" is another command in this shell"
			if shadow == function {
				one.Advice = "remove the function, to its closing brace"
			}
			found = append(found, one)
		}
	}
	if names := exported(line, s.Required); len(names) > 0 {
		one := template
		one.Kind, one.Secrets, one.What = KindExport, names, "a secret is in every program's environment"
		one.Advice = "store it with `mb-secrets set`, then remove the line and open a new shell"
		found = append(found, one)
	}
	if m := sourced.FindStringSubmatch(line); m != nil && s.mentionsHome(m[1]) {
		one := template
		one.Kind, one.What = KindSource, "the shell reads a file of minibot's folder in"
		found = append(found, one)
	}
	return found
}

// exported are the secrets that a line gives a value to.
func exported(line string, required []secrets.Name) []secrets.Name {
	var names []secrets.Name
	add := func(name string) {
		if isSecret(name, required) && !slices.Contains(names, secrets.Name(name)) {
			names = append(names, secrets.Name(name))
		}
	}
	code := withoutQuoted(line)
	first := assigned.FindAllStringSubmatch(code, -1)
	for _, m := range first {
		add(m[1])
	}
	if len(first) > 0 { // export A=1 B=2
		for _, m := range furtherOne.FindAllStringSubmatch(code, -1) {
			add(m[1])
		}
	}
	if m := exportOnly.FindStringSubmatch(code); m != nil {
		for _, name := range strings.Fields(m[1]) {
			add(name)
		}
	}
	return names
}

// withoutQuoted is a line without what stands in quotes, and without its comment.
func withoutQuoted(line string) string {
	var code strings.Builder
	var quoted rune
	previous := ' '
	for _, r := range line {
		switch {
		case quoted != 0:
			if r == quoted && (previous != '\\' || quoted == '\'') {
				quoted = 0
			}
		case (r == '\'' || r == '"') && previous != '\\':
			quoted = r
		case r == '#' && (previous == ' ' || previous == '\t'):
			return code.String()
		default:
			code.WriteRune(r)
		}
		previous = r
	}
	return code.String()
}

// envFiles finds files of variables in minibot's home, two folders deep, that hold secrets.
func envFiles(s Surroundings) Findings {
	var found Findings
	for _, pattern := range []string{"", "*", "*/*"} {
		for _, name := range []string{".env", ".env.*", "*.env", ".envrc"} {
			files, err := filepath.Glob(filepath.Join(globEscape(s.Home), pattern, name))
			if err != nil {
				continue // of a bad pattern only, and these are good
			}
			for _, file := range files {
				if !slices.ContainsFunc(found, func(f Finding) bool { return f.Place == file }) {
					found = append(found, lookAtEnvFile(s, file)...)
				}
			}
		}
	}
	return found
}

// globEscape takes the meaning from a path's characters.
func globEscape(path string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(path, `\$0`)
}

func lookAtEnvFile(s Surroundings, file string) Findings {
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := head(file)
	var variables []stack.EnvVariable
	if err == nil {
		variables, err = stack.ParseEnvFile(text)
	}
	if err != nil {
		return Findings{unread(file, "its variables cannot be read")}
	}
	var names []secrets.Name
	for _, v := range variables {
		if isSecret(v.Name, s.Required) {
			names = append(names, secrets.Name(v.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return Findings{{Kind: KindEnvFile, Place: file, Secrets: names, What: "secrets are in a file in the clear",
		Advice: "mb-secrets import " + hint.Word(file) + " takes them, and offers to overwrite and remove the file"}}
}
