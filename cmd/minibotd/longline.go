package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// What is shown and held of one line of a container's log: who writes it may end it never.
const (
	maxLogLine  = 64 << 10
	maxHeldLine = maxLogLine + 256<<10 // a value that begins in what is shown ends in what is held, so that it is known as one
)

// readLine reads a line with its end, and holds at most maxHeldLine bytes of it: the rest is passed over. As
// bufio.Reader.ReadString, it returns what there was before an error.
func readLine(r *bufio.Reader) (string, error) {
	var line strings.Builder
	for {
		part, err := r.ReadSlice('\n')
		line.Write(part[:min(len(part), maxHeldLine-line.Len())])
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err != nil && !errors.Is(err, io.EOF) {
				err = fmt.Errorf("read a line: %w", err)
			}
			return line.String(), err
		}
	}
}

// shorten cuts a text, which is redacted, to some most bytes, and says so.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + " [cut: the line is too long]"
}
