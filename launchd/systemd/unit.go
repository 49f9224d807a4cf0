package systemd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	_ "embed" // minibot.service

	"minibot/hint"
)

// Unit is the name of minibot's user unit, and of its file.
const Unit = "minibot.service"

//go:embed minibot.service
var text string

var unit = template.Must(template.New(Unit).Option("missingkey=error").Parse(text))

// Settings are what differs between installations. Both are absolute paths.
type Settings struct {
	Program string // minibotd
	Home    string // MINIBOT_HOME
}

// Render returns the unit. The same settings give the same bytes. Paths may hold spaces, umlauts, "$" and "%"; what systemd
// takes nowhere (control characters) or not in the name of a program (quotes, backslashes) is an error.
func Render(s Settings) ([]byte, error) {
	err := errors.Join(valid("the program", s.Program), valid("MINIBOT_HOME", s.Home))
	if strings.ContainsAny(s.Program, `"'\`) {
		err = errors.Join(err, hint.Wrap(errors.New("the program: systemd runs none whose path has quotes or backslashes"), "put it into another folder"))
	}
	if err != nil {
		return nil, fmt.Errorf("make the unit: %w", err)
	}
	var out strings.Builder
	err = unit.Execute(&out, struct{ Program, Environment string }{
		quote(filepath.Clean(s.Program)), quote(homeKey + filepath.Clean(s.Home)),
	})
	if err != nil {
		return nil, fmt.Errorf("make the unit: %w", err)
	}
	return []byte(out.String()), nil
}

func valid(what, path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s: it is not an absolute path", what)
	case !utf8.ValidString(path), strings.ContainsFunc(path, unicode.IsControl):
		return hint.Wrap(fmt.Errorf("%s: its name has characters that a unit cannot hold", what), "rename it")
	}
	return nil
}

const homeKey = "MINIBOT_HOME="

var (
	escaped   = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`)
	unescaped = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `%%`, `%`)
)

// quote writes one word of a unit file. "$" is left alone: systemd replaces it neither in the path of a program nor in Environment=.
func quote(word string) string { return `"` + escaped.Replace(word) + `"` }

// Home returns the MINIBOT_HOME that a unit made by Render sets, or "" for any other text.
func Home(content []byte) string {
	for line := range strings.Lines(string(content)) {
		word, ok := strings.CutPrefix(strings.TrimSpace(line), `Environment="`+homeKey)
		if word, closed := strings.CutSuffix(word, `"`); ok && closed {
			return unescaped.Replace(word)
		}
	}
	return ""
}
