package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestIntent(t *testing.T) {
	all := []string{"a", "b", "c"}
	for _, test := range []struct {
		name string
		got  intent
		down []string
	}{
		{"nothing", intent{}, nil},
		{"stop one", intent{}.stop("b"), []string{"b"}},
		{"stop two", intent{}.stop("c").stop("a"), []string{"a", "c"}},
		{"stop one twice", intent{}.stop("b").stop("b"), []string{"b"}},
		{"stop all", intent{}.stop("a").stop(""), all},
		{"stop one of a stopped stack", intent{}.stop("").stop("a"), all},
		{"start one of a stopped stack", intent{}.stop("").start("b", all), []string{"a", "c"}},
		{"start one", intent{}.stop("a").stop("b").start("a", all), []string{"b"}},
		{"start one that is not stopped", intent{}.stop("a").start("b", all), []string{"a"}},
		{"start all", intent{}.stop("a").start("", all), nil},
		{"start all of a stopped stack", intent{}.stop("").start("", all), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "intent.json")
			if err := test.got.write(path); err != nil {
				t.Fatal(err)
			}
			kept, err := readIntent(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, service := range all {
				if want := slices.Contains(test.down, service); kept.stopped(service) != want || test.got.stopped(service) != want {
					t.Errorf("%s: stopped is %v, as read again %v; want %v", service, test.got.stopped(service), kept.stopped(service), want)
				}
			}
		})
	}
}

// A pause is kept whatever else is asked, and forgotten once it is over.
func TestIntentOfMaintenance(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "intent.json")
	i := intent{}.pause("a", now.Add(time.Hour), now).pause("b", now.Add(time.Minute), now)
	for name, next := range map[string]intent{
		"stop": i.stop("a"), "stop all": i.stop(""), "start": i.start("a", []string{"a", "b"}), "start all": i.start("", nil),
		"start of a stopped stack": i.stop("").start("a", []string{"a", "b"}),
	} {
		if err := next.write(path); err != nil {
			t.Fatal(err)
		}
		kept, err := readIntent(path)
		if err != nil || !kept.Maintenance["a"].Equal(now.Add(time.Hour)) || !kept.Maintenance["b"].Equal(now.Add(time.Minute)) {
			t.Errorf("%s: %+v, %v", name, kept, err)
		}
	}
	if left := i.stop("a").pause("c", now.Add(2*time.Hour), now.Add(30*time.Minute)); len(left.Maintenance) != 2 || !left.stopped("a") {
		t.Errorf("%+v", left)
	}
	if left := i.pause("a", time.Time{}, now); len(left.Maintenance) != 1 || len(i.Maintenance) != 2 {
		t.Errorf("%+v, %+v", left, i)
	}
}

func TestIntentOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "intent.json")
	if i, err := readIntent(path); err != nil || i.stopped("a") {
		t.Errorf("without a file: %+v, %v", i, err)
	}
	if err := os.WriteFile(path, []byte(`{"all":tr`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readIntent(path); err == nil {
		t.Error("a torn file is read as if nothing were stopped")
	}
	if err := (intent{}.stop("a")).write(path); err != nil {
		t.Fatal(err)
	}
	if err := (intent{}.stop("b")).write(filepath.Join(dir, "absent", "intent.json")); err == nil {
		t.Error("written into a folder that is not there")
	}
	entries, err := os.ReadDir(dir)
	if info, statErr := os.Stat(path); err != nil || statErr != nil || len(entries) != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("the folder holds %v: %v, %v", entries, err, statErr)
	}
}
