package stack

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

func TestEachChangedFileIsPickedOnceAndNothingMounted(t *testing.T) {
	const modified, added, deleted = container.ChangeModify, container.ChangeAdd, container.ChangeDelete
	changes := []container.FilesystemChange{
		{Kind: modified, Path: "/run"}, {Kind: added, Path: "/run/secrets"}, // a mount's own folder
		{Kind: modified, Path: "/etc"}, {Kind: modified, Path: "/etc/conf"}, {Kind: deleted, Path: "/etc/gone"},
		{Kind: added, Path: "/new"}, {Kind: added, Path: "/new/a"}, {Kind: added, Path: "/new/d"}, {Kind: added, Path: "/new/d/b"}, {Kind: added, Path: "/new-er"},
		{Kind: added, Path: "/mixed"}, {Kind: added, Path: "/mixed/vol"}, {Kind: added, Path: "/mixed/vol/x"}, {Kind: added, Path: "/mixed/file"},
		{Kind: modified, Path: "/tmp"}, {Kind: added, Path: "/tmp/beneath"},
		{Kind: modified, Path: "/var"}, {Kind: deleted, Path: "/var/gone"},
	}
	slices.Reverse(changes)
	mounts := []mountPoint{{"/run/secrets", true}, {"/mixed/vol", true}, {"/tmp", false}}
	got := fmt.Sprint(pick(changes, mounts))
	if want := "[{/etc/conf false} {/mixed/file true} {/new true} {/new-er true} {/tmp/beneath true}]"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := fmt.Sprint(pick([]container.FilesystemChange{{Kind: added, Path: "/run"}, {Kind: added, Path: "/run/secrets"}, {Kind: added, Path: "/run/secrets/K"}}, nil)); got != "[{/run true}]" {
		t.Errorf("secrets in the layer itself: %s", got)
	}
}

func TestSurveyShowsTheFilesOfALayer(t *testing.T) {
	for name, from := range map[string]int{"file by file": exportFrom, "as a whole": 1} {
		t.Run(name, func(t *testing.T) {
			f := one(running + `,"Config":{},"Mounts":[{"Type":"volume","Name":"mem","Destination":"/run/secrets"}]`)
			f["/containers/c0ffee/logs"] = refuses(http.StatusNotFound, "none")
			f["/containers/c0ffee/changes"] = says(`[{"Kind":0,"Path":"/etc"},{"Kind":0,"Path":"/etc/conf"},{"Kind":1,"Path":"/new"},{"Kind":1,"Path":"/new/a"},{"Kind":0,"Path":"/run"},{"Kind":1,"Path":"/run/secrets"}]`)
			f["/containers/c0ffee/archive"] = func(w http.ResponseWriter, r *http.Request) {
				switch path := r.URL.Query().Get("path"); path {
				case "/etc/conf":
					archive([2]string{"conf", "canary-1"})(w, r)
				case "/new":
					archive([2]string{"new/a", "canary-2"})(w, r)
				default:
					t.Errorf("%s is copied", path)
				}
			}
			f["/containers/c0ffee/export"] = archive([2]string{"bin/sh", "an image's file"}, [2]string{"etc/conf", "canary-1"}, [2]string{"new/a", "canary-2"}, [2]string{"new-er", "another of the image's"})
			expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: from})),
				"layer|container c|p/s|/etc/conf|/etc/conf\ncanary-1", "layer|container c|p/s|/new/a|/new/a\ncanary-2", unmounted)
		})
	}
}

func TestSurveyNeverReadsMemory(t *testing.T) {
	f := one(running + `,"Config":{},"Mounts":[{"Type":"volume","Name":"mem","Destination":"/data/inner"},{"Type":"volume","Name":"disk","Destination":"/data"},{"Type":"bind","Source":"/home","Destination":"/home"}]`)
	f["/containers/c0ffee/logs"] = refuses(http.StatusNotFound, "none")
	f["/containers/c0ffee/archive"] = func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Query().Get("path"); path != "/data" {
			t.Errorf("%s is copied", path)
		}
		archive([2]string{"data/", ""}, [2]string{"data/file", "canary-1"}, [2]string{"data/inner/K", "canary-2"})(w, r)
	}
	expect(t, fixed(surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom, limit: volumeLimit})),
		"volume|volume disk|p/s||\n", "volume|volume disk|p/s|/file|/file\ncanary-1")
}

func TestSurveySaysWhatItLeftOutOfALargeVolume(t *testing.T) {
	f := one(running + `,"Config":{},"Mounts":[{"Type":"volume","Name":"disk","Destination":"/data"}]`)
	f["/containers/c0ffee/logs"] = refuses(http.StatusNotFound, "none")
	f["/containers/c0ffee/archive"] = archive([2]string{"data/a", strings.Repeat("x", 2<<20)}, [2]string{"data/b", "canary-1"})
	got := surveyed(t, &survey{engine: f.engine(t), exportFrom: exportFrom, limit: 1 << 20})
	if len(got) != 2 || len(got[0]) < 1<<20-2048 || len(got[0]) > 1<<20+100 || got[1] != "volume|volume disk|p/s|| only its first 1 MiB were searched" {
		t.Errorf("%d exhibits, the last %q", len(got), got[len(got)-1])
	}
}
