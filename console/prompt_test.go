package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// screen collects what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{}
}

func (s *screen) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		found := strings.Contains(s.text.String(), want)
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-s.grew:
		case <-deadline:
			t.Fatalf("the terminal never showed %q; it shows %q", want, s.all())
		}
	}
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// terminal returns an IO on a pseudo-terminal, the end that a person types at, and what is shown there.
func terminal(t *testing.T) (*IO, *os.File, *screen) {
	t.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{grew: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			select {
			case s.grew <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_, _ = io.WriteString(keyboard, "\r") // for a prompt that its caller left: it reads on
		_ = tty.Close()                       // the reader sees the end of it
		_ = keyboard.Close()
		<-done
	})
	return New(tty, tty, tty), keyboard, s
}

func modes(t *testing.T, f *os.File) *term.State {
	t.Helper()
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestHidden(t *testing.T) {
	long := strings.Repeat("canary-long ", 5000)
	for _, test := range []struct {
		name, typed, want string
		err               error
	}{
		{"line", "canary-hidden\r", "canary-hidden", nil},
		{"bytes", "canary \"$'\\ \tü日\x1b\n", "canary \"$'\\ \tü日\x1b", nil},
		{"backspace takes a character", "canary-aü\x7f\x08b\r", "canary-b", nil},
		{"backspace at the beginning", "\x7fcanary\r", "canary", nil},
		{"^U takes the line", "wrong\x15canary-right\r", "canary-right", nil},
		{"^D in a line is nothing", "cana\x04ry\r", "canary", nil},
		{"empty", "\r", "", nil},
		{"longer than a line of the terminal", long + "\r", long, nil},
		{"^C", "canary-half\x03", "", ErrInterrupted},
		{"^\\", "canary-half\x1c", "", ErrInterrupted},
		{"^D", "\x04", "", io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, keyboard, shown := terminal(t)
			before := modes(t, c.In.(*os.File))
			wrote := make(chan error, 1)
			go func() {
				shown.await(t, "secret: ")
				_, err := io.WriteString(keyboard, test.typed)
				wrote <- err
			}()
			line, err := c.Hidden(context.Background(), "secret: ")
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			if string(line) != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %.60q, %v; want %.60q, %v", line, err, test.want, test.err)
			}
			if after := modes(t, c.In.(*os.File)); *after != *before {
				t.Error("the terminal is not as it was")
			}
			if strings.Contains(shown.all(), "canary") {
				t.Errorf("the terminal showed it: %q", shown.all())
			}
		})
	}
}

func TestContextEndsAPrompt(t *testing.T) {
	c, _, shown := terminal(t)
	before := modes(t, c.In.(*os.File))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		shown.await(t, "secret: ")
		cancel()
	}()
	if _, err := c.Hidden(ctx, "secret: "); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if after := modes(t, c.In.(*os.File)); *after != *before {
		t.Error("the terminal is not as it was")
	}
}

func TestPromptsTakeOneLineEach(t *testing.T) {
	c, keyboard, shown := terminal(t)
	go func() {
		shown.await(t, "first: ")
		_, _ = io.WriteString(keyboard, "canary-one\rcanary-two\r") // pasted in one go
	}()
	for prompt, want := range map[string]string{"first: ": "canary-one"} {
		if got, err := c.Hidden(context.Background(), prompt); string(got) != want || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if got, err := c.Hidden(context.Background(), "second: "); string(got) != "canary-two" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestConfirm(t *testing.T) {
	for _, test := range []struct {
		typed  string
		preset bool
		want   bool
	}{{"y\r", false, true}, {"YES\r", false, true}, {"n\r", true, false}, {"\r", true, true}, {"\r", false, false}, {"what\ry\r", false, true}} {
		c, keyboard, shown := terminal(t)
		go func() {
			shown.await(t, "Sure? [")
			_, _ = io.WriteString(keyboard, test.typed)
		}()
		got, err := c.Confirm(context.Background(), "Sure?", test.preset)
		if err != nil || got != test.want {
			t.Errorf("typed %q, preset %v: got %v, %v", test.typed, test.preset, got, err)
		}
	}
}

func TestPromptWithoutTerminal(t *testing.T) {
	c := New(strings.NewReader("x\n"), io.Discard, io.Discard)
	if _, err := c.Hidden(context.Background(), "secret: "); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("got %v", err)
	}
}

func TestColour(t *testing.T) {
	c, _, _ := terminal(t)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := Paint(c.Err, Red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := Paint(c.Err, Red, "x"); got != "x" {
		t.Errorf("with NO_COLOR: %q", got)
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if got := Paint(c.Err, Red, "x"); got != "x" {
		t.Errorf("with TERM=dumb: %q", got)
	}
}
