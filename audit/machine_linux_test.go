package audit

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minibot/control"
)

// unprivileged takes this thread's power over files that are not its own, which root has. All below home, but not what is in kept, becomes
// what an ordinary user owns.
func unprivileged(t *testing.T, home string, kept ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	if err := os.Chmod(filepath.Dir(home), 0o755); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		for _, k := range kept {
			if path == k {
				return err
			}
		}
		return os.Lchown(path, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

func TestWhatCannotBeReadIsListed(t *testing.T) {
	a := clean(t)
	file, folder := filepath.Join(a.UserHome, ".netrc"), filepath.Join(a.Paths.Home, "closed")
	put(t, file, canary)
	put(t, filepath.Join(folder, "x"), canary)
	for _, path := range []string{file, folder} {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(folder, 0o700) })
	unprivileged(t, a.UserHome, file, folder)
	r := &run{Auditor: a, machine: *a.machine, report: func(control.Finding) error { return nil }, seen: map[fileID]bool{}}
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context) error{r.userFiles, r.ownFiles} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	said := strings.Join(r.summary.Incomplete, "\n")
	if !strings.Contains(said, ".netrc: permission denied") || !strings.Contains(said, "closed: permission denied") {
		t.Errorf("%q", said)
	}
}

func TestSwapOnADiskIsAFinding(t *testing.T) {
	const titles = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for text, want := range map[string]swapState{
		titles: swapOff,
		titles + "/dev/zram0 partition 1 0 100\n":                             swapOff,
		titles + "/swapfile file 1 0 -2\n":                                    swapOn,
		titles + "/dev/zram0 partition 1 0 100\n/dev/sda2 partition 1 0 -2\n": swapOn,
	} {
		table := filepath.Join(t.TempDir(), "swaps")
		put(t, table, text)
		if got, err := procSwap(table); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	a := clean(t)
	a.machine.swap = func() (swapState, error) { return swapOn, nil }
	all, _ := audit(t, a)
	if found := in(all, "swap-unprotected", "swap"); len(found) != 1 || found[0].Severity != control.SeverityMedium {
		t.Errorf("%+v", all)
	}
}

func TestAProcessOfAContainerIsKnownByItsControlGroup(t *testing.T) {
	root := t.TempDir()
	id := strings.Repeat("0123456789abcdef", 4)
	for name, text := range map[string]string{
		"7/status": "Name:\tx\nUid:\t0\t1000\t0\t0\n", "7/cmdline": "/bin/redis-server\x00", "7/environ": "P=" + canary + "\x00",
		"7/cgroup": "0::/system.slice/docker-" + id + ".scope\n",
		"8/status": "Uid:\t5\t5\t5\t5\n", "8/cmdline": "sshd\x00", // no environ: it has ended
		"9/status": "Uid:\t5\t5\t5\t5\n", "9/cmdline": "other\x00", "9/environ": "", "9/cgroup": "0::/docker/" + id + "\n",
		"self/status": "", "cpuinfo": "",
	} {
		put(t, filepath.Join(root, name), text)
	}
	var seen []process
	if err := procProcesses(root, 1000)(t.Context(), func(p process) error { seen = append(seen, p); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0].container != id || !seen[0].own || seen[0].name != "redis-server" || seen[1].own || seen[1].container != id {
		t.Errorf("%d processes: %+v", len(seen), seen)
	}
}
