package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var errProcargs = errors.New("the kernel's answer cannot be understood")

// splitProcargs takes apart what macOS answers to the sysctl kern.procargs2: the number of arguments, in four bytes, the path of the
// program, padding, the arguments, and the environment, each with a NUL at its end.
func splitProcargs(answer []byte) (arguments, environment []byte, err error) {
	if len(answer) < 4 {
		return nil, nil, errProcargs
	}
	count, rest := int(int32(binary.LittleEndian.Uint32(answer))), answer[4:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 || count < 0 {
		return nil, nil, errProcargs
	}
	rest = bytes.TrimLeft(rest[end:], "\x00")
	at := 0
	for range count {
		n := bytes.IndexByte(rest[at:], 0)
		if n < 0 {
			return rest, nil, nil // cut off: what there is
		}
		at += n + 1
	}
	return rest[:at], rest[at:], nil
}
