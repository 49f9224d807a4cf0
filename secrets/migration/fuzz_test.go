package migration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minibot/hint"
)

// FuzzRecord holds that a record of a move is either one that this program wrote, or an error that names the file.
func FuzzRecord(f *testing.F) {
	for _, seed := range []string{`{"version":1,"from":"age","to":"keychain","phase":"copied"}`, `{"version":1,"phase":"taking"}`, "null", "", "{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "migration.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(path)
		if err != nil && (hint.Of(err) == "" || !strings.Contains(err.Error(), path)) || err == nil && r == nil {
			t.Errorf("%+v, %v, hint %q", r, err, hint.Of(err))
		}
		_ = Unfinished(path, "age") // either answer is right; it must not panic
	})
}
