package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzIntent holds that what was stopped is either read or an error that names the file, and is written as it was read.
func FuzzIntent(f *testing.F) {
	for _, seed := range []string{`{"all":true}`, `{"services":["a","b"]}`, `{"services":[null]}`, "null", "", "[]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "intent.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := readIntent(path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v", err)
			}
			return
		}
		i = i.stop("redis")
		if err := i.write(path); err != nil {
			t.Fatal(err)
		}
		again, err := readIntent(path)
		if err != nil || !again.stopped("redis") || again.All != i.All || len(again.Services) != len(i.Services) {
			t.Errorf("%+v became %+v, %v", i, again, err)
		}
	})
}
