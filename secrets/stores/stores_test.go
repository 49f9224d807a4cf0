package stores_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/stores"
)

func TestOpen(t *testing.T) {
	o := stores.Options{Kind: "age", Home: filepath.Join(t.TempDir(), "minibot")}
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

func TestOpenUnknownKind(t *testing.T) {
	for _, kind := range []string{"", "Age", "keychain"} {
		s, err := stores.Open(t.Context(), stores.Options{Kind: kind, Home: t.TempDir(), Create: true})
		if s != nil || err == nil || !strings.Contains(err.Error(), "age") || hint.Of(err) == "" {
			t.Errorf("%q: %v, %v", kind, s, err)
		}
	}
}
