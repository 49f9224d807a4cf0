package standin

import (
	"bufio"
	"strings"
)

// readLine follows readline.c with a buffer of maxLine: a line that fills it ends there, and what follows is the next
// line; one that the end of the input cuts short is dropped.
func readLine(in *bufio.Reader) (string, bool) {
	var line []byte
	for len(line) < maxLine-1 {
		c, err := in.ReadByte()
		if err != nil {
			return "", false
		}
		if c == '\n' {
			break
		}
		line = append(line, c)
	}
	text, _, _ := strings.Cut(string(line), "\x00") // a C string
	return text, true
}

// SplitLine follows split_line in security.c. Inside quotes of either kind, and outside, a backslash takes the next
// character as it is; a closing quote ends the argument; a quote inside an unquoted argument is an ordinary character.
func SplitLine(line string) []string {
	var (
		arguments []string
		now       strings.Builder
		within    bool // an argument
		quote     byte // 0 outside quotes
		escaped   bool
	)
	end := func() {
		arguments = append(arguments, now.String())
		now.Reset()
		within, quote = false, 0
	}
	for i := 0; i < len(line) && len(arguments) < maxArguments; i++ {
		c := line[i]
		switch {
		case escaped:
			now.WriteByte(c)
			escaped = false
		case !within && isSpace(c):
		case !within && (c == '"' || c == '\''):
			within, quote = true, c
		case c == '\\':
			within, escaped = true, true
		case within && quote != 0 && c == quote, within && quote == 0 && isSpace(c):
			end()
		default:
			within = true
			now.WriteByte(c)
		}
	}
	if within {
		end()
	}
	return arguments
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

type option struct {
	name     byte // '?' for one that is not in the list, ':' for one whose argument is missing
	argument string
}

// getopt follows BSD's getopt(3) on argv[1:] and returns the options and what follows them. A list that begins with a
// colon tells a missing argument from an unknown option, and complains of neither.
func getopt(argv []string, list string, complain func(string)) (options []option, rest []string) {
	silent := strings.HasPrefix(list, ":")
	list = strings.TrimPrefix(list, ":")
	for i := 1; i < len(argv); i++ {
		word := argv[i]
		if word == "--" {
			return options, argv[i+1:]
		}
		if len(word) < 2 || word[0] != '-' {
			return options, argv[i:]
		}
		for j := 1; j < len(word); j++ {
			at := strings.IndexByte(list, word[j])
			if at < 0 || word[j] == ':' {
				if !silent {
					complain("illegal option -- " + word[j:j+1])
				}
				options = append(options, option{'?', word[j : j+1]})
				continue
			}
			if at+1 == len(list) || list[at+1] != ':' {
				options = append(options, option{name: word[j]})
				continue
			}
			switch {
			case j+1 < len(word):
				options = append(options, option{word[j], word[j+1:]})
			case i+1 < len(argv):
				i++
				options = append(options, option{word[j], argv[i]})
			case silent:
				options = append(options, option{':', word[j : j+1]})
			default:
				complain("option requires an argument -- " + word[j:j+1])
				options = append(options, option{'?', word[j : j+1]})
			}
			break
		}
	}
	return options, nil
}
