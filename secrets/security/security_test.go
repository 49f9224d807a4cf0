package security_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/secrets/security/securitytest"
	"minibot/secrets/security/securitytest/standin"
	"minibot/secrets/storetest"
)

// built is the stand-in's program.
var built string

func TestMain(m *testing.M) {
	if part := os.Getenv(partVariable); part != "" {
		os.Exit(play(part))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if built = os.Getenv(programVariable); built != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "security-test-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		built, err = securitytest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func mustOpen(t testing.TB, o security.Options) *security.Store {
	t.Helper()
	s, err := security.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open returns a store on a new stand-in, whose processes must never show a canary.
func open(t testing.TB) (*security.Store, *securitytest.Standin) {
	t.Helper()
	standIn := securitytest.New(t, built)
	t.Cleanup(func() { standIn.MustKeepSecret("canary") })
	return mustOpen(t, security.Options{Program: standIn.Program}), standIn
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) storetest.Harness {
		store, s := open(t)
		return storetest.Harness{
			Store: store, Reopen: func() secrets.Store { return mustOpen(t, security.Options{Program: s.Program}) },
			Lock: s.Lock, Deny: s.Deny, Block: s.Block, Reads: s.Reads, SetClock: s.SetClock, AttributesReadable: true,
		}
	})
}

