package rotation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func write(t *testing.T, j *Journal, records ...record) {
	t.Helper()
	for _, r := range records {
		if err := j.append(r); err != nil {
			t.Fatal(err)
		}
	}
}

func reopen(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // of a test's own file
	return j
}

// one is a rotation of K: two steps, the second before the first by the clock.
func one(id, outcome string) []record {
	return []record{
		{ID: id, Time: noon, Step: StepBegin, Kind: KindRotate, By: "somebody", Items: []entry{{Name: "K"}, {Name: "K_USER", Companion: "K"}}},
		{ID: id, Time: noon.Add(time.Second), Step: StepStage, Secret: "K"},
		{ID: id, Time: noon.Add(-time.Hour), Step: StepPromote, Secret: "K"},
		{ID: id, Time: noon.Add(2 * time.Second), Step: StepEnd, Outcome: outcome, Reason: "because"},
	}
}

func TestJournalOutlivesATear(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	j := reopen(t, whole)
	write(t, j, one("a", OutcomeDone)...)
	write(t, j, one("b", OutcomeDone)[:2]...)
	if open := j.open(); len(open) != 2 || open[0].ID != "b" {
		t.Errorf("open: %v", open)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndex(strings.TrimSuffix(string(data), "\n"), "\n") + 1
	for cut := last; cut <= len(data); cut++ {
		path := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j := reopen(t, path)
		want := 1
		if cut == len(data) {
			want = 2
		}
		if open := j.open(); len(open) != want {
			t.Fatalf("cut at %d of %d: %d open records", cut, len(data), len(open))
		}
		write(t, j, record{ID: "b", Time: noon, Step: StepEnd, Outcome: OutcomeRolledBack})
		if again := reopen(t, path); again.open() != nil {
			t.Fatalf("cut at %d: the record after the torn one is not read", cut)
		}
	}
	// Zeros, as a power cut may leave them.
	path := filepath.Join(t.TempDir(), "zeros")
	if err := os.WriteFile(path, append(data, 0, 0, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if open := reopen(t, path).open(); len(open) != 2 {
		t.Errorf("zeros at the end: %v", open)
	}
}

func TestJournalRefusesWhatItCannotKnow(t *testing.T) {
	for name, text := range map[string]string{
		"damaged": `{"v":1,"id":"a","step":"begin"}` + "\nrubbish\n" + `{"v":1,"id":"a","step":"end"}` + "\n",
		"newer":   `{"v":2,"id":"a","step":"begin"}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(path); !errors.Is(err, ErrJournal) || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Receipts(path); !errors.Is(err, ErrJournal) {
			t.Errorf("receipts of %s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("%s: the file was touched: %q %v", name, after, err)
		}
	}
}

func TestReceipts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if none, err := Receipts(path); err != nil || none != nil {
		t.Errorf("no journal: %v %v", none, err)
	}
	j := reopen(t, path)
	write(t, j, one("a", OutcomeDone)...)
	j.size = journalSize + 1
	write(t, j, one("b", OutcomeRolledBack)...)
	write(t, j, one("c", "")[:2]...)
	all, err := Receipts(path)
	if err != nil || len(all) != 3 || len(j.Receipts()) != 2 {
		t.Fatalf("%d receipts, %d since the journal was renewed: %v", len(all), len(j.Receipts()), err)
	}
	a := all[0]
	if a.Kind != KindRotate || a.By != "somebody" || a.Outcome != OutcomeDone || len(a.Secrets) != 1 || a.Secrets[0] != secrets.Name("K") || len(a.Steps) != 2 {
		t.Errorf("%+v", a)
	}
	if a.Steps[0].Took != 0 || a.Steps[1].Took != time.Hour+2*time.Second {
		t.Errorf("over a clock that was set back: %v", a.Steps)
	}
	if all[1].Outcome != OutcomeRolledBack || all[1].Reason != "because" || all[2].Outcome != OutcomeUnfinished {
		t.Errorf("%+v", all[1:])
	}
}

func TestJournalOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := reopen(t, path)
	write(t, j, one("a", OutcomeDone)...)
	if err := j.file.Close(); err != nil { // every write fails from now on
		t.Fatal(err)
	}
	if err := j.append(record{ID: "b", Step: StepBegin}); err == nil || hint.Of(err) == "" {
		t.Error(err)
	}
	if j.open() != nil || len(j.Receipts()) != 1 {
		t.Error("what could not be written counts")
	}
}

// A record that is not on the disk does not count, and nothing goes on before it is.
func TestJournalSyncsEachRecord(t *testing.T) {
	j := reopen(t, filepath.Join(t.TempDir(), "journal"))
	synced, fails := 0, false
	j.sync = func(f *os.File) error {
		if synced++; fails {
			return errors.New("no")
		}
		return f.Sync()
	}
	write(t, j, one("a", "")[:2]...)
	fails = true
	if err := j.append(record{ID: "a", Step: StepEnd}); err == nil || synced != 3 || len(j.open()) != 2 {
		t.Errorf("%v after %d syncs, %d records", err, synced, len(j.open()))
	}
	if again := reopen(t, j.path); len(again.open()) != 2 {
		t.Error("the record that was not synced is read")
	}
}
