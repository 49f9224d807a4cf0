package lockdown

import (
	"errors"
	"os"
	"testing"

	"minibot/config"
	"minibot/control"
	"minibot/secrets"
)

// FuzzFiles holds that whatever the files of a lockdown hold, a record that cannot be read keeps the stack down, a new
// lockdown can begin and end, and nothing panics.
func FuzzFiles(f *testing.F) {
	f.Add(`{"version":1,"since":"2026-01-02T03:04:05Z","reason":"r","secrets":{"A":"awaiting","B":"replaced"}}`, `{"version":1,"secrets":{"A":{"since":"2026-01-02T03:04:05Z","kept":true}}}`)
	f.Add(`{"version":1,"unlocking":true}`, `{"secrets":null}`)
	f.Add(`{"version":1,"secrets":{"A":"awaiting"}}`, `{"secrets":null}`)
	f.Add(`null`, `null`)
	f.Add(`{"version":2}`, `{}`)
	f.Add(`{"version":1,"secrets":{"\u001b[31m":"x","":""}}`, ``)
	f.Add("", "[]")
	f.Fuzz(func(t *testing.T, record, past string) {
		paths, err := config.NewPaths(t.TempDir())
		if err == nil {
			err = config.EnsureHome(paths)
		}
		file := In(paths)
		if err = errors.Join(err, os.WriteFile(file.path, []byte(record), 0o600), os.WriteFile(file.past, []byte(past), 0o600)); err != nil {
			t.Fatal(err)
		}
		r := file.Read()
		if r == nil || r.Damaged != nil && (!r.Locked() || !errors.Is(r.Err(), control.ErrLockedDown) || r.Text() == "") {
			t.Fatalf("%q is read as %+v", record, r)
		}
		value, err := secrets.NewValue([]byte("canary"))
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Refuse("A", value, value) // either answer is right; it must not panic
		if r, err = file.Begin(t.Context(), "again"); err != nil || !r.Locked() {
			t.Fatalf("begin: %+v, %v", r, err)
		}
		if again := file.Read(); again == nil || again.Damaged != nil || !again.Locked() {
			t.Fatalf("read again: %+v", again)
		}
		_ = file.Unlock(t.Context(), nil, true) // what was compromised may be unreadable; then it stays locked
		_ = file.End(t.Context())
	})
}
