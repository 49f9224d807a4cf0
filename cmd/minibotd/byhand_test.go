package main

import (
	"slices"
	"testing"
	"time"

	"minibot/secrets"
)

func TestDatesSince(t *testing.T) {
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	items := func(changed ...any) []secrets.Entry {
		var entries []secrets.Entry
		for i := 0; i < len(changed); i += 2 {
			entries = append(entries, secrets.Entry{Name: secrets.Name(changed[i].(string)), Changed: noon.Add(time.Duration(changed[i+1].(int)) * time.Second)})
		}
		return entries
	}
	for name, test := range map[string]struct {
		before, now []secrets.Entry
		at          int // seconds after noon of the earlier look
		want        []secrets.Name
	}{
		"nothing":                  {items("A", 0, "B", 5), items("A", 0, "B", 5), 60, nil},
		"another date":             {items("A", 0, "B", 5), items("A", 0, "B", 6), 60, []secrets.Name{"B"}},
		"an earlier date":          {items("A", 0), items("A", -100), 60, []secrets.Name{"A"}}, // put back from a backup
		"come":                     {items("A", 0), items("A", 0, "B", 5), 60, []secrets.Name{"B"}},
		"gone":                     {items("A", 0, "B", 5), items("A", 0), 60, []secrets.Name{"B"}},
		"young when it was looked": {items("A", 0, "B", 59), items("A", 0, "B", 59), 60, []secrets.Name{"B"}},
		"no longer young":          {items("A", 0, "B", 58), items("A", 0, "B", 58), 60, nil},
		"never looked":             {nil, items("A", 0), 0, []secrets.Name{"A"}},
	} {
		before, now := newDates(test.before, noon.Add(time.Duration(test.at)*time.Second)), newDates(test.now, noon.Add(time.Hour))
		if got := now.since(before); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
		if got := before.same(test.now); got != (test.want == nil) {
			t.Errorf("%s: the same: %v", name, got)
		}
	}
	pending := []secrets.Entry{{Name: "A", Slot: secrets.Pending, Changed: noon}}
	if got := newDates(pending, noon).changed; len(got) > 0 {
		t.Errorf("companions count: %v", got)
	}
	if !newDates(nil, noon).same(pending) {
		t.Error("companions count")
	}
}
