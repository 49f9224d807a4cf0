package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/stack"
)

func TestVolumesThatAreMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "volumes.json")
	now := sampleTime
	data := func(born string) stack.DataVolume {
		return stack.DataVolume{Name: "data", Services: []string{"db", "web"}, Born: born}
	}
	other := stack.DataVolume{Name: "other", Services: []string{"web"}, Born: "1"}
	for _, step := range []struct {
		name   string
		seen   []stack.DataVolume
		heed   string // the service that is started
		later  time.Duration
		news   string
		remain string // what is shown
	}{
		{name: "at first", seen: []stack.DataVolume{data("")}},
		{name: "again", seen: []stack.DataVolume{data("")}},
		{name: "another one more", seen: []stack.DataVolume{data(""), other}},
		{name: "made anew", seen: []stack.DataVolume{data("2"), other}, news: "data", remain: "data"},
		{name: "looked at again", seen: []stack.DataVolume{data("2"), other}, remain: "data"},
		{name: "one is gone", seen: []stack.DataVolume{other}, remain: "data"},
		{name: "another service is started", heed: "cache", remain: "data"},
		{name: "its service is started", heed: "web"},
		{name: "made by hand", seen: []stack.DataVolume{data("")}, news: "data", remain: "data"},
		{name: "six days later", later: 6 * 24 * time.Hour, remain: "data"},
		{name: "eight days later", later: 2 * 24 * time.Hour},
	} {
		v, err := readVolumes(path) // by the next daemon
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(step.later)
		var news, remain []string
		if step.seen != nil {
			anew, err := v.see(step.seen, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range anew {
				news = append(news, a.Name)
			}
		}
		if step.heed != "" {
			if err := v.heed(step.heed); err != nil {
				t.Fatal(err)
			}
		}
		for _, shown := range v.show(now) {
			remain = append(remain, shown.Name)
			if !strings.Contains(shown.Hint, "minibotd start db") || !slices.Equal(shown.Services, []string{"db", "web"}) {
				t.Errorf("%s: %+v", step.name, shown)
			}
		}
		if got := strings.Join(news, " ") + "; " + strings.Join(remain, " "); got != step.news+"; "+step.remain {
			t.Errorf("%s: %s", step.name, got)
		}
	}
}

// A damaged record costs what was known, not the start.
func TestADamagedRecordOfVolumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "volumes.json")
	for _, text := range []string{"", "{", "null", "[]", `{"data":3}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := readVolumes(path)
		if (err == nil) != (text == "null") {
			t.Errorf("%q: %v", text, err)
		}
		if anew, err := v.see([]stack.DataVolume{{Name: "data", Services: []string{"db"}, Born: "1"}}, sampleTime); err != nil || len(anew) > 0 {
			t.Errorf("%q: %v, %v", text, anew, err)
		}
	}
}
