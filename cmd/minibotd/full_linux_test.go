package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minibot/control"
)

// onSmallDisk moves an installation to a disk of its own, of 512 KiB.
func (in *installation) onSmallDisk() {
	in.t.Helper()
	files := map[string]string{}
	for _, name := range []string{"config.toml", "compose.yaml"} {
		text, err := os.ReadFile(in.file(name))
		if err != nil {
			in.t.Fatal(err)
		}
		files[name] = string(text)
	}
	if err := unix.Mount("tmpfs", in.home, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		in.t.Fatalf("mount a small disk, as only root can: %v", err)
	}
	in.t.Cleanup(func() {
		if err := unix.Unmount(in.home, unix.MNT_DETACH); err != nil {
			in.t.Error(err)
		}
	})
	for name, text := range files {
		in.write(name, text)
	}
}

// fill leaves no byte of the disk free.
func (in *installation) fill() {
	in.t.Helper()
	f, err := os.OpenFile(in.file("ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		in.t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		in.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		in.t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	in := install(t, "", oneCompose, nil)
	in.onSmallDisk()
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	in.fill()
	asBefore := func() {
		t.Helper()
		in.healthy(60 * time.Second)
		if got := in.has("a"); got != tinyCanary {
			t.Errorf("a has %q", got)
		}
		// The last page of the event log may have room for the record: without it, there is no value.
		if r := in.run("", "mb-secrets", "get", "K"); (r.code != 0 || r.stdout != tinyCanary) &&
			(r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "cannot be recorded") || !strings.Contains(r.stderr, "no space left")) {
			t.Errorf("get: exit %d, %q, %s", r.code, r.stdout, r.stderr)
		}
	}
	in.fails(4, "canary-no-room", "mb-secrets", []string{"set", "K"}, "no space left", "rotation.jsonl")
	in.fails(4, strings.Repeat("canary64", 8<<10), "mb-secrets", []string{"set", "K"}, "no space left", "rotation.jsonl")
	in.fails(1, "", "minibotd", []string{"stop", "a"}, "no space left")
	asBefore()
	before := in.started("a")
	in.docker("kill", in.container("a"))
	in.restarted("a", before)
	in.fill()
	if out := in.must("", "minibotd", "events"); !strings.Contains(out, "recovered") {
		t.Errorf("the events that found no room are not shown: %s", out)
	}
	before = in.started("a")
	in.term()
	in.fill()
	in.fails(1, "canary-no-room", "mb-secrets", []string{"set", "K"}, "no room for", "store.age")
	if got := in.must("", "mb-secrets", "get", "K"); got != tinyCanary {
		t.Errorf("the store has %q", got)
	}
	in.start()
	asBefore()
	if in.started("a") != before {
		t.Error("a was restarted")
	}
	in.kill()
	in.fill()
	in.start()
	asBefore()
	if err := os.Remove(in.file("ballast")); err != nil {
		t.Fatal(err)
	}
	in.must("canary-with-room", "mb-secrets", "set", "K")
	if got := in.has("a"); got != "canary-with-room" {
		t.Errorf("a has %q", got)
	}
	in.until("healthy", time.Second, func(s control.Status) bool { return s.Phase == control.PhaseHealthy })
}

// A directory that cannot be written is the disk's fault at worst: what runs goes on, and what cannot be stored is refused.
func TestHomeReadOnly(t *testing.T) {
	t.Parallel()
	in := install(t, "", oneCompose, nil)
	in.onSmallDisk()
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	if err := errors.Join(unix.Mount(in.home, in.home, "", unix.MS_BIND, ""),
		unix.Mount("", in.home, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	in.fails(4, "canary-not-stored", "mb-secrets", []string{"set", "K"}, "store.age")
	before := in.started("a")
	in.docker("kill", in.container("a"))
	in.restarted("a", before)
	if got := in.has("a"); got != tinyCanary {
		t.Errorf("a has %q", got)
	}
	in.kill()
	in.fails(1, "", "minibotd", []string{"run"}, "read-only")
	if err := unix.Unmount(in.home, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	in.start()
	in.healthy(60 * time.Second)
}
