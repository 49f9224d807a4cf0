package secretservice_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/secrets"
	"minibot/secrets/secretservice/keyringtest"
)

// secretTool runs secret-tool, which writes value from its stdin. An exit status other than 0 is failed.
func secretTool(t *testing.T, k *keyringtest.Session, stdin string, args ...string) (out string, failed bool) {
	t.Helper()
	program, err := exec.LookPath("secret-tool")
	if err != nil {
		t.Fatalf("%v: scripts/prepare installs it (libsecret-tools)", err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), k.Env()...)
	cmd.Stdin = strings.NewReader(stdin)
	said, err := cmd.Output()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return string(said), err != nil
}

// store adds an item by hand, with attributes beside the two that count.
func store(t *testing.T, k *keyringtest.Session, stdin string, extra ...string) {
	t.Helper()
	if out, failed := secretTool(t, k, stdin, append([]string{"store", "--label=by hand", "service", "minibot", "account", "A"}, extra...)...); failed {
		t.Fatalf("secret-tool store: %s", out)
	}
}

func TestSecretToolFindsWhatIsPut(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	for _, plain := range []string{"canary-ä\n", "canary-\xff\xfe"} {
		put(t, s, "A", plain)
		if out, failed := secretTool(t, k, "", "lookup", "service", "minibot", "account", "A"); failed || out != plain {
			t.Errorf("lookup: got %q, want %q", out, plain)
		}
	}
	out, _ := secretTool(t, k, "", "search", "--all", "service", "minibot")
	if !strings.Contains(out, "label = minibot: A\n") || strings.Count(out, "label = ") != 1 {
		t.Errorf("search: %s", out)
	}
	if _, failed := secretTool(t, k, "", "clear", "service", "minibot", "account", "A"); failed {
		t.Error("clear fails")
	}
	if _, err := s.Get(t.Context(), "A", secrets.Current); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("Get of what was cleared: %v", err)
	}
}

func TestWhatSecretToolHasStoredIsFoundAndUpdated(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	store(t, k, "canary-by-hand")
	mustHold(t, s, "A", "canary-by-hand")
	put(t, s, "A", "canary-new")
	store(t, k, "canary-by-hand-again")
	mustHold(t, s, "A", "canary-by-hand-again")
	put(t, s, "A", "canary-newer")
	out, _ := secretTool(t, k, "", "search", "--all", "service", "minibot")
	if strings.Count(out, "label = ") != 1 || !strings.Contains(out, "secret = canary-newer\n") {
		t.Errorf("not one item with the new value: %s", out)
	}
	// Nor with attributes of its own does it become a second item.
	put(t, s, "B", "canary-b")
	if err := s.Delete(t.Context(), "A", secrets.Current); err != nil {
		t.Fatal(err)
	}
	store(t, k, "canary-by-hand", "made-by", "hand")
	put(t, s, "A", "canary-new")
	out, _ = secretTool(t, k, "", "search", "--all", "service", "minibot", "account", "A")
	if strings.Count(out, "label = ") != 1 || !strings.Contains(out, "secret = canary-new\n") {
		t.Errorf("not one item with the new value: %s", out)
	}
	mustHold(t, s, "B", "canary-b")
}

func TestItemsThatNobodyCanUse(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	for plain, want := range map[string]error{"": secrets.ErrEmptyValue, "canary\x00": secrets.ErrNUL} {
		store(t, k, plain)
		item, err := s.Get(t.Context(), "A", secrets.Current)
		mustBe(t, fmt.Sprintf("Get of %d bytes", len(plain)), err, want, "mb-secrets set A")
		if !item.Value.IsZero() || errors.Is(err, secrets.ErrNotFound) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%d bytes: %v", len(plain), err)
		}
	}
	put(t, s, "A", "canary-new")
	mustHold(t, s, "A", "canary-new")
	if _, failed := secretTool(t, k, "canary", "store", "--label=x", "service", "minibot", "account", "no name"); failed {
		t.Error("secret-tool fails")
	}
	if entries, err := s.List(t.Context()); err != nil || len(entries) != 1 || entries[0].Name != "A" {
		t.Errorf("List: %v, %v", entries, err)
	}
}

// Of several items for one secret the one modified last counts. A Put leaves that one alone there, a Delete none.
func TestSeveralItemsForOneSecret(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	changed := func() int64 {
		entries, err := s.List(t.Context())
		if err != nil || len(entries) != 1 {
			t.Fatalf("List: %v, %v", entries, err)
		}
		item, err := s.Get(t.Context(), "A", secrets.Current)
		if err != nil || !item.Changed.Equal(entries[0].Changed) {
			t.Fatalf("Get and List do not mean the same item: %v", err)
		}
		return item.Changed.Unix()
	}
	several := func(newest string) {
		for _, kind := range []string{"1", "2", "3"} {
			store(t, k, "canary-"+kind, "kind", kind)
		}
		first, late := changed(), time.Now().Add(20*time.Second)
		for i := 0; time.Now().Before(late); i++ { // until one is a second younger than the others
			store(t, k, fmt.Sprintf("canary-%s-%d", newest, i), "kind", newest)
			if changed() > first {
				mustHold(t, s, "A", fmt.Sprintf("canary-%s-%d", newest, i))
				return
			}
		}
		t.Fatal("the date of what is read stays that of an older item")
	}
	for _, newest := range []string{"1", "3"} {
		several(newest)
		put(t, s, "A", "canary-put")
		out, _ := secretTool(t, k, "", "search", "--all", "service", "minibot", "account", "A")
		if strings.Count(out, "secret = ") != 1 || !strings.Contains(out, "secret = canary-put\n") {
			t.Errorf("not one item with the new value: %s", out)
		}
	}
	store(t, k, "canary-1", "kind", "1")
	store(t, k, "canary-2", "kind", "2")
	if err := s.Delete(t.Context(), "A", secrets.Current); err != nil {
		t.Fatal(err)
	}
	if out, _ := secretTool(t, k, "", "search", "--all", "service", "minibot"); out != "" {
		t.Errorf("something is left: %s", out)
	}
}

// Of two items of one second it is always the same one.
func TestItemsOfOneSecond(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	s := mustOpen(t, on(k))
	for _, kind := range []string{"2", "1", "3"} {
		store(t, k, "canary-"+kind, "kind", kind)
	}
	item, err := s.Get(t.Context(), "A", secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		mustHold(t, mustOpen(t, on(k)), "A", string(item.Value.Reveal()))
	}
}

// The test binary plays another process: the variable says for which part of the names it writes.
const partVariable = "SECRETSERVICE_TEST_PART"

const writes = 20

func TestMain(m *testing.M) {
	part := os.Getenv(partVariable)
	if part == "" {
		os.Exit(m.Run())
	}
	if err := write(part); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestProcessesWriteAtOnceAndNothingIsLost(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var running []*exec.Cmd
	var want []string
	for _, part := range []string{"A", "B"} {
		cmd := exec.Command(self)
		cmd.Env = append(append(os.Environ(), k.Env()...), partVariable+"="+part)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
		for i := range writes {
			want = append(want, fmt.Sprintf("%s_%02d", part, i))
		}
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	entries, err := mustOpen(t, on(k)).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, string(entry.Name))
	}
	if want = append(want, "SHARED"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	out, _ := secretTool(t, k, "", "search", "--all", "service", "minibot", "account", "SHARED")
	if strings.Count(out, "secret = ") != 1 {
		t.Errorf("the secret that both wrote has not one item: %s", out)
	}
}
