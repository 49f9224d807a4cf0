package control

import (
	"bufio"
	"encoding/json"
	"io"
)

// lines reads a stream of JSON values, one on each line.
type lines struct{ s *bufio.Scanner }

func newLines(r io.Reader) lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), maxLine)
	return lines{s}
}

// Decode reads the next line, or returns io.EOF at a whole stream's end.
func (l lines) Decode(into any) error {
	if !l.s.Scan() {
		if err := l.s.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return json.Unmarshal(l.s.Bytes(), into)
}