// TestOtherOptions: a service and a keychain of its own, while the program warns and speaks another language.
func TestOtherOptions(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	o := security.Options{Program: s.Program, Service: "minibot.staging", Keychain: keychainFile(t)}
	s.Set(func(state *standin.State) {
		state.Keychains = append(state.Keychains, &standin.Keychain{Path: o.Keychain})
		state.Messages = "find-generic-password: Das Objekt wurde nicht gefunden: returned 0"
		state.Fault = "chatty"
	})
	staging := mustOpen(t, o)
	long := strings.Repeat(`canary "long" \`, secrets.MaxValueSize/16)
	put(t, store, "A", "canary-current")
	for _, plain := range []string{"canary-a", long, "canary-b"} {
		put(t, staging, "A", plain)
		mustHold(t, staging, "A", plain)
	}
	put(t, staging, "A", long)
	if err := staging.Put(t.Context(), "A", secrets.Pending, value(t, long)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, store, "A", "canary-current")
	for s, want := range map[*security.Store]int{store: 1, staging: 2} {
		if entries, err := s.List(t.Context()); err != nil || len(entries) != want {
			t.Errorf("List: %v, %v", entries, err)
		}
	}
	if in := s.State().Keychains[0].Items; len(in) != 1 {
		t.Errorf("the default keychain has %d items", len(in))
	}
	s.Lock(true)
	_, err := staging.Get(t.Context(), "A", secrets.Current)
	mustFail(t, "locked", err, secrets.ErrLocked)
	_, err = staging.Get(t.Context(), "B", secrets.Current)
	mustFail(t, "missing", err, secrets.ErrNotFound)
	s.Lock(false)
	if err := errors.Join(staging.Delete(t.Context(), "A", secrets.Current), staging.Delete(t.Context(), "A", secrets.Pending)); err != nil {
		t.Fatal(err)
	}
	if left := len(s.Items()); left != 1 {
		t.Errorf("%d items are left, want the one of the other store", left)
	}
}

// keychainFile makes a file whose name needs quoting in every way.
func keychainFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), `a "b" \c 'd' ü.keychain-db`)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func value(t testing.TB, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t testing.TB, s secrets.Store, name secrets.Name, plain string) {
	t.Helper()
	if err := s.Put(t.Context(), name, secrets.Current, value(t, plain)); err != nil {
		t.Fatal(err)
	}
}

func mustHold(t testing.TB, s secrets.Store, name secrets.Name, want string) {
	t.Helper()
	item, err := s.Get(t.Context(), name, secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(item.Value.Reveal()); got != want {
		t.Fatalf("%s holds %.40q (%d bytes), want %.40q (%d bytes)", name, got, len(got), want, len(want))
	}
}

// mustFail checks an error's kind, its hint, and that it passes nothing on of what the program printed.
func mustFail(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
	if hint.Of(err) == "" && !errors.Is(want, secrets.ErrNotFound) {
		t.Errorf("%s: %v has no hint", what, err)
	}
	if text := err.Error() + hint.Of(err); strings.Contains(text, "canary") || strings.ContainsAny(text, "\n\x00") {
		t.Errorf("%s: %q shows what the program printed", what, text)
	}
}

func TestOpen(t *testing.T) {
	s := securitytest.New(t, built)
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		options security.Options
		want    error
	}{
		"no program":         {security.Options{Program: missing}, secrets.ErrUnavailable},
		"a directory":        {security.Options{Program: t.TempDir()}, secrets.ErrUnavailable},
		"no keychain file":   {security.Options{Program: s.Program, Keychain: missing}, secrets.ErrNoStore},
		"program fails":      {security.Options{Program: "/bin/false"}, secrets.ErrUnavailable},
		"no keychain at all": {security.Options{Program: "/bin/true"}, secrets.ErrNoStore},
	} {
		_, err := security.Open(t.Context(), c.options)
		mustFail(t, name, err, c.want)
	}
	for name, o := range map[string]security.Options{
		"relative program":  {Program: "security"},
		"service of two":    {Program: s.Program, Service: "a b"},
		"service with tail": {Program: s.Program, Service: "a\n"},
		"long service":      {Program: s.Program, Service: strings.Repeat("a", 65)},
		"relative keychain": {Program: s.Program, Keychain: "login.keychain"},
		"two lines":         {Program: s.Program, Keychain: "/a\nb"},
		"negative timeout":  {Program: s.Program, Timeout: -1},
	} {
		if _, err := security.Open(t.Context(), o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	long := security.Options{Program: s.Program, Keychain: "/" + strings.Repeat("a", 500)}
	if _, err := security.Open(t.Context(), long); err == nil || !strings.Contains(err.Error(), "at most 500 bytes") {
		t.Errorf("a path of 501 bytes: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := security.Open(cancelled, security.Options{Program: s.Program}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	s.Set(func(state *standin.State) { state.Keychains = nil })
	_, err := security.Open(t.Context(), security.Options{Program: s.Program})
	mustFail(t, "empty search list", err, secrets.ErrNoStore)
}

// TestHandTyped goes both ways between the store and a person's commands.
func TestHandTyped(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	typed := []string{
		"plain", " with spaces ", `"quoted" 'twice'`, `back\slash\\`, "pässwörd 😀", "\xff\xfe", "0x6869", "6869", "tab\tand\nnewline", "-w", "--", "$HOME `id`",
		`"`, `\`, "password: x", "find-generic-password: returned -25300",
		"minibot-base64:aGk=", "minibot-base64:", "minibot-parts:1:", "minibot-",
	}
	for i, plain := range typed {
		if strings.HasPrefix(plain, "minibot-") {
			continue // a marker that is typed by hand means what it says
		}
		name := secrets.Name(fmt.Sprintf("TYPED_%d", i))
		if _, errs, exit := s.Run("add-generic-password", "-s", "minibot", "-a", string(name), "-w", plain); exit != 0 {
			t.Fatalf("add: %s", errs)
		}
		mustHold(t, store, name, plain)
	}
	entries, err := store.List(t.Context())
	if err != nil || len(entries) != len(typed)-4 {
		t.Errorf("List: %d entries, %v", len(entries), err)
	}
	for i, plain := range typed {
		name := secrets.Name(fmt.Sprintf("WRITTEN_%d", i))
		put(t, store, name, plain)
		mustHold(t, store, name, plain)
		out, _, exit := s.Run("find-generic-password", "-s", "minibot", "-a", string(name), "-w")
		if exit != 0 {
			t.Fatalf("find exits %d", exit)
		}
		marked := strings.HasPrefix(plain, "minibot-base64:") || strings.HasPrefix(plain, "minibot-parts:")
		if ordinary := !marked && !strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r > '~' }); ordinary && out != plain+"\n" {
			t.Errorf("%q is found as %q", plain, out)
		} else if !ordinary && !strings.HasPrefix(out, "minibot-base64:") {
			t.Errorf("%q is found as %q, without a marker", plain, out)
		}
	}
	if _, _, exit := s.Run("add-generic-password", "-U", "-s", "minibot", "-a", "WRITTEN_0", "-w", "typed over it"); exit != 0 {
		t.Fatalf("update exits %d", exit)
	}
	mustHold(t, store, "WRITTEN_0", "typed over it")
	if _, _, exit := s.Run("delete-generic-password", "-s", "minibot", "-a", "WRITTEN_0"); exit != 0 {
		t.Fatalf("delete exits %d", exit)
	}
	_, err = store.Get(t.Context(), "WRITTEN_0", secrets.Current)
	mustFail(t, "deleted by hand", err, secrets.ErrNotFound)
}

