package security_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/secrets/security/securitytest"
	"minibot/secrets/security/securitytest/standin"
)

// The test binary plays a process that uses the store: the variables say what it does, and with which program.
const (
	partVariable    = "SECURITY_TEST_PART"
	programVariable = "SECURITY_TEST_PROGRAM"
)

// Values of a few parts each, so that every step of writing them can be the last one.
var (
	longOld = strings.Repeat("canary-old\n", 400)
	longNew = strings.Repeat("canary-new\xff", 400)
)

// play writes longNew, unless it is killed.
func play(string) int {
	ctx := context.Background()
	s, err := security.Open(ctx, security.Options{Program: os.Getenv(programVariable)})
	if err == nil {
		var v secrets.Value
		if v, err = secrets.NewValue([]byte(longNew)); err == nil {
			err = s.Put(ctx, "A", secrets.Current, v)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// copyOf is a state that later changes of state do not reach.
func copyOf(t testing.TB, state *standin.State) *standin.State {
	t.Helper()
	content, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	fresh := &standin.State{}
	if err := json.Unmarshal(content, fresh); err != nil {
		t.Fatal(err)
	}
	return fresh
}

// mustHoldOneOf checks what a crash has left, and that nothing of it stays after the next Put.
func mustHoldOneOf(t *testing.T, store *security.Store, s *securitytest.Standin, old, fresh string) {
	t.Helper()
	item, err := store.Get(t.Context(), "A", secrets.Current)
	switch got := string(item.Value.Reveal()); {
	case errors.Is(err, secrets.ErrNotFound) && (old == "" || fresh == ""):
	case err != nil:
		t.Errorf("Get after a crash: %v", err)
	case got != old && got != fresh:
		t.Errorf("neither the old value nor the new one: %.20q, %d bytes", got, len(got))
	}
	put(t, store, "A", "canary-after")
	if items := s.Items(); len(items) != 2+otherParts {
		t.Errorf("after the next Put there are %d items, want 2 and the %d parts of the other one", len(items), otherParts)
	}
}

// otherParts is how many parts longOld has.
const otherParts = 2

// TestCrash ends every process at the n-th command, until the operation needs fewer.
func TestCrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, fresh string }{
		"short to long": {"canary-short", longNew},
		"long to long":  {longOld, longNew},
		"long to short": {longOld, "canary-short"},
		"long to none":  {longOld, ""},
	} {
		t.Run(name, func(t *testing.T) {
			store, s := open(t)
			put(t, store, "A_", longOld)
			if c.old != "" {
				put(t, store, "A", c.old)
			}
			before := copyOf(t, s.State())
			for n := 0; ; n++ {
				s.Set(func(state *standin.State) { *state = *copyOf(t, before); state.DieAfter = &n })
				var err error
				if c.fresh == "" {
					err = store.Delete(t.Context(), "A", secrets.Current)
				} else {
					err = store.Put(t.Context(), "A", secrets.Current, value(t, c.fresh))
				}
				died := *s.State().DieAfter == 0
				s.Set(func(state *standin.State) { state.DieAfter = nil })
				if err != nil {
					mustFail(t, fmt.Sprint("after ", n), err, secrets.ErrUnavailable)
				}
				mustHoldOneOf(t, store, s, c.old, c.fresh)
				if t.Failed() || !died && err == nil {
					mustHold(t, store, "A_", longOld)
					if n < 4 {
						t.Errorf("only %d commands", n)
					}
					return
				}
			}
		})
	}
}

// TestProcessKilled kills the process that uses the store at its n-th command; what it has begun goes on without it.
func TestProcessKilled(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	put(t, store, "A_", longOld)
	put(t, store, "A", longOld)
	before := copyOf(t, s.State())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n += 3 {
		s.Set(func(state *standin.State) { *state = *copyOf(t, before); state.DieAfter, state.KillParent = &n, true })
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), partVariable+"=put", programVariable+"="+s.Program)
		out, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			t.Errorf("the process says %s", lines.Text())
		}
		err = cmd.Wait()
		s.Wait()
		s.Set(func(state *standin.State) { state.DieAfter, state.KillParent = nil, false })
		mustHoldOneOf(t, store, s, longOld, longNew)
		if t.Failed() || err == nil {
			return
		}
	}
}

// TestDamage: a value whose parts are not all there, or not the right ones, is damaged, and never another value.
func TestDamage(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	put(t, store, "A", longOld)
	before := copyOf(t, s.State())
	head := func(state *standin.State) *standin.Item { return state.Keychains[0].Items[otherParts] }
	part := func(state *standin.State, n int) *standin.Item { return state.Keychains[0].Items[n] }
	for name, damage := range map[string]func(*standin.State){
		"a part is missing":   func(state *standin.State) { part(state, 1).Account = "A.gone" },
		"the last is missing": func(state *standin.State) { part(state, otherParts-1).Account = "A.gone" },
		"parts change places": func(state *standin.State) {
			a, b := part(state, 0), part(state, 1)
			a.Value, b.Value = b.Value, a.Value
		},
		"a part is another":   func(state *standin.State) { part(state, 0).Value[5] ^= 1 },
		"a part is cut":       func(state *standin.State) { p := part(state, 0); p.Value = p.Value[:len(p.Value)-4] },
		"a part is empty":     func(state *standin.State) { part(state, 0).Value = nil },
		"a part is no base64": func(state *standin.State) { part(state, 0).Value = []byte("canary ?") },
		"the head says less": func(state *standin.State) {
			h := head(state)
			h.Value = []byte(strings.Replace(string(h.Value), ":2:", ":1:", 1))
		},
		"the head is cut":       func(state *standin.State) { h := head(state); h.Value = h.Value[:len(h.Value)-1] },
		"the head has no parts": func(state *standin.State) { head(state).Value = []byte("minibot-parts:") },
		"a later version": func(state *standin.State) {
			h := head(state)
			h.Value = []byte(strings.Replace(string(h.Value), ":1:", ":2:", 1))
		},
		"no base64":         func(state *standin.State) { head(state).Value = []byte("minibot-base64:canary?") },
		"loose base64":      func(state *standin.State) { head(state).Value = []byte("minibot-base64:aGl=") },
		"base64 of nothing": func(state *standin.State) { head(state).Value = []byte("minibot-base64:") },
	} {
		s.Set(func(state *standin.State) { *state = *copyOf(t, before); damage(state) })
		_, err := store.Get(t.Context(), "A", secrets.Current)
		mustFail(t, name, err, secrets.ErrDamaged)
		put(t, store, "A", "canary-mended")
	}
}

// TestReadersOfLongValues never see anything but whole values while they are replaced.
func TestReadersOfLongValues(t *testing.T) {
	t.Parallel()
	store, _ := open(t)
	values := []secrets.Value{value(t, longOld), value(t, longNew)}
	put(t, store, "A", longOld)
	ctx, done := t.Context(), make(chan error)
	go func() {
		var err error
		for i := range 6 {
			err = errors.Join(err, store.Put(ctx, "A", secrets.Current, values[i%2]))
		}
		done <- err
	}()
	for {
		item, err := store.Get(ctx, "A", secrets.Current)
		if err != nil || !item.Value.Equal(values[0]) && !item.Value.Equal(values[1]) {
			t.Errorf("Get while it is replaced: %v", err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Put: %v", err)
			}
			return
		default:
		}
	}
}
