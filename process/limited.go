package process

import "bytes"

// Limited keeps the first Max bytes of what another program says and takes the rest, so that the program does not block. It is for
// one stream of an [exec.Cmd], which writes from one goroutine. The buffer is not embedded: its ReadFrom would lead past Write.
type Limited struct {
	Max  int
	Over bool // there was more

	kept bytes.Buffer
}

// Write implements [io.Writer]. It never fails.
func (l *Limited) Write(p []byte) (int, error) {
	n := len(p)
	if room := l.Max - l.kept.Len(); n > room {
		l.Over = true
		p = p[:room]
	}
	l.kept.Write(p)
	return n, nil
}

// String is what was kept.
func (l *Limited) String() string { return l.kept.String() }
