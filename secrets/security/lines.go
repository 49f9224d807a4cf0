package security

// maxLine is how many bytes a line may have before its newline: readline.c and MAX_LINE_LEN in security.c of Apple's
// SecurityTool take the rest of a longer one for the next command.
const maxLine = 4095

// Commands of the program, as they are typed and as it repeats them when they fail.
const (
	commandList   = "list-keychains"
	commandDump   = "dump-keychain"
	commandAdd    = "add-generic-password"
	commandFind   = "find-generic-password"
	commandDelete = "delete-generic-password"
)

// appendQuoted makes s one argument of a line: split_line in security.c ends a quoted argument at the next quote, and takes
// what follows a backslash as it is. s has no newline and no NUL.
func appendQuoted(line []byte, s []byte) []byte {
	line = append(line, '"')
	for _, c := range s {
		if c == '\\' || c == '"' {
			line = append(line, '\\')
		}
		line = append(line, c)
	}
	return append(line, '"')
}

// option is a flag of a command with its argument; nil: it takes none.
type option struct {
	flag     string
	argument []byte
}

// line is one line of the program's input, with its newline. It is built in one piece of memory: clearing it leaves nothing.
func (s *Store) line(command string, options ...option) []byte {
	size := len(command) + len(s.keychain) + len("\n")
	for _, o := range options {
		size += len(` -x ""`) + 2*len(o.argument)
	}
	line := append(make([]byte, 0, size), command...)
	for _, o := range options {
		line = append(append(line, ' '), o.flag...)
		if o.argument != nil {
			line = appendQuoted(append(line, ' '), o.argument)
		}
	}
	return append(append(line, s.keychain...), '\n')
}

// addLine updates the item, or adds it: -U does both, and never removes it in between.
func (s *Store) addLine(service, account string, text []byte) []byte {
	return s.line(commandAdd, option{"-U", nil}, option{"-s", []byte(service)}, option{"-a", []byte(account)}, option{"-w", text})
}

// readLine prints an item with its value; -w alone could not tell a value from its hex.
func (s *Store) readLine(service, account string) []byte {
	return s.line(commandFind, option{"-s", []byte(service)}, option{"-a", []byte(account)}, option{"-g", nil})
}

// seeLine prints an item without its value, which opens no dialog. "" is any account.
func (s *Store) seeLine(service, account string) []byte {
	if account == "" {
		return s.line(commandFind, option{"-s", []byte(service)})
	}
	return s.line(commandFind, option{"-s", []byte(service)}, option{"-a", []byte(account)})
}

func (s *Store) deleteLine(service, account string) []byte {
	return s.line(commandDelete, option{"-s", []byte(service)}, option{"-a", []byte(account)})
}
