package secretservice_test

import (
	"crypto/aes"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"

	keychain "github.com/keybase/go-keychain/secretservice"

	"github.com/keybase/dbus"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/secretservice/keyringtest"
)

// standIn is a Secret Service that does what others than gnome-keyring may do: it prompts for everything, finds items
// that do not match, and keeps nothing. It is one collection with the items that it is given.
type standIn struct {
	items  map[dbus.ObjectPath]map[string]string // their attributes
	prompt dbus.ObjectPath                       // what creating and deleting answers; "/" for none

	mu        sync.Mutex
	dismissed int
	prompted  int
	written   int
}

const collectionPath = dbus.ObjectPath("/org/freedesktop/secrets/collection/standin")

func (s *standIn) ReadAlias(string) (dbus.ObjectPath, *dbus.Error) { return collectionPath, nil }

// OpenSession offers the generator as the public key, and so never has the key that its client derives.
func (s *standIn) OpenSession(string, dbus.Variant) (dbus.Variant, dbus.ObjectPath, *dbus.Error) {
	return dbus.MakeVariant(big.NewInt(2).Bytes()), "/org/freedesktop/secrets/session/s0", nil
}

func (s *standIn) SearchItems(map[string]string) ([]dbus.ObjectPath, *dbus.Error) {
	var paths []dbus.ObjectPath
	for path := range s.items {
		paths = append(paths, path)
	}
	return paths, nil
}

func (s *standIn) CreateItem(map[string]dbus.Variant, keychain.Secret, bool) (item, prompt dbus.ObjectPath, _ *dbus.Error) {
	return "/", s.prompt, nil
}

func (s *standIn) Prompt(string) *dbus.Error              { return s.note(&s.prompted) }
func (s *standIn) Dismiss() *dbus.Error                   { return s.note(&s.dismissed) }
func (s *standIn) Delete() (dbus.ObjectPath, *dbus.Error) { return s.prompt, nil }
func (s *standIn) SetSecret(keychain.Secret) *dbus.Error  { return s.note(&s.written) }

// GetSecret answers half a block, which no key decrypts. A whole block under another key would not do: the protocol has no
// checksum, and the padding of one such block in 256 looks right.
func (s *standIn) GetSecret(session dbus.ObjectPath) (keychain.Secret, *dbus.Error) {
	return keychain.Secret{Session: session, Parameters: make([]byte, aes.BlockSize), Value: make([]byte, aes.BlockSize/2)}, nil
}

func (s *standIn) note(count *int) *dbus.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*count++
	return nil
}

// of is the Properties interface of one object.
type of map[string]dbus.Variant

func (o of) Get(_, name string) (dbus.Variant, *dbus.Error)       { return o[name], nil }
func (o of) GetAll(string) (map[string]dbus.Variant, *dbus.Error) { return o, nil }

// on puts the stand-in on the bus of k and opens a store on it.
func (s *standIn) on(t *testing.T, k *keyringtest.Session) secrets.Store {
	t.Helper()
	conn, err := dbus.Connect(k.BusAddress())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the bus may end first
	export := func(v any, path dbus.ObjectPath, iface string) {
		if err := conn.Export(v, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	const properties = "org.freedesktop.DBus.Properties"
	export(s, keychain.SecretServiceObjectPath, "org.freedesktop.Secret.Service")
	export(s, collectionPath, "org.freedesktop.Secret.Collection")
	export(of{"Locked": dbus.MakeVariant(false)}, collectionPath, properties)
	export(s, "/prompt", "org.freedesktop.Secret.Prompt")
	for path, attributes := range s.items {
		export(s, path, "org.freedesktop.Secret.Item")
		export(of{"Attributes": dbus.MakeVariant(attributes), "Modified": dbus.MakeVariant(uint64(1))}, path, properties)
	}
	if reply, err := conn.RequestName(keychain.SecretServiceInterface, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("the name is taken: %v, %v", reply, err)
	}
	return mustOpen(t, on(k))
}

func TestPromptsAreDismissed(t *testing.T) {
	t.Parallel()
	service := &standIn{prompt: "/prompt", items: map[dbus.ObjectPath]map[string]string{
		collectionPath + "/a": {"service": "minibot", "account": "A"},
	}}
	s := service.on(t, keyringtest.StartBus(t))
	for what, err := range map[string]error{
		"Put":    s.Put(t.Context(), "B", secrets.Current, value(t, "canary-new")),
		"Delete": s.Delete(t.Context(), "A", secrets.Current),
	} {
		if !errors.Is(err, secrets.ErrLocked) || hint.Of(err) == "" {
			t.Errorf("%s: got %v, want ErrLocked with a hint", what, err)
		}
	}
	if service.dismissed != 2 || service.prompted != 0 {
		t.Errorf("%d prompts were dismissed and %d shown, want 2 and 0", service.dismissed, service.prompted)
	}
}

// A service may match without regard to case, or not know an attribute: what is not ours is not touched.
func TestItemsThatDoNotMatchAreLeftAlone(t *testing.T) {
	t.Parallel()
	service := &standIn{prompt: "/", items: map[dbus.ObjectPath]map[string]string{
		collectionPath + "/a": {"service": "Minibot", "account": "A"},
		collectionPath + "/b": {"service": "minibot", "account": "a"},
		collectionPath + "/c": {"account": "A"},
	}}
	s := service.on(t, keyringtest.StartBus(t))
	if _, err := s.Get(t.Context(), "A", secrets.Current); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("Get: got %v, want ErrNotFound", err)
	}
	if err := s.Delete(t.Context(), "A", secrets.Current); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("Delete: got %v, want ErrNotFound", err)
	}
	if entries, err := s.List(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("List: %v, %v", entries, err)
	}
}

// A value that cannot be decrypted is an error, and never an empty secret.
func TestValuesThatCannotBeDecrypted(t *testing.T) {
	t.Parallel()
	service := &standIn{prompt: "/", items: map[dbus.ObjectPath]map[string]string{
		collectionPath + "/a": {"service": "minibot", "account": "A"},
	}}
	s := service.on(t, keyringtest.StartBus(t))
	item, err := s.Get(t.Context(), "A", secrets.Current)
	if err == nil || hint.Of(err) == "" || !item.Value.IsZero() {
		t.Errorf("Get: got %v, want an error with a hint", err)
	}
	if err := s.Put(t.Context(), "A", secrets.Current, value(t, "canary-new")); err == nil || hint.Of(err) == "" || strings.Contains(err.Error(), "canary") {
		t.Errorf("Put: got %v, want an error with a hint", err)
	}
}
