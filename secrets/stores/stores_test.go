package stores_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/stores"
)

func TestOpen(t *testing.T) {
	o := stores.Options{Kind: config.StoreAge, Home: filepath.Join(t.TempDir(), "minibot")}
	if s, err := stores.Open(t.Context(), o); s != nil || !errors.Is(err, secrets.ErrNoStore) || hint.Of(err) != "mb-secrets init" {
		t.Errorf("before it is created: %v, %v, hint %q", s, err, hint.Of(err))
	}
	o.Create = true
	o.Passphrase = func() (string, error) { t.Error("asked for a passphrase"); return "", nil }
	for range 2 {
		s, err := stores.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
		o.Create = false
	}
}

// TestOpenWhereThereIsNone checks that a store that this machine does not have is no other one, and no nil in an interface.
func TestOpenWhereThereIsNone(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	for _, kind := range []string{config.StoreKeychain, config.StoreSecurity, config.StoreSecretService} {
		s, err := stores.Open(t.Context(), stores.Options{Kind: kind, Home: t.TempDir(), Create: true, Security: "/nonexistent/security"})
		if s != nil || !errors.Is(err, secrets.ErrUnavailable) || hint.Of(err) == "" {
			t.Errorf("%s: %v, %v, hint %q", kind, s, err, hint.Of(err))
		}
	}
}

func TestEveryKindIsKnown(t *testing.T) {
	for _, kind := range config.Stores {
		_, err := stores.Open(t.Context(), stores.Options{Kind: kind, Home: t.TempDir(), Security: "/nonexistent/security"})
		if err == nil || strings.Contains(err.Error(), "unknown kind") || stores.Describe(kind, "/h") == "" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, kind := range []string{"", "Age", "vault"} {
		s, err := stores.Open(t.Context(), stores.Options{Kind: kind, Home: t.TempDir(), Create: true})
		if s != nil || err == nil || !strings.Contains(err.Error(), "age") || hint.Of(err) == "" {
			t.Errorf("%q: %v, %v", kind, s, err)
		}
	}
}
