package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"minibot/control"
)

// person runs mb-secrets on a pseudo-terminal and types at it.
type person struct {
	t        *testing.T
	cmd      *exec.Cmd
	keyboard *os.File
	tty      *os.File
	before   *term.State
	done     chan struct{}

	mu    sync.Mutex
	shown bytes.Buffer
	grew  chan struct{}
	seen  int // how far of shown was awaited
}

// makeHome returns a home with the test's compose file, and a store when asked for.
func makeHome(t *testing.T, initialised bool) string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "h")
	compose, err := os.ReadFile("testdata/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "compose.yaml"), compose, 0o600); err != nil {
		t.Fatal(err)
	}
	if initialised {
		piped(t, home, "API_KEY=canary-before-value\n", 0, "init", "--generate")
	}
	return home
}

// piped runs mb-secrets without a terminal and returns its stdout.
func piped(t *testing.T, home, stdin string, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command("mb-secrets", append([]string{"--home", home}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit code says it
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: exit code %d, want %d\n%s", args, got, code, errs.String())
	}
	return out.String()
}

func start(t *testing.T, home string, args ...string) *person {
	t.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, keyboard: keyboard, tty: tty, before: before, done: make(chan struct{}), grew: make(chan struct{}, 1)}
	p.cmd = exec.Command("mb-secrets", append([]string{"--home", home}, args...)...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = tty, tty, tty
	p.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			p.mu.Lock()
			p.shown.Write(buf[:n])
			p.mu.Unlock()
			select {
			case p.grew <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return p
}

// sees waits until text is shown after what was seen before.
func (p *person) sees(text string) *person {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		at := strings.Index(p.shown.String()[p.seen:], text)
		if at >= 0 {
			p.seen += at + len(text)
		}
		p.mu.Unlock()
		if at >= 0 {
			return p
		}
		select {
		case <-p.grew:
		case <-deadline:
			_ = p.cmd.Process.Kill() // the test fails anyway
			p.t.Fatalf("never saw %q in %q", text, p.text())
		}
	}
}

func (p *person) types(text string) *person {
	p.t.Helper()
	if _, err := p.keyboard.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
	return p
}

func (p *person) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

// ends checks the exit code, that the terminal is as it was, and that nothing typed at a hidden prompt was shown.
func (p *person) ends(code int) {
	p.t.Helper()
	_ = p.cmd.Wait() // the exit code says it
	after, err := term.GetState(int(p.tty.Fd()))
	if err != nil {
		p.t.Fatal(err)
	}
	_ = p.tty.Close() // now the reader sees the end
	<-p.done
	_ = p.keyboard.Close()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d: %s", got, code, p.text())
	}
	if *after != *p.before {
		p.t.Error("the terminal is not as it was")
	}
	if strings.Contains(p.text(), "canary") {
		p.t.Errorf("the terminal showed a value: %q", p.text())
	}
}

func storeFile(t *testing.T, home string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(home, "store.age"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSetOnATerminal(t *testing.T) {
	home := makeHome(t, true)
	start(t, home, "set", "API_KEY").sees("API_KEY (not shown): ").types("canary-typed-value\r").
		sees("again: ").types("canary-typed-value\r").sees("API_KEY is changed").ends(0)
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-typed-value" {
		t.Errorf("got %q", got)
	}
	start(t, home, "set", "API_KEY").sees("shown): ").types("canary-one\r").sees("again: ").types("canary-two\r").
		sees("differ. Once more").sees("shown): ").types("canary-three-value\r").sees("again: ").types("canary-three-value\r").
		sees("API_KEY is changed").ends(0)
	before := storeFile(t, home)
	p := start(t, home, "set", "API_KEY")
	for range promptTries {
		p.sees("shown): ").types("canary-one\r").sees("again: ").types("canary-two\r")
	}
	p.sees("differ, 3 times").ends(1)
	start(t, home, "set", "API_KEY").sees("shown): ").types("\r").sees("the value is empty").ends(2)
	if storeFile(t, home) != before {
		t.Error("the store changed")
	}
}

func TestInterruptedPromptChangesNothing(t *testing.T) {
	home := makeHome(t, true)
	before := storeFile(t, home)
	for _, test := range []struct {
		args   []string
		dialog []string // sees, types, sees, types, …; what is left to see is where it is interrupted
	}{
		{[]string{"set", "API_KEY"}, []string{"shown): "}},
		{[]string{"set", "API_KEY"}, []string{"shown): ", "canary-first-value\r", "again: "}},
		{[]string{"delete", "API_KEY"}, []string{"[y/N] "}},
		{[]string{"generate", "GATEWAY_TOKEN"}, []string{"[y/N] "}},
	} {
		for _, how := range []string{"^C", "SIGINT", "SIGTERM"} {
			t.Run(fmt.Sprint(test.args[0], len(test.dialog), how), func(t *testing.T) {
				p := start(t, home, test.args...)
				for i, step := range test.dialog {
					if i%2 == 0 {
						p.sees(step)
					} else {
						p.types(step)
					}
				}
				switch how {
				case "^C":
					p.types("half\x03")
				case "SIGINT":
					_ = p.cmd.Process.Signal(syscall.SIGINT) // ends waits for what it does
				case "SIGTERM":
					_ = p.cmd.Process.Signal(syscall.SIGTERM)
				}
				p.sees("interrupted: nothing changed").ends(130)
				if storeFile(t, home) != before {
					t.Error("the store changed")
				}
			})
		}
	}
}

func TestDeleteAndGenerateAsk(t *testing.T) {
	home := makeHome(t, true)
	start(t, home, "delete", "API_KEY").sees("used by gateway").sees("[y/N] ").types("\r").sees("nothing changed").ends(1)
	start(t, home, "generate", "GATEWAY_TOKEN").sees("Replace it").types("y\r").sees("GATEWAY_TOKEN is changed").ends(0)
	start(t, home, "delete", "API_KEY").sees("[y/N] ").types("y\r").sees("API_KEY is deleted").ends(0)
	piped(t, home, "", 3, "get", "API_KEY")
}

func TestInitIsResumedAfterInterrupt(t *testing.T) {
	home := makeHome(t, false)
	start(t, home, "init").sees("[1/3] API_KEY").sees("Key of the model's provider").sees("used by gateway").
		sees("shown): ").types("canary-first-value\r").sees("again: ").types("canary-first-value\r").sees("API_KEY is set").
		sees("[2/3] GATEWAY_TOKEN").sees("Generate a value? [Y/n] ").types("\x03").
		sees("interrupted: what was set stays set").sees("mb-secrets init goes on").ends(130)
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-first-value" {
		t.Errorf("got %q", got)
	}
	piped(t, home, "", 3, "get", "GATEWAY_TOKEN")
	start(t, home, "init").sees("[1/3] API_KEY").sees("is set already").sees("[2/3]").sees("[Y/n] ").types("y\r").
		sees("GATEWAY_TOKEN is set").sees("[3/3] POSTGRES_PASSWORD").sees("[Y/n] ").types("n\r").
		sees("shown): ").types("\r").sees("still missing: POSTGRES_PASSWORD").ends(1)
	start(t, home, "init").sees("[3/3]").sees("[Y/n] ").types("n\r").sees("shown): ").types("canary-third-value\r").
		sees("again: ").types("canary-third-value\r").sees("all 3 required secrets are set").ends(0)
}

