// Package standin is what a program does that stands in for macOS's /usr/bin/security in tests: its interactive mode,
// and its commands on keychains and on generic passwords, with the output and the exit statuses of the real one.
//
// It was written from the rules in Apple's published sources (Security, SecurityTool/macOS: security.c, readline.c,
// keychain_add.c, keychain_find.c, keychain_utilities.c; OSX/libsecurity_keychain/lib/Item.cpp) and shares nothing with the store that
// is tested against it. The keychains are a JSON file beside the program, under a lock, replaced by rename: any number of
// processes may use it at once. Every start of the program and every command is recorded beside it.
//
// What differs from the real one: a dialog is answered by what the file says, or hangs; usage texts are short; passwords are
// never prompted for; other commands and attributes do not exist. It guards nothing: what it keeps is made up.
package standin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The program's answers that tests ask for by name: OSStatus values, of which a process exits with the low byte.
const (
	StatusCancelled     = -128   // exits 128
	StatusDenied        = -25293 // exits 51
	StatusNoKeychain    = -25294 // exits 50
	StatusDupKeychain   = -25296 // exits 48
	StatusDuplicate     = -25299 // exits 45
	StatusNotFound      = -25300 // exits 44
	StatusNoDefault     = -25307 // exits 37
	StatusNoInteraction = -25308 // exits 36
	statusUsage         = 2
	statusFailed        = 1
	statusAsking        = 1 << 20 // not one of Apple's: a dialog is open
)

// Of SecurityTool/macOS/security.c.
const (
	maxLine      = 4096
	maxArguments = 32
)

type program struct {
	files    Files
	stdin    *bufio.Reader
	stdout   *bufio.Writer // as C's library does it for a pipe: written at the end
	stderr   io.Writer
	quiet    bool
	verbose  bool
	messages string
	mayDie   bool
	parent   int
	alive    *os.File // locked as long as the process lives
}

// Main runs the program and returns its exit status. The file that it keeps its keychains in is named after the program.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	self, err := os.Executable()
	if err != nil {
		return report(stderr, err)
	}
	p := &program{files: FilesOf(self), stdin: bufio.NewReader(stdin), stdout: bufio.NewWriter(stdout), stderr: stderr, parent: os.Getppid()}
	alive, err := p.files.lockAlive(unix.LOCK_SH)
	if err != nil {
		return report(stderr, err)
	}
	p.alive = alive // closed by the kernel
	if err := p.files.record(Event{PID: os.Getpid(), Argv: args, Env: os.Environ()}); err != nil {
		return report(stderr, err)
	}
	state, err := p.files.Load()
	if err != nil {
		return report(stderr, err)
	}
	p.messages, p.mayDie = state.Messages, state.DieAfter != nil
	if status, ends := p.misbehave(state.Fault); ends {
		return status
	}
	status := p.main(args)
	if err := p.stdout.Flush(); err != nil {
		return report(stderr, err)
	}
	return status & 0xff
}

// report is for what cannot happen to the real program.
func report(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintln(stderr, "stand-in for security:", err) // nowhere left to say it
	return 99
}

func (p *program) main(args []string) int {
	options, rest := getopt(args, "hilp:qvR", p.complain)
	interactive := false
	for _, o := range options {
		switch o.name {
		case 'i', 'p':
			interactive = true
		case 'q':
			p.quiet = true
		case 'v':
			p.verbose = true
		case 'h', 'l', 'R':
		default:
			return p.usage()
		}
	}
	switch {
	case len(rest) > 0:
		return p.execute(rest)
	case interactive:
		return p.interact()
	}
	return p.usage()
}

func (p *program) usage() int {
	p.printf(p.stdout, "Usage: security [-h] [-i] [-l] [-p prompt] [-q] [-v] [command] [opt ...]\n")
	return statusUsage
}

// interact runs the lines of stdin and returns the status of the last one.
func (p *program) interact() int {
	result := 0
	for {
		line, ok := readLine(p.stdin)
		if !ok {
			return result
		}
		arguments := SplitLine(line)
		result = p.execute(arguments)
		if result == -1 {
			return 0
		}
		if result != 0 && !p.quiet {
			p.printf(p.stderr, "%s: returned %d\n", arguments[0], result)
		}
	}
}

// commands lists what exists in Apple's order: the first one of which the typed word is a beginning is meant.
var commands = []struct {
	name string
	run  func(*program, []string) int
}{
	{"list-keychains", (*program).listKeychains},
	{"default-keychain", (*program).defaultKeychain},
	{"create-keychain", (*program).createKeychain},
	{"lock-keychain", (*program).lockKeychain},
	{"unlock-keychain", (*program).unlockKeychain},
	{"dump-keychain", (*program).dump},
	{"add-generic-password", (*program).add},
	{"find-generic-password", (*program).find},
	{"delete-generic-password", (*program).delete},
}

func (p *program) execute(arguments []string) int {
	if len(arguments) == 0 {
		return 0
	}
	for _, c := range commands {
		if len(arguments[0]) > len(c.name) || c.name[:len(arguments[0])] != arguments[0] {
			continue
		}
		if err := p.files.record(Event{PID: os.Getpid(), Command: arguments}); err != nil {
			return report(p.stderr, err)
		}
		p.maybeDie()
		if p.verbose {
			p.printf(p.stderr, "%s", c.name)
			for _, a := range arguments[1:] {
				p.printf(p.stderr, " \"%s\"", a)
			}
			p.printf(p.stderr, "\n")
		}
		result := c.run(p, arguments)
		if result == statusUsage {
			p.printf(p.stderr, "Usage: %s ...\n", c.name)
		}
		return result
	}
	p.printf(p.stderr, "security: unknown command \"%s\"\n", arguments[0])
	return statusFailed
}

func (p *program) printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...) // as the real one does it
}

func (p *program) complain(text string) { p.printf(p.stderr, "security: %s\n", text) }

// failed prints what the program says about a status, in the language that the file asks for.
func (p *program) failed(what string, status int) int {
	text := p.messages
	if text == "" {
		text = map[int]string{
			StatusCancelled:     "User canceled the operation.",
			StatusDenied:        "The user name or passphrase you entered is not correct.",
			StatusNoKeychain:    "The specified keychain could not be found.",
			StatusDupKeychain:   "A keychain with the same name already exists.",
			StatusDuplicate:     "The specified item already exists in the keychain.",
			StatusNotFound:      "The specified item could not be found in the keychain.",
			StatusNoDefault:     "A default keychain could not be found.",
			StatusNoInteraction: "User interaction is not allowed.",
		}[status]
	}
	p.printf(p.stderr, "security: %s: %s\n", what, text)
	return status
}

// transact runs step on the keychains, again and again while a dialog is open.
func (p *program) transact(step func(*State) int) int {
	for end := time.Now().Add(time.Minute); ; {
		result := 0
		err := p.files.Update(func(s *State) { result = step(s) })
		if err != nil {
			return report(p.stderr, err)
		}
		if result != statusAsking {
			return result
		}
		if os.Getppid() != p.parent || time.Now().After(end) {
			return report(p.stderr, errors.New("nobody is left to answer the dialog"))
		}
		time.Sleep(dialogPoll)
	}
}

// dialogPoll is how often an open dialog looks whether somebody has answered.
const dialogPoll = 2 * time.Millisecond

// Files are the paths beside the program.
type Files struct{ State, Record, lock, alive string }

// FilesOf names the files of a program.
func FilesOf(program string) Files {
	program = filepath.Clean(program)
	return Files{State: program + ".json", Record: program + ".record", lock: program + ".lock", alive: program + ".alive"}
}
