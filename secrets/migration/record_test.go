package migration

import (
	"errors"
	"os"
	"strings"
	"testing"

	"minibot/hint"
)

func TestUnknownRecord(t *testing.T) {
	for _, text := range []string{"", "{}", `{"version":2,"from":"age","to":"keychain","phase":"copied"}`, `{"version":1,"phase":"new"}`} {
		w, want := filled(t, "age")
		if err := writeFile(w.record, text); err != nil {
			t.Fatal(err)
		}
		err := w.migration("keychain").Run(t.Context())
		if err == nil || hint.Of(err) == "" || !strings.Contains(err.Error(), w.record) || w.safeItems(want) != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := Unfinished(w.record, "age"); err == nil {
			t.Errorf("%q: a store may be opened", text)
		}
	}
}

func (w *world) safeItems(want map[place]held) error {
	for p := range want {
		if _, ok := w.items[p]; !ok {
			return errors.New("lost")
		}
	}
	return nil
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }
