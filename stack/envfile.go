package stack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"minibot/hint"
	"minibot/secrets"
)

// ErrEnvFile says that a text is no .env file that can be taken as it is meant.
var ErrEnvFile = errors.New("not a usable .env file")

// EnvVariable is one variable of a .env file.
type EnvVariable struct {
	Name string
	// Value is zero for a variable that is set to nothing, and for one that Fault is about.
	Value secrets.Value
	// Fault says why what stands there can be no secret; it does not quote it.
	Fault error
}

// maxEnvPasses bounds how deep variables of a .env file may refer to one another.
const maxEnvPasses = 10

// ParseEnvFile reads a .env file by compose's rules of quoting, escaping and comments, and returns its variables by name.
// References to other variables of the file are resolved; a reference to any other variable is the Fault of those who
// make it, because compose would silently put nothing there. A variable without a value, which compose takes from the
// environment, is left out. The error wraps ErrEnvFile and quotes nothing of the text.
func ParseEnvFile(text []byte) ([]EnvVariable, error) {
	quietLibraries()
	const mark = "\x00" // what an undefined reference leaves; in no valid value
	var values map[string]string
	for pass := 0; ; pass++ {
		next, err := dotenv.ParseWithLookup(bytes.NewReader(text), func(name string) (string, bool) {
			if value, ok := values[name]; ok {
				return value, true
			}
			// The first pass finds out which variables there are.
			return mark, pass > 0
		})
		if err != nil {
			return nil, explainEnvFile(err)
		}
		if pass > 0 && maps.Equal(values, next) {
			break
		}
		if pass == maxEnvPasses {
			return nil, hint.Wrap(fmt.Errorf("%w: variables refer to one another without end", ErrEnvFile), "write the values in single quotes")
		}
		values = next
	}
	var list []EnvVariable
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] == mark && isBare(text, name) {
			continue
		}
		v := EnvVariable{Name: name}
		switch value := values[name]; {
		case value == "":
		case strings.Contains(value, mark) && !bytes.Contains(text, []byte(mark)):
			v.Fault = fmt.Errorf("%w: it refers to a variable that the file does not set; write it in single quotes if the $ is part of it", ErrEnvFile)
		default:
			v.Value, v.Fault = secrets.NewValue([]byte(value))
		}
		list = append(list, v)
	}
	return list, nil
}

// isBare reports whether name stands alone on a line, which asks for the environment's value.
func isBare(text []byte, name string) bool {
	return regexp.MustCompile(`(?m)^\s*(export\s+)?` + regexp.QuoteMeta(name) + `\s*$`).Match(text)
}

var envLine = regexp.MustCompile(`^line \d+: `)

// explainEnvFile keeps of the parser's error what does not quote the file.
func explainEnvFile(err error) error {
	what, advice := "a $ in it is no reference to a variable", "write the value in single quotes if the $ is part of it"
	text := err.Error()
	switch {
	case strings.Contains(text, "unterminated quoted value"):
		what, advice = "a quote that begins here or above is not closed", "close the quote, or write the quotes that are part of a value within quotes of the other kind"
	case strings.Contains(text, "unexpected character"), strings.Contains(text, "cannot contain a space"), strings.Contains(text, "zero length"):
		what, advice = "want NAME=VALUE", "a line that begins with # is a comment"
	}
	return hint.Wrap(fmt.Errorf("%s%w: %s", envLine.FindString(text), ErrEnvFile, what), "%s", advice)
}
