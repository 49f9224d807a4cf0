package takeover

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

type file struct {
	name string
	kind byte
	data string
}

func archive(t *testing.T, files ...file) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: f.kind, Mode: 0o4640, Uid: 70, Gid: 70, Size: int64(len(f.data))}
		if f.kind == tar.TypeSymlink || f.kind == tar.TypeLink {
			h.Size, h.Linkname = 0, f.data
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(f.data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

var cluster = []file{
	{"data/", tar.TypeDir, ""}, {"data/PG_VERSION", tar.TypeReg, "15\n"}, {"data/postmaster.pid", tar.TypeReg, "1"},
	{"data/base/", tar.TypeDir, ""}, {"data/base/1", tar.TypeReg, "rows"}, {"data/base/2", tar.TypeLink, "data/base/1"}, {"data/.s.PGSQL.5432", tar.TypeFifo, ""},
}

func nothing(int64) error { return nil }

func TestRewrite(t *testing.T) {
	l := layout{root: "data/pgdata", uid: 999, gid: 998, rootMode: 0o700, last: "PG_VERSION", keeps: func(name string) bool { return name != "postmaster.pid" }}
	var out bytes.Buffer
	wrote, err := l.rewrite(t.Context(), &out, archive(t, cluster...), nothing)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for r := tar.NewReader(bytes.NewReader(out.Bytes())); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		order = append(order, h.Name)
		if h.Uid != 999 || h.Gid != 998 || h.Mode&0o6000 != 0 || h.Name == "data/pgdata/" && h.Mode != 0o700 {
			t.Errorf("%s: uid %d, gid %d, mode %o", h.Name, h.Uid, h.Gid, h.Mode)
		}
	}
	if got, want := strings.Join(order, " "), "data/pgdata/ data/pgdata/base/ data/pgdata/base/1 data/pgdata/base/2 data/pgdata/PG_VERSION"; got != want {
		t.Errorf("wrote %s, want %s", got, want)
	}
	if files, size := wrote.files(); files != 2 || size != 7 {
		t.Errorf("%d files, %d bytes", files, size)
	}
}

func TestRewriteRefuses(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		files []file
		each  func(int64) error
		cut   int
		want  error
	}{
		"tablespace": {t.Context(), append([]file{{"data/pg_tblspc/1", tar.TypeSymlink, "/elsewhere"}}, cluster...), nothing, 0, errLink},
		"ended":      {ended, cluster, nothing, 0, context.Canceled},
		"stopped":    {t.Context(), cluster, func(int64) error { return errStopped }, 0, errStopped},
		"cut short":  {t.Context(), cluster, nothing, 700, nil},
		"empty":      {t.Context(), nil, nothing, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			from := archive(t, c.files...)
			if c.cut > 0 {
				from.Truncate(c.cut)
			}
			_, err := layout{root: "x"}.rewrite(c.ctx, &bytes.Buffer{}, from, c.each)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	l := layout{root: "pgdata", uid: 70, gid: 70}
	var out bytes.Buffer
	wrote, err := l.rewrite(t.Context(), &out, archive(t, cluster...), nothing)
	if err != nil {
		t.Fatal(err)
	}
	found, err := survey(&out)
	if err != nil || compare(wrote, found, true) != nil {
		t.Fatalf("a true copy differs: %v, %v", err, compare(wrote, found, true))
	}
	for name, change := range map[string]func(){
		"content": func() { e := found["base/1"]; e.sum[0]++; found["base/1"] = e },
		"owner":   func() { e := found["base"]; e.uid++; found["base"] = e },
		"mode":    func() { e := found["base"]; e.mode = 0o777; found["base"] = e },
		"missing": func() { delete(found, "PG_VERSION") },
		"more":    func() { found["base/3"] = entry{kind: tar.TypeReg} },
	} {
		before := map[string]entry{}
		for k, v := range found {
			before[k] = v
		}
		change()
		if compare(wrote, found, true) == nil {
			t.Errorf("%s: no difference is seen", name)
		}
		found = before
	}
}

func TestChooseImage(t *testing.T) {
	for _, c := range []struct {
		version      string
		now, old     imageFacts
		want         string
		fails, tells bool
	}{
		{"17", factsOf("postgres:17.7-alpine", ""), factsOf("postgres:17-alpine", "17"), "", false, false},
		{"15", factsOf("postgres:17.7-alpine", "17"), factsOf("postgres:15", "15"), "postgres:15", false, true},
		{"17", factsOf("postgres:17.7-alpine", "17"), factsOf("postgres:17", "17"), "postgres:17", false, true}, // glibc's order of text
		{"15", factsOf("postgres:17.7-alpine", ""), imageFacts{}, "postgres:15-alpine", false, true},
		{"17", factsOf("postgres:17.7-alpine", ""), imageFacts{}, "", false, false},
		{"15", factsOf("own/postgres:local", ""), factsOf("own/postgres:old", "15"), "own/postgres:old", false, true},
		{"15", factsOf("postgres:17.7-alpine", ""), factsOf("postgres:16", "16"), "", true, false}, // upgraded by hand, and never started
		{"9.6", factsOf("postgres:17.7-alpine", ""), factsOf("postgres:9.6", ""), "", true, false},
	} {
		ref, why, err := chooseImage(c.version, c.now, c.old)
		if ref != c.want || (err != nil) != c.fails || (why != "") != c.tells {
			t.Errorf("%+v: %q, %q, %v", c, ref, why, err)
		}
	}
}

func TestRoom(t *testing.T) {
	free, size, ok := parseRoom("  1048576\n2048\n")
	if !ok || free != 1<<30 || size != 2<<20 || fits(size, free) != nil {
		t.Errorf("%d, %d, %v", free, size, ok)
	}
	if fits(800<<20, 1<<30) == nil {
		t.Error("a copy that leaves the engine no room fits")
	}
	if _, _, ok := parseRoom("du: not found\n"); ok {
		t.Error("what is no number is taken for one")
	}
}

func TestIDs(t *testing.T) {
	passwd := "root:x:0:0::/root:/bin/sh\npostgres:x:70:71::/var/lib/postgresql:/bin/sh\nbad:x:y:z\n"
	if uid, gid, ok := idsOf(passwd, "postgres"); !ok || uid != 70 || gid != 71 {
		t.Errorf("%d %d %v", uid, gid, ok)
	}
	for _, name := range []string{"redis", "bad", ""} {
		if _, _, ok := idsOf(passwd, name); ok {
			t.Errorf("%q has ids", name)
		}
	}
}
