package stack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"minibot/secrets"
)

// TestNoCopyOfADeliveryStaysInMemory looks at the memory that an archive outgrew, and at what it lies in after it was sent.
func TestNoCopyOfADeliveryStaysInMemory(t *testing.T) {
	values, files := map[secrets.Name]secrets.Value{}, []File{}
	for i := range 4 {
		name := secrets.Name(fmt.Sprintf("K%d", i))
		value, err := secrets.NewValue([]byte(strings.Repeat("canary-", secrets.MaxValueSize/7)))
		if err != nil {
			t.Fatal(err)
		}
		values[name] = value
		files = append(files, File{Name: strings.ToLower(string(name)), Secret: name, Mode: 0o400})
	}
	b := newBatch()
	var outgrown [][]byte
	for _, f := range files {
		b.stage("service-"+f.Name, record{}, []File{f}, values)
		if n := len(outgrown); n == 0 || &outgrown[n-1][0] != &b.memory[0] {
			outgrown = append(outgrown, b.memory)
		}
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if len(outgrown) < 2 || !bytes.Contains(b.memory, []byte("canary-canary")) {
		t.Fatal("the archive never grew, or lies elsewhere")
	}
	for _, memory := range outgrown[:len(outgrown)-1] {
		if bytes.Contains(memory, []byte("canary")) {
			t.Error("a copy was left behind when the archive grew")
		}
	}
	count := 0
	for r := tar.NewReader(io.LimitReader(&b.archive, int64(b.archive.Len()))); ; count++ { // as a request sends it: never beyond its end
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	b.wipe()
	if count != 3*len(files) || bytes.Contains(b.memory, []byte("canary")) {
		t.Errorf("%d entries; what was sent is not cleared", count)
	}
}
