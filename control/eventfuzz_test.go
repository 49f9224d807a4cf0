package control

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzEventFile holds that a log opens whatever its files hold, that what it has then is in order, and that what is
// appended is read again, also without a daemon. former is what an earlier version left; first and last are the
// numbers in the name of a segment.
func FuzzEventFile(f *testing.F) {
	var zip bytes.Buffer
	w := gzip.NewWriter(&zip)
	if _, err := w.Write([]byte("{\"seq\":1}\n{\"seq\":5,\"kind\":\"heal\"}\n")); err != nil || w.Close() != nil {
		f.Fatal(err)
	}
	f.Add("{\"seq\":1,\"kind\":\"exit\",\"message\":\"m\"}\n{\"seq\":3}\n", "{\"seq\":4}\n{\"se", []byte("{\"seq\":3}\n"), []byte{}, uint64(2), uint64(3))
	f.Add("", "{\"seq\":9}\n", []byte{}, zip.Bytes(), uint64(1), uint64(5))
	f.Add("\n\n\x00\n", "{\"seq\":18446744073709551615}\n", []byte("x"), zip.Bytes()[:30], uint64(1), uint64(1<<53))
	f.Add("null\n[]\n{\"seq\":-1}\n{\"seq\":1e3}\n", "", []byte("{\"seq\":3,\"time\":\"9999-12-31T23:59:59Z\"}\n"), zip.Bytes(), uint64(7), uint64(6))
	f.Fuzz(func(t *testing.T, former, current string, plain, packed []byte, first, last uint64) {
		dir := t.TempDir()
		path := filepath.Join(dir, "events.jsonl")
		name := fmt.Sprintf("%s/%s/%016d-%016d-20260102T030405Z-20260102T030405Z.jsonl", dir, segmentDir, first, last)
		if err := errors.Join(os.Mkdir(filepath.Join(dir, segmentDir), 0o700), os.WriteFile(path+".1", []byte(former), 0o600), os.WriteFile(path, []byte(current), 0o600),
			os.WriteFile(name, plain, 0o600), os.WriteFile(name+".gz", packed, 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, message := range []string{"first", "second"} {
			l, err := openEventLog(path, eventLimits{segment: 1000, turn: time.Hour, total: 1 << 20, age: time.Hour, ring: 4, sync: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Append(Event{Kind: "test", Message: message}); err != nil {
				t.Fatal(err)
			}
			for _, read := range []func(func(Event) error) error{
				func(yield func(Event) error) error { return l.Read(t.Context(), EventQuery{}, yield) },
				func(yield func(Event) error) error { return ReadEvents(t.Context(), path, EventQuery{}, yield) },
			} {
				var newest Event
				if err := read(func(e Event) error {
					if e.Seq <= newest.Seq {
						t.Errorf("%d after %d", e.Seq, newest.Seq)
					}
					newest = e
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if l.Last() <= maxSeq && (newest.Message != message || newest.Seq != l.Last()) {
					t.Errorf("the newest is %+v, not %d", newest, l.Last())
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
