package agefile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"minibot/secrets"
)

const simulated = "/minibot"

// setUp returns a disk with the directories that are not the store's to make, and what the scenario finds, all durable.
func (c scenario) setUp(t testing.TB) *disk {
	t.Helper()
	d := newDisk(lies{})
	p := place{d, simulated}
	if err := errors.Join(makeDirectory(d, path.Dir(p.key())), c.prepare(p)); err != nil {
		t.Fatal(err)
	}
	if n := len(d.states()); n != 1 {
		t.Fatalf("%s: what is prepared is not durable: %d states", c.name, n)
	}
	return d
}

// moment is the disk at one moment of an operation.
type moment struct {
	disk  *disk
	ended bool // the operation has succeeded
}

// moments calls do, which succeeds, and returns the disk after each call that changed it, and at the end.
func (d *disk) moments(do func() error) (all []moment, err error) {
	d.watch = func() { all = append(all, moment{d.clone(), false}) }
	err = do()
	d.watch = nil
	return append(all, moment{d.clone(), true}), err
}

// powerFails takes the power away after each call of the operation, and at last after its end, and checks every disk that
// may then be found.
func (c scenario) powerFails(base *disk, lies lies) (checked int, err error) {
	all, opener, err := c.play(base, lies)
	if err != nil {
		return 0, err
	}
	seen := map[string]bool{}
	for i, m := range all {
		for _, d := range m.disk.states() {
			if state := fmt.Sprint(m.ended, d.print()); !seen[state] {
				seen[state] = true
				if err := c.survives(d, opener, m.ended); err != nil {
					return len(seen), fmt.Errorf("after change %d of %d: %w", i+1, len(all), err)
				}
			}
		}
	}
	return len(seen), nil
}

// play does the operation on a copy of base, on which the disk then lies. It returns what opened the store before, too.
func (c scenario) play(base *disk, lies lies) (all []moment, opener string, err error) {
	d := base.clone()
	p := place{d, simulated}
	if !c.missing {
		var before *Store
		if before, opener, err = c.reopen(p); err == nil {
			err = before.Close()
		}
		if err != nil {
			return nil, "", err
		}
	}
	s, err := c.start(p)
	if err != nil {
		return nil, "", err
	}
	d.lies = lies
	all, err = d.moments(func() error { return c.run(p, s) })
	if s != nil {
		err = errors.Join(err, s.Close())
	}
	return all, opener, err
}

func (c scenario) survives(d *disk, opener string, ended bool) error {
	p := place{d, simulated}
	if !ended {
		return c.found(p, opener, oldState|newState)
	}
	files := d.files()
	if _, ok := files[p.store()]; !ok {
		return errors.New("the store is gone")
	}
	if c.rekeys() {
		for name, content := range files {
			if strings.Contains(content, opener) {
				return fmt.Errorf("the old key is still in %s", name)
			}
		}
	}
	return c.found(p, opener, newState)
}

func TestPowerFailsAfterEachCall(t *testing.T) {
	for _, c := range scenarios {
		t.Run(c.name, func(t *testing.T) {
			checked, err := c.powerFails(c.setUp(t), lies{})
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d disks", checked)
		})
	}
}

// TestPowerFailsAfterAKill kills the operation after each call, and takes the power away after each call of the next writer.
func TestPowerFailsAfterAKill(t *testing.T) {
	for _, c := range scenarios {
		if c.passphrase != "" && !c.rekeys() {
			continue // it makes the same calls as with a key, and costs more
		}
		t.Run(c.name, func(t *testing.T) {
			killed, _, err := c.play(c.setUp(t), lies{})
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for i, k := range killed {
				if err := c.killedAndDark(k.disk, seen); err != nil {
					t.Errorf("killed after change %d of %d: %v", i+1, len(killed), err)
				}
			}
			t.Logf("%d disks", len(seen))
		})
	}
}

func (c scenario) killedAndDark(d *disk, seen map[string]bool) error {
	all, err := d.moments(func() error {
		s, err := c.openAny(place{d, simulated})
		if err != nil {
			return err
		}
		return errors.Join(putting("NEXT", "canary-next")(s), s.Close())
	})
	if err != nil {
		return err
	}
	for i, m := range all {
		for _, d := range m.disk.states() {
			state := fmt.Sprint(m.ended, d.print())
			if seen[state] {
				continue
			}
			seen[state] = true
			if err := c.survivesBoth(d, m.ended); err != nil {
				return fmt.Errorf("no power after change %d of %d: %w", i+1, len(all), err)
			}
		}
	}
	return nil
}

