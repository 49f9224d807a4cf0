package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// guarded is a store in which some items may not be read, and that counts who tries.
type guarded struct {
	*secrets.Memory
	denied map[secrets.Name]bool
	asked  int
}

func (g *guarded) Get(ctx context.Context, name secrets.Name, slot secrets.Slot) (secrets.Item, error) {
	if g.denied[name] {
		g.asked++
		return secrets.Item{}, hint.Wrap(secrets.ErrDenied, "answer the dialog")
	}
	return g.Memory.Get(ctx, name, slot)
}

const twoSecrets = `name: test
services:
  s:
    image: example/s
    secrets: [A, B]
secrets:
  A: { environment: A }
  B: { environment: B }
`

// loaded is a daemon that has read its compose file and its store.
func loaded(t *testing.T) (*daemon, *guarded) {
	t.Helper()
	g := &guarded{Memory: secrets.NewMemory(), denied: map[secrets.Name]bool{}}
	d := testDaemon(t, nil)
	if err := os.WriteFile(d.paths.Compose, []byte(twoSecrets), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[secrets.Name]string{"A": "canary-a", "B": "canary-b"} {
		g.put(t, name, plain)
	}
	d.store.set(g, nil)
	if _, _, err := d.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d, g
}

func (g *guarded) put(t *testing.T, name secrets.Name, plain string) {
	t.Helper()
	value, err := secrets.NewValue([]byte(plain))
	if err == nil {
		err = g.Put(t.Context(), name, secrets.Current, value)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnItemThatMayNotBeReadAnyMore checks that somebody who changed an item in the Keychain is asked once, and that the
// other secrets go on.
func TestAnItemThatMayNotBeReadAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, g := loaded(t)
		<-time.After(time.Minute) // the items are no longer young
		g.put(t, "A", "canary-by-hand")
		g.denied["A"] = true
		said := func(string, string) {}
		for range 3 {
			if _, err := d.takeByHand(t.Context(), said); err != nil {
				t.Fatal(err)
			}
			g.put(t, "B", "canary-b-new")
			if _, err := d.update(t.Context()); err != nil {
				t.Fatalf("another secret cannot be read either: %v", err)
			}
		}
		if g.asked != 1 {
			t.Errorf("asked %d times", g.asked)
		}
		d.mu.Lock()
		a, b := string(d.values["A"].Reveal()), string(d.values["B"].Reveal())
		d.mu.Unlock()
		if a != "canary-a" || b != "canary-b-new" {
			t.Errorf("in force: %q, %q", a, b)
		}
		var events strings.Builder
		if err := d.events.Read(t.Context(), control.EventQuery{}, func(e control.Event) error { events.WriteString(e.Message + "\n"); return nil }); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(events.String(), "mb-secrets set A stores it as minibot's own"); n != 1 {
			t.Errorf("said %d times:\n%s", n, events.String())
		}
		<-time.After(time.Minute)
		g.put(t, "A", "canary-by-hand-again") // another date: worth another try
		if _, err := d.takeByHand(t.Context(), said); err != nil || g.asked != 2 {
			t.Errorf("asked %d times: %v", g.asked, err)
		}
	})
}

// TestAFirstLookNeedsEveryItem checks that a value which is not in memory is not made up.
func TestAFirstLookNeedsEveryItem(t *testing.T) {
	d, g := loaded(t)
	g.denied["A"] = true
	d.mu.Lock()
	d.values = nil
	d.mu.Unlock()
	if _, _, err := d.refresh(t.Context()); !errors.Is(err, secrets.ErrDenied) || hint.Of(err) == "" {
		t.Errorf("got %v", err)
	}
}

// TestLooksReadNoValues checks that a look at a store in which nothing happened reads no value.
func TestLooksReadNoValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, g := loaded(t)
		<-time.After(time.Minute)
		if _, err := d.takeByHand(t.Context(), func(string, string) {}); err != nil { // they were young at the first look
			t.Fatal(err)
		}
		g.denied["A"], g.denied["B"] = true, true
		for range 3 {
			if changed, err := d.takeByHand(t.Context(), func(string, string) {}); changed || err != nil || g.asked > 0 {
				t.Fatalf("changed %v, %v, %d values were asked for", changed, err, g.asked)
			}
		}
	})
}

// TestADefinitionThatCameBeforeTheStore checks that a compose file which was read while the store was locked is created once its values
// are there, whatever was asked for meanwhile.
func TestADefinitionThatCameBeforeTheStore(t *testing.T) {
	d, g := loaded(t)
	before := d.creates
	g.Lock()
	if err := os.WriteFile(d.paths.Compose, []byte(strings.Replace(twoSecrets, "services:", "volumes: { v: {} }\nservices:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.refresh(t.Context()); !errors.Is(err, secrets.ErrLocked) {
		t.Fatal(err)
	}
	d.mu.Lock()
	created := d.wanted().Create // for an order that comes now
	d.mu.Unlock()
	if created != before {
		t.Errorf("definition %d is to be created, and what would be is definition %d", created, before)
	}
	g.Unlock()
	for range 2 {
		if _, _, err := d.refresh(t.Context()); err != nil || d.creates != before+1 {
			t.Errorf("definition %d after %d: %v", d.creates, before, err)
		}
	}
}

// TestDeniedIsAskedForRarely checks that a dialog which somebody has refused does not come back every ten seconds.
func TestDeniedIsAskedForRarely(t *testing.T) {
	unanswered := fmt.Errorf("%w: %w", secrets.ErrDenied, context.DeadlineExceeded)
	for _, test := range []struct {
		kind string
		err  error
		want time.Duration
	}{
		{config.StoreSecurity, secrets.ErrDenied, waitDenied}, {config.StoreKeychain, secrets.ErrDenied, waitDenied}, {config.StoreAge, secrets.ErrDenied, waitFirst},
		{config.StoreSecurity, unanswered, waitFirst}, {config.StoreKeychain, unanswered, waitFirst},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var at []time.Time
			d := testDaemon(t, func(context.Context, string) (secrets.Store, error) {
				if at = append(at, time.Now()); len(at) == 2 {
					cancel()
				}
				return nil, test.err
			})
			d.kind = test.kind
			if err := d.Serve(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if got := at[1].Sub(at[0]); got != test.want {
				t.Errorf("%s, %v: asked again after %v, want %v", test.kind, test.err, got, test.want)
			}
		})
	}
}