func TestItemsOfOthers(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	put(t, store, "OURS", "canary")
	s.Add(standin.Item{Service: "minibot", Account: "lower", Value: []byte("x")})
	s.Add(standin.Item{Service: "minibot.parts", Account: "OURS.0123456789abcdef.000", Value: []byte("x")})
	s.Add(standin.Item{Service: "minibot.else", Account: "OTHER", Value: []byte("x")})
	s.Add(standin.Item{Service: "other", Account: "OTHER", Value: []byte("x")})
	s.Add(standin.Item{Service: "Überdienst", Account: "a\nkeychain: b", Label: "\"svce\"<blob>=\"minibot\"", Value: []byte("x")})
	s.Add(standin.Item{Class: "inet", Service: "minibot", Account: "INTERNET", Value: []byte("x")})
	s.Set(func(state *standin.State) {
		// The same name in a second keychain of the search list: the first one counts.
		later := time.Now().Add(time.Hour)
		state.Keychains = append(state.Keychains, &standin.Keychain{Path: "/second", Items: []*standin.Item{
			{Service: "minibot", Account: "OURS", Modified: later, Partition: standin.Tool, Value: []byte("canary-second")},
		}})
	})
	entries, err := store.List(t.Context())
	if err != nil || len(entries) != 1 || entries[0].Name != "OURS" || entries[0].Changed.After(time.Now()) {
		t.Errorf("List: %v, %v", entries, err)
	}
	// Delete empties the slot: in every keychain.
	if err := store.Delete(t.Context(), "OURS", secrets.Current); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), "OURS", secrets.Current); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}
	if len(s.Items()) != 5 {
		t.Errorf("%d items are left, want the other programs' 5", len(s.Items()))
	}
}

// TestAnotherProgramsItem: what another program wrote is neither read, replaced nor removed without a person.
func TestAnotherProgramsItem(t *testing.T) {
	t.Parallel()
	store, s := open(t)
	const team = "teamid:ABCDE12345"
	s.Add(standin.Item{Service: "minibot", Account: "FOREIGN", Partition: team, Value: []byte("canary-foreign")})
	try := func(what string, want error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if want == nil || !errors.Is(want, secrets.ErrDenied) {
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
		}
		defer cancel()
		_, err := store.Get(ctx, "FOREIGN", secrets.Current)
		mustFail(t, what+": Get", err, want)
		mustFail(t, what+": Put", store.Put(ctx, "FOREIGN", secrets.Current, value(t, "canary-new")), want)
		mustFail(t, what+": Delete", store.Delete(ctx, "FOREIGN", secrets.Current), want)
	}
	try("without a desktop", secrets.ErrLocked)
	s.Set(func(state *standin.State) { state.Desktop = true })
	try("a dialog that nobody answers", secrets.ErrDenied)
	if items := s.Items(); len(items) != 1 || items[0].Partition != team || string(items[0].Value) != "canary-foreign" {
		t.Error("the item has changed hands")
	}
	if entries, err := store.List(t.Context()); err != nil || len(entries) != 1 {
		t.Errorf("List: %v, %v", entries, err)
	}
}

// TestWhatTheProgramIsGiven: its arguments, its environment, and the commands that it must never get.
func TestWhatTheProgramIsGiven(t *testing.T) {
	t.Setenv("CANARY_VARIABLE", "canary-environment")
	t.Setenv("LANG", "de_DE.UTF-8")
	store, s := open(t)
	put(t, store, "SHORT", "canary-short")
	put(t, store, "LONG", strings.Repeat("canary-long", 5000))
	mustHold(t, store, "LONG", strings.Repeat("canary-long", 5000))
	if _, err := store.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Delete(t.Context(), "SHORT", secrets.Current), store.Delete(t.Context(), "LONG", secrets.Current)); err != nil {
		t.Fatal(err)
	}
	if left := len(s.Items()); left > 0 {
		t.Errorf("%d items are left", left)
	}
	starts := 0
	for _, e := range s.Record() {
		if e.Argv != nil {
			starts++
			if len(e.Argv) != 2 || e.Argv[1] != "-i" {
				t.Errorf("started with %q", e.Argv)
			}
			for _, variable := range e.Env {
				name, val, _ := strings.Cut(variable, "=")
				want := map[string]string{
					"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C",
					"HOME": os.Getenv("HOME"), "USER": os.Getenv("USER"), "LOGNAME": os.Getenv("LOGNAME"),
				}
				if plain, ok := want[name]; !ok || val != plain {
					t.Errorf("started with %s in its environment", name)
				}
			}
		}
		for i, word := range e.Command {
			if i > 0 && word == "-w" {
				break // a value may look like any flag
			}
			if word == "-A" || word == "-T" || word == "-d" || word == "-X" {
				t.Errorf("%s was given %s", e.Command[0], word)
			}
		}
	}
	if starts == 0 {
		t.Error("no start was recorded")
	}
}
