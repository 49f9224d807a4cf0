package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// ErrInterrupted is what a prompt answers to ^C and ^\. It wraps context.Canceled, as a SIGINT does.
var ErrInterrupted = fmt.Errorf("interrupted: %w", context.Canceled)

// ErrNoTerminal is what a prompt answers where nobody can be asked.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

// maxLine bounds a typed line, in bytes: twice the largest secret.
const maxLine = 128 << 10

// Hidden asks for a line without showing it. It returns the bytes as typed, without the line end; ^D on an empty line is io.EOF.
// When ctx ends, or at ^C (ErrInterrupted), the terminal is restored before it returns.
//
// The terminal is read raw: its own line editor would silently cut a line at 1024 (macOS) or 4096 (Linux) bytes.
func (c *IO) Hidden(ctx context.Context, prompt string) ([]byte, error) {
	return c.ask(ctx, prompt, false)
}

// Line asks for a line and shows it while it is typed. It ends like Hidden.
func (c *IO) Line(ctx context.Context, prompt string) (string, error) {
	line, err := c.ask(ctx, prompt, true)
	return string(line), err
}

// Confirm asks a question until the answer is yes or no; an empty answer is preset. It ends like Hidden.
func (c *IO) Confirm(ctx context.Context, question string, preset bool) (bool, error) {
	choice := " [y/N] "
	if preset {
		choice = " [Y/n] "
	}
	for {
		answer, err := c.Line(ctx, question+choice)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "":
			return preset, nil
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
		c.Say("Please answer y or n.")
	}
}

func (c *IO) ask(ctx context.Context, prompt string, echo bool) (line []byte, err error) {
	if !c.Interactive() {
		return nil, ErrNoTerminal
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in := c.In.(*os.File) // Interactive says so
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	defer func() {
		if restoreErr := term.Restore(int(in.Fd()), state); restoreErr != nil {
			err = errors.Join(err, fmt.Errorf("restore the terminal: %w", restoreErr))
		}
		_, _ = io.WriteString(c.Err, "\n")
	}()
	_, _ = io.WriteString(c.Err, prompt)

	shown := io.Discard
	if echo {
		shown = c.Err
	}
	type result struct {
		line []byte
		err  error
	}
	done := make(chan result, 1)
	// A read of a terminal cannot be interrupted: when ctx ends first, this goroutine stays until the process ends,
	// which the caller of an interrupted prompt is about to do.
	go func() {
		line, err := readLine(in, shown)
		done <- result{line, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		return r.line, r.err
	}
}

// readLine reads one line from a raw terminal, byte by byte so that what follows stays for the next prompt.
func readLine(in io.Reader, shown io.Writer) ([]byte, error) {
	var line []byte
	key := make([]byte, 1)
	for {
		n, err := in.Read(key)
		if n == 0 {
			if err == nil {
				continue
			}
			return nil, err
		}
		switch key[0] {
		case '\r', '\n':
			return line, nil
		case 0x03, 0x1c: // ^C, ^\
			return nil, ErrInterrupted
		case 0x04: // ^D
			if len(line) == 0 {
				return nil, io.EOF
			}
		case 0x7f, 0x08: // backspace
			if _, size := utf8.DecodeLastRune(line); size > 0 {
				line = line[:len(line)-size]
				_, _ = io.WriteString(shown, "\b \b")
			}
		case 0x15: // ^U
			_, _ = io.WriteString(shown, strings.Repeat("\b \b", utf8.RuneCount(line)))
			line = line[:0]
		default:
			if len(line) >= maxLine {
				return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
			}
			line = append(line, key[0])
			if key[0] >= 0x20 {
				_, _ = shown.Write(key)
			}
		}
	}
}
