package secretservice

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	keychain "github.com/keybase/go-keychain/secretservice"

	"github.com/keybase/dbus"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/secretservice/keyringtest"
)

func mustDial(t *testing.T, k *keyringtest.Session) *client {
	t.Helper()
	c, err := dial(t.Context(), k.BusAddress())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// Between the look at the lock and the call that follows the keyring may be locked.
func TestLockedUnderACall(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	c := mustDial(t, k)
	collection, err := c.unlocked(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path, err := c.create(t.Context(), collection, "minibot: A", attributes("minibot", "A"), []byte("canary"))
	if err != nil {
		t.Fatal(err)
	}
	k.Lock()
	_, create := c.create(t.Context(), collection, "minibot: B", attributes("minibot", "B"), []byte("canary"))
	_, read := c.secret(t.Context(), path)
	for what, err := range map[string]error{
		"create": create,
		"read":   read,
		"set":    c.setSecret(t.Context(), path, []byte("canary-new")),
		"remove": c.remove(t.Context(), []item{{path: path}}),
	} {
		if err := explain(err); !errors.Is(err, secrets.ErrLocked) || hint.Of(err) == "" {
			t.Errorf("%s: got %v, want ErrLocked with a hint", what, err)
		}
	}
	var unlocked []objectPath
	var prompt objectPath
	if err := c.call(t.Context(), keychain.SecretServiceObjectPath, serviceInterface+".Unlock", []any{[]objectPath{collection}}, &unlocked, &prompt); err != nil {
		t.Fatal(err)
	}
	if err := c.dismiss(t.Context(), prompt); !errors.Is(err, secrets.ErrLocked) {
		t.Errorf("dismiss %s: got %v, want ErrLocked", prompt, err)
	}
	if err := c.call(t.Context(), prompt, "org.freedesktop.Secret.Prompt.Prompt", []any{""}); !isGone(err) {
		t.Errorf("the prompt is still there: %v", err)
	}
	k.Unlock()
	items, err := c.search(t.Context(), collection, map[string]string{serviceAttribute: "minibot"})
	if err != nil || len(items) != 1 {
		t.Errorf("%d items, %v: what was refused has happened", len(items), err)
	}
}

// The service agrees on the same key even where the shared secret begins with zeros.
func TestSessionsWhoseSecretBeginsWithZeros(t *testing.T) {
	t.Parallel()
	c := mustDial(t, keyringtest.Start(t))
	collection, err := c.unlocked(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path, err := c.create(t.Context(), collection, "minibot: A", attributes("minibot", "A"), []byte("canary"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		// A private key of 1 makes the service's public key the shared secret: it shows when that begins with zeros.
		var output dbus.Variant
		var session dbus.ObjectPath
		args := []any{string(keychain.AuthenticationDHAES), dbus.MakeVariant(generator.Bytes())}
		if err := c.call(t.Context(), keychain.SecretServiceObjectPath, serviceInterface+".OpenSession", args, &output, &session); err != nil {
			t.Fatal(err)
		}
		theirs := new(big.Int).SetBytes(output.Value().([]byte))
		if theirs.BitLen() > prime.BitLen()-8 {
			continue
		}
		key, err := agree(big.NewInt(1), theirs)
		if err != nil {
			t.Fatal(err)
		}
		c.session = &keychain.Session{Mode: keychain.AuthenticationDHAES, Path: session, AESKey: key}
		plain, err := c.secret(t.Context(), path)
		if err != nil || string(plain) != "canary" {
			t.Errorf("read %d bytes, %v", len(plain), err)
		}
		return
	}
}

func TestAnItemThatIsTooLarge(t *testing.T) {
	t.Parallel()
	k := keyringtest.Start(t)
	c := mustDial(t, k)
	collection, err := c.unlocked(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("x"), secrets.MaxValueSize+1)
	if _, err := c.create(t.Context(), collection, "minibot: A", attributes("minibot", "A"), large); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{BusAddress: k.BusAddress()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Get(t.Context(), "A", secrets.Current); !errors.Is(err, secrets.ErrTooLarge) || hint.Of(err) == "" {
		t.Errorf("got %v, want ErrTooLarge with a hint", err)
	}
}