func TestImportOnATerminal(t *testing.T) {
	home := makeHome(t, true)
	file := filepath.Join(t.TempDir(), "old.env")
	text := "API_KEY=canary-imported-value\nDB_HOST=localhost\n"
	write := func() {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	start(t, home, "import", file).sees("replaces the stored value").sees("Take 1 of them? [y/N]").types("n\r").sees("not confirmed: nothing changed").ends(1)
	start(t, home, "import", file).sees("Take 1 of them? [y/N]").types("y\r").sees("API_KEY is changed").
		sees("with DB_HOST in it, which was not taken? [y/N]").types("\r").ends(0)
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("the file is %q, %v", got, err)
	}
	start(t, home, "import", file).sees("stored already").sees("with DB_HOST in it").types("\x03").sees("interrupted").ends(130)
	// A hard link shows what the blocks of the file hold after it is gone.
	link := file + ".link"
	if err := os.Link(file, link); err != nil {
		t.Fatal(err)
	}
	start(t, home, "import", file).sees("with DB_HOST in it").types("yes\r").sees("overwritten and removed").ends(0)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file stays: %v", err)
	}
	if got, err := os.ReadFile(link); err != nil || !bytes.Equal(got, make([]byte, len(text))) {
		t.Errorf("the blocks hold %q, %v", got, err)
	}
	// A file that somebody writes to while it is asked about stays.
	write()
	p := start(t, home, "import", file).sees("with DB_HOST in it")
	text += "NEW=canary-new\n"
	write()
	p.types("y\r").sees("was changed meanwhile and stays").ends(1)
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("the file is %q, %v", got, err)
	}
}

func TestRekey(t *testing.T) {
	home := makeHome(t, true)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(home, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	key := read("age.key")
	if out := piped(t, home, "", 0, "rekey"); !strings.Contains(out, "sealed to a new key") || read("age.key") == key {
		t.Errorf("rekey says %q, or the key is the old one", out)
	}
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
		t.Errorf("API_KEY is %q", got)
	}
	piped(t, home, "", 1, "rekey", "--passphrase") // nobody to ask
	start(t, home, "rekey", "--passphrase").sees("new passphrase").types("canary one\r").sees("again: ").types("canary two\r").
		sees("differ: nothing changed").ends(1)
	start(t, home, "rekey", "--passphrase").sees("new passphrase").types("canary phrase ü\r").sees("again: ").types("canary phrase ü\r").
		sees("sealed to the passphrase; age.key is removed").ends(0)
	if _, err := os.Stat(filepath.Join(home, "age.key")); !os.IsNotExist(err) {
		t.Errorf("the key stays: %v", err)
	}
	start(t, home, "rekey").sees("passphrase of the store").types("canary phrase ü\r").sees("sealed to a new key").sees("Back up").ends(0)
	if got := piped(t, home, "", 0, "get", "API_KEY"); got != "canary-before-value" {
		t.Errorf("API_KEY is %q", got)
	}
	release, err := control.AcquireLock(t.Context(), filepath.Join(home, "run", "minibotd.lock"))
	if err != nil {
		t.Fatal(err)
	}
	key = read("age.key")
	piped(t, home, "", 1, "rekey") // a daemon holds the store
	if err := release(); err != nil || read("age.key") != key {
		t.Errorf("%v, or the key was replaced", err)
	}
}
