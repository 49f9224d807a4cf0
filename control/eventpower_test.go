package control

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
)

// disk knows how much of each file was synced, by inode.
type disk struct {
	mu     sync.Mutex
	synced map[uint64]int64
	random *rand.Rand
}

func inode(info os.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func (d *disk) sync(f *os.File) error {
	info, err := f.Stat()
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.synced[inode(info)] = info.Size()
	}
	return err
}

// cut makes a copy of a folder as a power cut may leave it: of each file what was synced, and a part of the rest, which may be
// zeros.
func (d *disk) cut(t *testing.T, dir string) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		target := filepath.Join(to, strings.TrimPrefix(path, dir))
		if err != nil || entry.IsDir() {
			return errors.Join(err, os.MkdirAll(target, 0o700))
		}
		text, err := os.ReadFile(path)
		info, infoErr := entry.Info()
		if err = errors.Join(err, infoErr); err != nil {
			return err
		}
		keep := int(min(d.synced[inode(info)], int64(len(text))))
		keep += d.random.IntN(len(text) - keep + 1)
		if d.random.IntN(3) == 0 {
			clear(text[keep:]) // its length was written, its data were not
			keep = len(text)
		}
		return os.WriteFile(target, text[:keep], 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// At each step the power goes: what was synced is there, nothing twice, and of what is missing between the others it is said.
func TestAPowerCutLosesNothingThatWasSynced(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			l := openSmall(t, filepath.Join(dir, "events.jsonl"), 1500, 4)
			d := &disk{synced: map[uint64]int64{}, random: rand.New(rand.NewPCG(seed, 1))}
			var mu sync.Mutex
			durable, states := uint64(0), map[string]uint64{} // what must be there, by folder
			l.sync = func(f *os.File) error {
				newest := uint64(0)
				_, err := scanEvents(l.path, func(e Event) error { newest = e.Seq; return nil })
				err = errors.Join(err, d.sync(f))
				now, statErr := os.Stat(l.path)
				if info, err := f.Stat(); err == nil && statErr == nil && os.SameFile(info, now) { // the file itself: all until then is promised
					mu.Lock()
					defer mu.Unlock()
					durable = max(durable, newest)
				}
				return errors.Join(err, statErr)
			}
			l.at = func(string) error {
				mu.Lock()
				defer mu.Unlock()
				states[d.cut(t, dir)] = durable
				return nil
			}
			random := rand.New(rand.NewPCG(seed, 2))
			for i := range 60 {
				appendEvents(t, l, 1)
				if random.IntN(4) == 0 || i == 59 {
					tended()
				}
			}
			closeLog(t, l)
			for dir, durable := range states {
				again := openSmall(t, filepath.Join(dir, "events.jsonl"), 1500, 4)
				next := uint64(1)
				for _, e := range both(t, again, EventQuery{}) {
					if lost := strings.Contains(e.Message, "cannot be read"); e.Seq < next || lost && next <= durable || !lost && e.Seq != next {
						t.Errorf("seed %d: %+v comes, not %d; %d were synced", seed, e, next, durable)
					}
					next = e.Seq + 1
				}
				if next <= durable {
					t.Errorf("seed %d: %d are there, and %d were synced", seed, next-1, durable)
				}
				closeLog(t, again)
			}
			if len(states) < 15 {
				t.Errorf("only %d states", len(states))
			}
		})
	}
}
