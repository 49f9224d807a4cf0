package takeover

import (
	"regexp"
	"strings"

	"minibot/secrets"
)

// call is a line of a script in which the program security reads or writes an item of the Keychain.
type call struct {
	place    string // file:line
	assigned string // the variable that takes what it prints; "" for none
	// What the item is searched by, with anything where a variable stands; "" is any.
	service, account string
	ours             bool // the file is one of minibot's folder
}

// anything stands in a word of a script for what cannot be known without running it. No keychain's item has it in its name.
const anything = '\uE000'

var (
	securityCall = regexp.MustCompile(`\bsecurity\s+(?:-\w+\s+)*(find|add)-generic-password\b`)
	assignment   = regexp.MustCompile("([A-Za-z_][A-Za-z0-9_]*)=[\"']?(?:\\$\\(|`)[^)`]*$")
	variable     = regexp.MustCompile(`^\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]|\{[^}]*\}|\([^)]*\))`)
)

// The options of the two commands that have an argument.
const (
	findArguments = "acCDGjlrs"
	addArguments  = findArguments + "pwXT"
)

// maxLine is the part of a line that is looked at, in bytes: no person writes a longer one.
const maxLine = 8 << 10

func bounded(text string, size int) string { return text[:min(len(text), max(size, 0))] }

// calls finds where a script names items. Lines that end with a backslash go on in the next one.
func calls(file, text string, ours bool) []call {
	var found []call
	line, first := "", 0
	for n, physical := range strings.Split(text, "\n") {
		if line == "" {
			first = n + 1
		}
		before, goesOn := strings.CutSuffix(physical, `\`)
		line += bounded(before, maxLine-len(line))
		if goesOn {
			line += bounded(" ", maxLine-len(line))
			continue
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			for _, c := range callsOf(line) {
				c.place, c.ours = at(file, first), ours
				found = append(found, c)
			}
		}
		line = ""
	}
	return found
}

func callsOf(line string) []call {
	var found []call
	for _, m := range securityCall.FindAllStringSubmatchIndex(line, -1) {
		before := strings.TrimSuffix(line[:m[0]], "/usr/bin/")
		c := call{}
		if a := assignment.FindStringSubmatch(before); a != nil {
			c.assigned = a[1]
		}
		taking := findArguments
		if line[m[2]:m[3]] == "add" {
			taking = addArguments
		}
		ends := byte(0) // of alias x='security …'
		if before != "" && strings.ContainsAny(before[len(before)-1:], `'"`) {
			ends = before[len(before)-1]
		}
		words := shellWords(line[m[1]:], ends)
		for option, argument := range optionsOf(words, taking) {
			switch option {
			case 's':
				c.service = argument
			case 'a':
				c.account = argument
			}
		}
		found = append(found, c)
	}
	return found
}

// optionsOf reads words as getopt(3) does.
func optionsOf(words []string, taking string) map[byte]string {
	options := map[byte]string{}
	for len(words) > 0 && strings.HasPrefix(words[0], "-") && words[0] != "--" {
		word := words[0][1:]
		words = words[1:]
		at := strings.IndexAny(word, taking)
		if at < 0 {
			continue
		}
		argument := word[at+1:]
		if argument == "" && len(words) > 0 {
			argument, words = words[0], words[1:]
		}
		options[word[at]] = argument
	}
	return options
}

// shellWords are the words of a simple command, to its end, to a closing bracket or backquote, or to the quote that it stands in.
func shellWords(text string, ends byte) []string {
	var words []string
	var word strings.Builder
	within, quoted := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quoted && quoted != 0:
			quoted = 0
		case quoted == '\'':
			word.WriteByte(c)
		case c == '\\' && i+1 < len(text):
			i++
			within = true
			word.WriteByte(text[i])
		case c == '$' && variable.MatchString(text[i:]):
			i += len(variable.FindString(text[i:])) - 1
			within = true
			word.WriteRune(anything)
		case quoted == 0 && (c == ends && ends != 0 || strings.IndexByte(";|&)<>`\n", c) >= 0):
			if within {
				words = append(words, word.String())
			}
			return words
		case quoted == 0 && (c == '\'' || c == '"'):
			within, quoted = true, c
		case quoted == 0 && (c == ' ' || c == '\t'):
			if within {
				words = append(words, word.String())
			}
			within = false
			word.Reset()
		default:
			within = true
			word.WriteByte(c)
		}
	}
	if within {
		words = append(words, word.String())
	}
	return words
}

// names reports whether the call may be about an item.
func (c call) names(service, account string) bool {
	return like(c.service, service) && like(c.account, account)
}

// like compares a text with a word in which anything may stand.
func like(word, text string) bool {
	if word == "" || !strings.ContainsRune(word, anything) {
		return word == "" || word == text
	}
	parts := strings.Split(word, string(anything))
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile(`^(?s:` + strings.Join(parts, `.*`) + `)$`).MatchString(text)
}

// vague reports whether the call might be about any item at all: then a name that it shares with one says nothing.
func (c call) vague() bool {
	known := func(word string) bool {
		return word != "" && (!strings.ContainsRune(word, anything) || aboutMinibot(word))
	}
	return !known(c.service) && !known(c.account)
}

func aboutMinibot(text string) bool { return strings.Contains(strings.ToLower(text), "minibot") }

// concerns reports whether the call is about the stack: all of minibot's folder are, elsewhere what says so.
func (c call) concerns(required []secrets.Name) bool {
	return c.ours || aboutMinibot(c.service+" "+c.account) || isRequired(c.assigned, required)
}
