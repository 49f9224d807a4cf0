package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"minibot/control"
	"minibot/hint"
	"minibot/launchd"
)

// crowd is a manager that tells when two load or unload at a time.
type crowd struct {
	*fake
	mu           sync.Mutex // over fake
	inside, most atomic.Int32
	entered      chan struct{} // gets one for each that is inside
	leave        chan struct{} // lets one out
}

func (c *crowd) in() {
	if n := c.inside.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	c.entered <- struct{}{}
	<-c.leave
	c.inside.Add(-1)
}

func (c *crowd) Load(ctx context.Context, report func(string)) error {
	c.in()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fake.Load(ctx, report)
}

func (c *crowd) Unload(ctx context.Context, report func(string)) error {
	c.in()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fake.Unload(ctx, report)
}

func (c *crowd) State(ctx context.Context) (launchd.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fake.State(ctx)
}

func (c *crowd) Status(ctx context.Context) (control.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fake.Status(ctx)
}

// TestTwoAtATimeTakeTurns has an install that is in the middle of it, and then an install or an uninstall beside it.
func TestTwoAtATimeTakeTurns(t *testing.T) {
	for _, second := range []string{"install", "uninstall"} {
		m, i := at(t)
		c := &crowd{fake: m, entered: make(chan struct{}, 2), leave: make(chan struct{}, 2)}
		i.Manager, i.Status = c, c.Status
		other := i.Install
		if second == "uninstall" {
			other = (&Removal{Paths: i.Paths, Manager: c, Keep: true}).Uninstall
		}
		results, waits := make(chan error, 2), make(chan string, 10)
		go func() { results <- i.Install(t.Context(), Sequence{}) }()
		<-c.entered
		go func() {
			results <- other(t.Context(), Sequence{Report: func(_, message string) { waits <- message }})
		}()
		for waiting := false; !waiting; {
			select {
			case message := <-waits:
				waiting = strings.HasPrefix(message, "wait until another install")
			case <-c.entered:
				t.Fatalf("two at a time: an install and an %s", second)
			}
		}
		c.leave <- struct{}{}
		if second == "uninstall" {
			<-c.entered
			c.leave <- struct{}{}
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("beside an %s: %v", second, err)
			}
		}
		if m.loads != 1 {
			t.Errorf("beside an %s: loaded %d times", second, m.loads)
		}
		if most := c.most.Load(); most != 1 {
			t.Errorf("beside an %s: %d at a time", second, most)
		}
	}
}

// TestWaitingForATurnEnds has somebody hold the folder for ever.
func TestWaitingForATurnEnds(t *testing.T) {
	folder, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = oneAtATime(ctx, filepath.Join(folder.Name(), "unit"), func(string) { cancel() }, func() error { t.Error("called"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDefinitionThatIsAFolder is left where it is.
func TestDefinitionThatIsAFolder(t *testing.T) {
	m, i := at(t)
	if err := os.MkdirAll(m.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := i.Check(t.Context()); err == nil || !strings.HasPrefix(hint.Of(err), "move it away: `mv ") {
		t.Errorf("%v, %s", err, hint.Of(err))
	}
	if got, err := outcomes(t, false, (&Removal{Paths: i.Paths, Manager: m}).Uninstall); err != nil || got[2] != "definition already" || !exists(m.path) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDefinitionThatIsASymlink is replaced and removed; what it names stays as it is.
func TestDefinitionThatIsASymlink(t *testing.T) {
	m, i := at(t)
	mine := filepath.Join(t.TempDir(), "mine")
	writeFile(t, mine, "mine", 0o600)
	plant := func() {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(m.path), 0o700), os.Symlink(mine, m.path)); err != nil {
			t.Fatal(err)
		}
	}
	plant()
	if _, err := outcomes(t, false, i.Install); err != nil || m.running != m.want {
		t.Errorf("%v, running %q", err, m.running)
	}
	if err := os.Remove(m.path); err != nil {
		t.Fatal(err)
	}
	plant()
	if _, err := outcomes(t, false, (&Removal{Paths: i.Paths, Manager: m, Keep: true}).Uninstall); err != nil || exists(m.path) {
		t.Errorf("uninstall: %v", err)
	}
	if text, err := os.ReadFile(mine); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}
