package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minibot/config"
	"minibot/control"
	"minibot/hint"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/supervisor"
)

func TestHowAnOperationEnds(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		as   string
	}{
		{nil, 0, ""},
		{fmt.Errorf("change A: %w: %w", rotation.ErrRolledBack, errors.New("no")), 4, control.CodeRolledBack},
		{hint.Wrap(fmt.Errorf("%w: no", rotation.ErrUnfinished), "minibotd reload"), 5, control.CodeRecovery},
		{errors.Join(rotation.ErrRolledBack, rotation.ErrUnfinished), 4, control.CodeRolledBack},
		{fmt.Errorf("not settled: %w", supervisor.ErrEnded), 1, control.CodeStopping},
		{secrets.ErrLocked, 7, control.CodeLocked},
		{errors.New("anything"), 1, control.CodeFailed},
	} {
		err := ending(test.err)
		if got := control.ExitCode(err); got != test.code {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.code)
		}
		if err == nil {
			continue
		}
		wire := control.AsError(err)
		if wire.Code != test.as || wire.Message != test.err.Error() || wire.HintMsg != hint.Of(test.err) || !errors.Is(err, test.err) {
			t.Errorf("%v: over the wire as %+v", test.err, wire)
		}
	}
}

func TestStoreState(t *testing.T) {
	for want, err := range map[string]error{
		"missing": fmt.Errorf("open: %w", secrets.ErrNoStore), "denied": secrets.ErrDenied, "locked": secrets.ErrLocked, "error": secrets.ErrDamaged,
	} {
		if got := storeState(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := storeState(nil); got != "locked" {
		t.Errorf("before the first attempt: %q", got)
	}
}

func TestEventText(t *testing.T) {
	for want, e := range map[string]supervisor.Event{
		"restart, attempt 2: unhealthy":           {Kind: supervisor.EventHeal, Action: supervisor.ActionRestart, Attempt: 2, Reason: "unhealthy"},
		"start done in 1.235s":                    {Kind: supervisor.EventDone, Action: supervisor.ActionStart, Latency: 1234567 * time.Microsecond},
		"create failed: no image (pull it)":       {Kind: supervisor.EventFailed, Action: supervisor.ActionCreate, Reason: "no image", Hint: "pull it"},
		"recovered after 2s":                      {Kind: supervisor.EventRecovered, Latency: 2 * time.Second},
		"exited with 1":                           {Kind: supervisor.EventExit, Reason: "exited with 1"},
		"healthy":                                 {Kind: supervisor.EventHealthy},
		"secret changed":                          {Kind: supervisor.EventKind("restart"), Action: supervisor.ActionRestart, Reason: "secret changed"},
		"exited with 1; 5 failed attempts (look)": {Kind: supervisor.EventDegraded, Reason: "exited with 1; 5 failed attempts", Hint: "look"},
	} {
		if got := eventText(e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// closing is a store that counts how often it was closed.
type closing struct {
	secrets.Store
	closed int
}

func (c *closing) Close() error {
	c.closed++
	return nil
}

func TestLateStore(t *testing.T) {
	late := newLateStore()
	ctx := t.Context()
	calls := map[string]func() error{
		"get":     func() error { _, err := late.Get(ctx, "A", secrets.Current); return err },
		"put":     func() error { return late.Put(ctx, "A", secrets.Current, secrets.Value{}) },
		"delete":  func() error { return late.Delete(ctx, "A", secrets.Current) },
		"list":    func() error { _, err := late.List(ctx); return err },
		"promote": func() error { return late.Promote(ctx, "A") },
	}
	all := func(when string, want error) {
		t.Helper()
		for name, call := range calls {
			if err := call(); !errors.Is(err, want) {
				t.Errorf("%s: %s: got %v, want %v", when, name, err, want)
			}
		}
	}
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := late.List(impatient); !errors.Is(err, context.Canceled) || hint.Of(err) == "" {
		t.Error("before the first attempt:", err)
	}
	late.set(nil, hint.Wrap(secrets.ErrNoStore, "mb-secrets init"))
	all("without a store", secrets.ErrNoStore)
	store := &closing{Store: secrets.NewMemory()}
	late.set(store, nil)
	if _, err := late.List(ctx); err != nil {
		t.Error("once it is open:", err)
	}
	if err := errors.Join(late.close(), late.close()); err != nil || store.closed != 1 {
		t.Errorf("closed %d times: %v", store.closed, err)
	}
	all("once it is closed", secrets.ErrLocked)
}

func TestNothingThatIsSecretGoesOverTheSocket(t *testing.T) {
	d := testDaemon(t, nil)
	home, err := os.MkdirTemp("", "mb-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	listener, err := control.Listen(home + "/run/s")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if err := d.server().Serve(t.Context(), listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(group.Wait)
	store := secrets.NewMemory()
	for slot, text := range map[secrets.Slot]string{secrets.Current: "canary-OUTCOME", secrets.Pending: "canary-SECOND", secrets.Previous: "canary-FORMER"} {
		value, err := secrets.NewValue([]byte(text))
		if err = errors.Join(err, store.Put(t.Context(), "K", slot, value)); err != nil {
			t.Fatal(err)
		}
	}
	d.store.set(store, nil)
	for _, slot := range secrets.Slots { // whoever reads one: it is known from then on, whatever its slot
		if _, err := d.store.Get(t.Context(), "K", slot); err != nil {
			t.Fatal(err)
		}
	}
	client := &control.Client{Socket: home + "/run/s"}
	d.setPhase(control.PhaseDegraded, errors.New("canary-OUTCOME canary-SECOND canary-FORMER"))
	status, err := client.Status(t.Context())
	if err != nil || status.Reason != "[redacted] [redacted] [redacted]" {
		t.Errorf("status says %q, %v", status.Reason, err)
	}
	count := 0
	if err := client.Events(t.Context(), control.EventQuery{}, func(e control.Event) error {
		count++
		if strings.Contains(e.Message, "canary") {
			t.Errorf("event %+v", e)
		}
		return nil
	}); err != nil || count == 0 {
		t.Error(count, err)
	}
}

// testDaemon is one without an engine, a compose file and, until opens says otherwise, a store.
func testDaemon(t *testing.T, opens opener) *daemon {
	t.Helper()
	paths, err := config.NewPaths(t.TempDir())
	if err == nil {
		err = config.EnsureHome(paths)
	}
	if err != nil {
		t.Fatal(err)
	}
	events, err := control.OpenEventLog(paths.Events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := events.Close(); err != nil {
			t.Error(err)
		}
	})
	redact := &secrets.Redaction{}
	events.Redact = redact
	journal, err := openJournal(paths.Rotation, events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() }) // of this test alone
	d, err := newDaemon(config.Default(), paths, slog.New(slog.DiscardHandler), events, redact, opens, journal)
	if err != nil {
		t.Fatal(err)
	}
	d.watch = unwatched
	return d
}

// unwatched is watchFile where nothing ever tells of a change: a real one would keep a bubble's clock from going on.
func unwatched(ctx context.Context, _ string, _ func()) error {
	<-ctx.Done()
	return nil
}

func TestRequestsEndTheWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, opened := 0, &closing{Store: secrets.NewMemory()}
		d := testDaemon(t, func(context.Context, string) (secrets.Store, error) {
			if attempts++; attempts < 5 {
				return nil, hint.Wrap(secrets.ErrNoStore, "mb-secrets init")
			}
			return opened, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		hangup := make(chan struct{}, 1)
		go func() { ended <- d.Serve(ctx, hangup) }()
		synctest.Wait() // the first attempt has failed
		begin := time.Now()
		hangup <- struct{}{} // 2
		synctest.Wait()
		if _, err := d.Secrets(ctx); !errors.Is(err, secrets.ErrNoStore) { // 3
			t.Error("list:", err)
		}
		err := d.Operate(ctx, control.Operation{Verb: control.VerbReload}, func(control.Progress) {}) // 4
		if !errors.Is(err, secrets.ErrNoStore) || hint.Of(err) != "mb-secrets init" {
			t.Error("reload:", err)
		}
		if status, err := d.Status(ctx); err != nil || status.Phase != control.PhaseWaitingForStore || status.Store.State != "missing" || status.Hint != "mb-secrets init" {
			t.Errorf("%+v, %v", status, err)
		}
		err = d.Change(ctx, control.ChangeOrder{Changes: []control.Change{{Name: "A", Value: []byte("canary-A")}}}, func(control.Progress) {}) // 5, and the compose file
		if err == nil || !strings.Contains(err.Error(), "compose.yaml") || hint.Of(err) == "" {
			t.Error("change:", err)
		}
		if list, err := opened.List(ctx); err != nil || len(list) > 0 {
			t.Errorf("what is not known to be declared was stored: %v, %v", list, err)
		}
		if status, err := d.Status(ctx); err != nil || status.Phase != control.PhaseDegraded || status.Store.State != "open" {
			t.Errorf("%+v, %v", status, err)
		}
		if attempts != 5 || time.Since(begin) > 0 {
			t.Errorf("%d attempts in %v", attempts, time.Since(begin))
		}
		cancel()
		if err := errors.Join(<-ended, d.close()); err != nil || opened.closed != 1 {
			t.Errorf("ended with %v; the store was closed %d times", err, opened.closed)
		}
	})
}

func TestTheWaitForTheStoreGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		d := testDaemon(t, func(context.Context, string) (secrets.Store, error) {
			if at = append(at, time.Since(begin)); len(at) == 7 {
				cancel()
			}
			return nil, secrets.ErrLocked
		})
		if err := d.Serve(ctx, nil); err != nil {
			t.Error(err)
		}
		if want := "[0s 1s 3s 7s 15s 25s 35s]"; fmt.Sprint(at) != want {
			t.Errorf("attempts at %v, want %s", at, want)
		}
	})
}

// A journal that cannot be read holds nobody up, and is kept.
func TestADamagedJournalIsPutAside(t *testing.T) {
	d := testDaemon(t, nil)
	const text = "rubbish\n{}\n"
	if err := os.WriteFile(d.paths.Rotation, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	journal, err := openJournal(d.paths.Rotation, d.events)
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	kept, err := filepath.Glob(d.paths.Rotation + ".damaged-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v %v", kept, err)
	}
	if data, err := os.ReadFile(kept[0]); err != nil || string(data) != text {
		t.Errorf("%q %v", data, err)
	}
	said := ""
	if err := d.Events(t.Context(), control.EventQuery{}, func(e control.Event) error { said += e.Message; return nil }); err != nil || !strings.Contains(said, kept[0]) {
		t.Errorf("the events say %q, %v", said, err)
	}
}