func (c scenario) openAny(p place) (*Store, error) {
	if c.missing {
		return p.open(c.passphrase, true)
	}
	s, _, err := c.reopen(p)
	return s, err
}

// survivesBoth checks that the store opens with what both the operation and the next writer leave alone, and with the next writer's
// value when that had ended.
func (c scenario) survivesBoth(d *disk, ended bool) error {
	p := place{d, simulated}
	s, err := c.openAny(p)
	if err != nil {
		return err
	}
	got, err := contents(s)
	if err != nil {
		return err
	}
	for name, value := range held {
		if c.after[name] == value && got[name] != value {
			return fmt.Errorf("%s is lost", name)
		}
	}
	if ended && got["NEXT current"] == "" {
		return errors.New("the next writer's value is lost")
	}
	return errors.Join(c.goesOn(p, s, got), s.Close())
}

// TestARekeyFollowsOnAKilledOne has a store open while another process rekeys it and is killed; then it rekeys, too, and is cut off.
func TestARekeyFollowsOnAKilledOne(t *testing.T) {
	for _, c := range scenarios {
		if !c.rekeys() || c.becomes != "" {
			continue
		}
		base, seen := c.setUp(t), map[string]bool{}
		killed, _, err := c.play(base, lies{})
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range killed {
			d := base.clone()
			s, err := c.start(place{d, simulated})
			if err != nil {
				t.Fatal(err)
			}
			*d = *k.disk.clone()
			all, err := d.moments(func() error { return rekeyTo("")(s) })
			if errors.Is(err, secrets.ErrDenied) || errors.Is(err, secrets.ErrLocked) {
				continue // it has a passphrase that this process never heard
			}
			check(t, c.name, err)
			for _, m := range all {
				for _, d := range m.disk.states() {
					state := d.print()
					if seen[state] {
						continue
					}
					seen[state] = true
					if err := c.survivesBoth(d, false); err != nil {
						t.Errorf("%s, killed after change %d of %d: %v", c.name, i+1, len(killed), err)
					}
				}
			}
			check(t, c.name, s.Close())
		}
	}
}

// TestPowerFailsOnADiskThatLies shows that the tests above can fail: what a writer owes to each call is lost without it.
func TestPowerFailsOnADiskThatLies(t *testing.T) {
	every := func(string) bool { return true }
	keysOnly := func(dir string) bool { return strings.HasSuffix(dir, "/keys") }
	homeOnly := func(dir string) bool { return strings.HasSuffix(dir, "/home") }
	for _, test := range []struct {
		name  string
		lies  lies
		spoil []string // the scenarios that it must spoil
	}{
		{"ignores the sync of files", lies{ignoresSync: true}, []string{"put", "put with a passphrase", "delete", "promote", "create", "rekey"}},
		{"syncs files after the rename", lies{syncsLate: true}, []string{"put", "delete", "create", "rekey", "rekey from passphrase to key"}},
		{"ignores the sync of directories", lies{ignoresDirSync: every}, []string{"put", "delete", "promote", "create", "rekey", "rekey to another passphrase"}},
		{"ignores the sync of the key's directory", lies{ignoresDirSync: keysOnly},
			[]string{"create", "rekey", "rekey from key to passphrase", "rekey from passphrase to key"}},
		{"ignores the sync of the store's directory", lies{ignoresDirSync: homeOnly},
			[]string{"put", "create", "rekey", "rekey from key to passphrase", "rekey from passphrase to key"}},
		{"ignores the sync of the directory above", lies{ignoresDirSync: func(dir string) bool { return dir == simulated }}, []string{"create", "create with a passphrase"}},
		{"removes before it renames", lies{removesFirst: true}, []string{"put", "delete", "rekey", "rekey from key to passphrase"}},
		{"writes into the file that is there", lies{copies: true}, []string{"put", "delete", "rekey", "rekey from key to passphrase"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, c := range scenarios {
				if !slices.Contains(test.spoil, c.name) {
					continue
				}
				if _, err := c.powerFails(c.setUp(t), test.lies); err == nil {
					t.Errorf("%s: nothing is lost", c.name)
				} else {
					t.Logf("%s: %v", c.name, err)
				}
			}
		})
	}
}
