package rotation

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"minibot/hint"
)

// FuzzJournal holds that a journal is either read as a whole, goes on from there and is read again, or is ErrJournal with
// advice, and that nothing that it says makes who reads it panic.
func FuzzJournal(f *testing.F) {
	f.Add(`{"v":1,"id":"A","time":"2026-03-01T12:00:00Z","step":"begin","kind":"rotate","items":[{"name":"K"},{"name":"L","companion":"K"}]}` + "\n" +
		`{"v":1,"id":"A","time":"2026-03-01T12:00:01Z","step":"stage","secret":"K"}` + "\n" + `{"v":1,"id":"A","step":"end","outcome":"done"}` + "\n")
	f.Add(`{"v":1,"id":"A","step":"promote"}` + "\n" + `{"v":1,"id":"B","step":"be`)
	f.Add("null\n{}\n")
	f.Add(`{"v":2}` + "\n")
	f.Add("\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "rotation.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := readReceipts(t, path)
		if err != nil {
			return
		}
		if after, err := readReceipts(t, path); err != nil || after != before+1 {
			t.Errorf("%d records, then %d, %v", before, after, err)
		}
	})
}

// readReceipts opens a journal, has everything read from it that anybody reads, appends a record, and returns how many
// there were.
func readReceipts(t *testing.T, path string) (int, error) {
	j, err := OpenJournal(path)
	if err != nil {
		if !errors.Is(err, ErrJournal) || hint.Of(err) == "" {
			t.Errorf("%v, hint %q", err, hint.Of(err))
		}
		return 0, err
	}
	defer j.Close()
	count := len(j.records)
	New(nil, j, nil, nil, nil, nil).Receipts()
	if err := j.append(record{ID: "next", Step: StepBegin}); err != nil {
		t.Fatal(err)
	}
	return count, nil
}
